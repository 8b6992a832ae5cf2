"""What a sent, refused or uncertain mail leaves behind: one transaction each.

A mail that carries the steps of several follow-ups is settled for all of them at once: one message
in the inbox, and for each follow-up its own history and next step. What earlier runs left
unsettled is resolve.py's.

Lock order: the follow-ups' rows by id, their outbox rows, the client, the conversation, the
message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from backend.app.channel import Channel
from backend.app.errors import NotSent, SettingsInvalid
from backend.app.followups.filed_mail import file_mail
from backend.app.followups.filed_text import file_text_message
from backend.app.followups.policy import ReasonCode, next_look
from backend.app.followups.settings import FollowupRules, load_rules
from backend.app.followups.situation import facts_of_rows
from backend.app.models import AutoState, HistoryStatus, OutboxState
from backend.app.store import followups, outbox, reminders, sent_copies
from backend.app.store.records import CompanyProfile, DueFollowup, OutboxClaim, StepClaim

MAX_ATTEMPTS = 6
FIRST_RETRY = timedelta(minutes=30)
LAST_RETRY = timedelta(hours=12)
SHORTEST_STATED = timedelta(minutes=1)
LONGEST_STATED = timedelta(days=1)


def settle_sent(
    session: Session,
    claimed: OutboxClaim,
    now: datetime,
    *,
    reply: str | None,
    by: str = "",
    provider_id: str | None = None,
) -> int:
    """The step went out: history, message, conversation and the next step, in one commit.

    Returns the conversation's id. reply: the server's words, None when other proof came. by: who
    said so, '' for the server. provider_id: what the provider calls a text message.
    Raises ClaimLost.
    """
    hold_followups(session, claimed)
    sent_at = outbox.settle_sent(session, claimed, reply, provider_id)
    cases = {each: reminders.load_case(session, each) for each in claimed.followup_ids}
    followup, company, _ = cases[claimed.followup_id]
    if claimed.channel is Channel.SMS:
        conversation_id = file_text_message(session, claimed, followup, sent_at)
    else:
        conversation_id = file_mail(session, claimed, followup, sent_at, proven=reply is None)
    rules = _rules(company)
    # Other proof than the server's word is mostly the copy in Sent itself.
    if reply is not None and claimed.channel is Channel.EMAIL and rules and rules.mail.copy_in_sent:
        sent_copies.want(session, claimed)
    name = by or company.name
    for step in claimed.steps:
        case, _, _ = cases[step.followup_id]
        again = _next_look(case, company, rules, step.step, sent_at, now)
        _record_sent(session, claimed, case, step.step, conversation_id, sent_at, again, name)
    return conversation_id


def _rules(company: CompanyProfile) -> FollowupRules | None:
    """None where they are wrong: what went out is settled all the same; the next run says so."""
    try:
        return load_rules(company.rules("followups"))
    except SettingsInvalid:
        return None


def hold_followups(session: Session, claimed: OutboxClaim) -> None:
    """The rows of its follow-ups until the commit, after whoever holds them now."""
    for followup_id in claimed.followup_ids:
        followups.wait_for_lock(session, followup_id)


def _record_sent(
    session: Session,
    claimed: OutboxClaim,
    followup: DueFollowup,
    step: int,
    conversation_id: int,
    sent_at: datetime,
    next_action_at: datetime,
    by: str,
) -> None:
    _record_skipped(session, followup, step, sent_at)
    followups.record_history(
        session,
        followup,
        HistoryStatus.SENT,
        step=step,
        at=sent_at,
        message=claimed.content,
        conversation_id=conversation_id,
        by=by,
        channel=claimed.channel,
    )
    followups.record_step_sent(
        session,
        followup.id,
        step=step,
        at=sent_at,
        conversation_id=conversation_id,
        next_action_at=next_action_at,
    )


def _record_skipped(session: Session, followup: DueFollowup, step: int, at: datetime) -> None:
    """The steps between the last one that went out and this one are skipped for good."""
    for skipped in range(followup.steps_sent + 1, step):
        followups.record_history(
            session,
            followup,
            HistoryStatus.SKIPPED,
            step=skipped,
            at=at,
            reason=ReasonCode.MISSED.value,
        )


def _next_look(
    followup: DueFollowup,
    company: CompanyProfile,
    rules: FollowupRules | None,
    step: int,
    sent_at: datetime,
    now: datetime,
) -> datetime:
    if rules is None:
        return now
    facts = facts_of_rows(followup, company)
    return next_look(replace(facts, steps_sent=step, last_step_at=sent_at), rules, now)


def settle_refused(
    session: Session, claimed: OutboxClaim, error: NotSent, now: datetime
) -> OutboxState:
    """The step did not go out: planned again after a pause, or failed and shown to a person.

    Raises ClaimLost.
    """
    hold_followups(session, claimed)
    given_up = claimed.attempts >= MAX_ATTEMPTS
    if error.permanent or given_up:
        failed = outbox.settle_not_sent(
            session, claimed, OutboxState.FAILED, error=str(error), code=error.code
        )
        reason = ReasonCode.REFUSED_BY_SERVER if error.permanent else ReasonCode.GIVEN_UP
        words = f"{reason.value}: {error}"[:200]
        hold_back(session, failed, words, now)
        return OutboxState.FAILED
    again = now + retry_pause(claimed.attempts, error.retry_after)
    planned = outbox.settle_not_sent(
        session,
        claimed,
        OutboxState.PLANNED,
        error=str(error),
        code=error.code,
        next_attempt_at=again,
    )
    look_again(session, planned, again, ReasonCode.RETRY_LATER.value)
    return OutboxState.PLANNED


def hold_back(session: Session, steps: Sequence[StepClaim], reason: str, now: datetime) -> None:
    """Their follow-ups wait for a person."""
    for step in steps:
        followup = followups.load_followup(session, step.followup_id)
        followups.end_automation(session, followup, AutoState.HELD, reason, at=now)


def look_again(
    session: Session, steps: Sequence[StepClaim], at: datetime, reason: str | None
) -> None:
    """At their follow-ups, at `at`. reason: why they wait; None for no news."""
    for step in steps:
        followups.look_again(session, step.followup_id, at, reason)


def retry_pause(attempts: int, stated: timedelta | None = None) -> timedelta:
    """Half an hour, doubling up to twelve (RFC 5321, 4.5.4.1 asks for 30 minutes at least).

    stated: what the server asked for. It is taken at its word the first time, be it shorter or
    longer; when it puts us off again, our own pause is the least. A minute to a day, whatever it
    says.
    """
    doubled: int = 2 ** (attempts - 1)
    pause = min(LAST_RETRY, FIRST_RETRY * doubled)
    if stated is None:
        return pause
    asked = min(max(stated, SHORTEST_STATED), LONGEST_STATED)
    return asked if attempts == 1 else max(asked, pause)


def settle_mailbox_down(
    session: Session, claimed: OutboxClaim, error: str, again: datetime
) -> None:
    """The mailbox could not be used at all: no attempt of this step. Raises ClaimLost."""
    hold_followups(session, claimed)
    planned = outbox.settle_not_sent(
        session, claimed, OutboxState.PLANNED, error=error, count_attempt=False
    )
    look_again(session, planned, again, ReasonCode.RETRY_LATER.value)


def settle_uncertain(
    session: Session, claimed: OutboxClaim, error: str, now: datetime, wait_hours: int
) -> None:
    """The step may have gone out. The sync script's mail may prove it. Raises ClaimLost."""
    hold_followups(session, claimed)
    outbox.settle_uncertain(session, claimed, error)
    record_uncertain(session, claimed, error, now, wait_hours)


def record_uncertain(
    session: Session, claimed: OutboxClaim, error: str, now: datetime, wait_hours: int
) -> None:
    """In the history of each follow-up, which then waits for proof for so many hours."""
    for step in claimed.steps:
        followup = followups.load_followup(session, step.followup_id)
        followups.record_history(
            session, followup, HistoryStatus.UNCERTAIN, step=step.step, at=now, reason=error
        )
    again = now + timedelta(hours=wait_hours)
    look_again(session, claimed.steps, again, ReasonCode.UNCERTAIN.value)
