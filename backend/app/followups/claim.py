"""Decide on one follow-up and, where a step is due, claim it: one transaction, on fresh rows.

Lock order: the follow-up's row (whoever holds it may change its outbox rows), the rows of those
that may go in the same mail, the mailbox, the client. Nothing here speaks to the network or reads
a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from backend.app.errors import ClaimLost
from backend.app.followups.documents import Documents, DocumentUnusable
from backend.app.followups.draft import Draft, MailUnusable, draft_step
from backend.app.followups.facts import spoken
from backend.app.followups.group import find_beside
from backend.app.followups.policy import (
    Decision,
    Hold,
    ReasonCode,
    Send,
    Stop,
    Wait,
    stops_before_body,
)
from backend.app.followups.reasons import status_reason
from backend.app.followups.situation import (
    OTHER_HANDS_RETRY,
    UNCERTAIN_RETRY,
    Situation,
    decide_now,
    load_situation,
    within_budgets,
)
from backend.app.followups.text_draft import TextUnusable
from backend.app.followups.wording import MissingVariable, WordingUnusable
from backend.app.models import AutoState, HistoryStatus, OutboxState
from backend.app.store import conversations, followups, messages, outbox, traffic, unsettled
from backend.app.store.records import DueFollowup, OutboxClaim, Spent, StepClaim

STATUS_ANSWERED = "answered"
# What the row of a step has in common with that of the mail which carries it.
_SHARED = (
    "company_id",
    "client_id",
    "integration_id",
    "conversation_id",
    "channel",
    "recipient",
    "subject",
)


def claim_followup(
    session: Session,
    followup_id: int,
    owner: str,
    lease_seconds: int,
    now: datetime,
    *,
    sent_in_run: int = 0,
    documents: Documents | None = None,
) -> tuple[Decision, OutboxClaim | None] | None:
    """Decide, and claim where the decision is to send. A function for db.write.

    sent_in_run: how many of the company's reminders this run has sent. documents: what was read of
    DOCUMENTS_DIR; None for an installation without. None when another worker has this follow-up, or
    is about to take it along. Raises SettingsInvalid and DocumentsUnread.
    """
    documents = documents or Documents(None)
    if not followups.lock_active(session, followup_id):
        return None
    situation = load_situation(session, followup_id, now)
    prepared = prepare(session, situation, now, Spent(in_run=sent_in_run), documents, hold=True)
    if isinstance(prepared, Draft):
        if (forgotten := _forgotten(session, prepared, situation.followup, now)) is not None:
            return forgotten, None
        claimed = _claim(session, prepared, followup_id, owner, lease_seconds, now)
        return None if claimed is None else (prepared.decision, claimed)
    if prepared.reason is ReasonCode.ON_ITS_WAY:
        return None
    record_decision(session, situation.followup, prepared, now)
    return prepared, None


def prepare(
    session: Session,
    situation: Situation,
    now: datetime,
    spent_beside: Spent,
    documents: Documents,
    *,
    hold: bool,
) -> Draft | Stop | Hold | Wait:
    """The decision and, where it is to send, the mail.

    spent_beside: what counts against the budgets besides what the tables say. hold: keep the rows
    of what goes in the same mail, of the mailbox and of the client until the commit, so that
    decisions and budgets stay as they are. Raises DocumentsUnread.
    """
    decision = decide_now(session, situation, now)
    if not isinstance(decision, Send):
        return decision
    beside = find_beside(session, situation, decision, now, hold=hold)
    if beside is None:
        return Wait(now + OTHER_HANDS_RETRY, ReasonCode.ON_ITS_WAY)
    if hold and situation.mailbox_id is not None:
        traffic.hold_budgets(session, situation.mailbox_id, situation.followup.client_id)
    limited = within_budgets(session, situation, spent_beside, now)
    if limited is not None:
        return limited
    try:
        return draft_step(session, situation, decision, now, documents, beside)
    except MissingVariable as missing:
        return Hold(ReasonCode.MISSING_VARIABLE, missing.name)
    except WordingUnusable as unusable:
        return Hold(ReasonCode.WORDING_UNUSABLE, str(unusable))
    except MailUnusable as unusable:
        return Hold(ReasonCode.MAIL_UNUSABLE, str(unusable))
    except DocumentUnusable as unusable:
        return Hold(ReasonCode.DOCUMENT_UNUSABLE, str(unusable))
    except TextUnusable as unusable:
        return Hold(unusable.reason, unusable.detail)


def _claim(
    session: Session,
    draft: Draft,
    followup_id: int,
    owner: str,
    lease_seconds: int,
    now: datetime,
) -> OutboxClaim | None:
    _cancel_skipped(session, followup_id, draft.decision)
    claimed = outbox.claim(
        session, followup_id, draft.decision.step, owner, lease_seconds, draft.columns
    )
    if claimed is None:
        return None
    held_back = now + timedelta(seconds=lease_seconds)
    # Others need not look while it is on its way; recovery looks at the outbox instead.
    followups.look_again(session, followup_id, held_back, None)
    carried = []
    for each in draft.companions:
        other = each.situation.followup.id
        _cancel_skipped(session, other, each.decision)
        columns = {name: draft.columns[name] for name in _SHARED}
        columns["facts"] = each.situation.followup.facts
        carried.append(
            outbox.claim_companion(
                session, claimed, other, each.step, owner, lease_seconds, columns
            )
        )
        followups.look_again(session, other, held_back, None)
    return replace(claimed, companions=tuple(carried))


def _cancel_skipped(session: Session, followup_id: int, decision: Send) -> None:
    if decision.skipped:
        outbox.cancel_planned(session, followup_id, decision.skipped, why="a later step goes")


def _forgotten(session: Session, draft: Draft, followup: DueFollowup, now: datetime) -> Wait | None:
    """The inbox holds this step's mail, and the outbox does not know that it went: a restored copy.

    The next run's recovery finds the proof and settles it as sent.
    """
    step, mail = draft.decision.step, draft.columns
    sent_at = messages.find_proof(session, followup.company_id, str(mail["message_id"]))
    if sent_at is None or not unsettled.record_forgotten(session, followup.id, step, sent_at, mail):
        return None
    wait = Wait(now + UNCERTAIN_RETRY, ReasonCode.UNCERTAIN, "its copy lies in Sent")
    record_decision(session, followup, wait, now)
    return wait


def record_decision(
    session: Session, followup: DueFollowup, decision: Stop | Hold | Wait, now: datetime
) -> None:
    """Write down what was decided, and why."""
    words = spoken(decision)
    if isinstance(decision, Wait):
        _record_wait(session, followup, decision, now)
    elif decision.reason is ReasonCode.DISABLED:
        # Switched off while we looked: it stays active, and goes on once it is switched on again.
        followups.look_again(session, followup.id, now, words)
    elif isinstance(decision, Hold):
        followups.end_automation(session, followup, AutoState.HELD, words, at=now)
    else:
        _record_end(session, followup, decision.reason, now)


def _record_wait(session: Session, followup: DueFollowup, wait: Wait, now: datetime) -> None:
    """The history tells each new reason once, not each look. That a step is not due is no news."""
    words = spoken(wait)
    for_client = wait.reason is ReasonCode.CLIENT_GAP
    followups.look_again(session, followup.id, wait.until, words, for_client=for_client)
    before = (followup.auto_reason or "").partition(":")[0]
    if wait.reason is not ReasonCode.NOT_DUE and before != wait.reason:
        followups.record_history(
            session,
            followup,
            HistoryStatus.WAITING,
            step=followup.steps_sent,
            at=now,
            reason=words,
        )


def _record_end(session: Session, followup: DueFollowup, reason: ReasonCode, now: datetime) -> None:
    state = AutoState.COMPLETED if reason is ReasonCode.COMPLETED else AutoState.STOPPED
    # Where the host application says the same in a word of its own, that word stays.
    news = reason is ReasonCode.ANSWERED and status_reason(followup.status) is not reason
    status = STATUS_ANSWERED if news else None
    followups.end_automation(session, followup, state, reason.value, at=now, status=status)
    outbox.cancel_planned(session, followup.id, None, why=f"stopped: {reason.value}")


def begin_sending(
    session: Session, claimed: OutboxClaim, lease_seconds: int, now: datetime
) -> dict[int, Stop | Hold | Wait] | None:
    """Between DATA and the body: take responsibility, or learn what stops which follow-up.

    What comes back besides None was not committed as 'sending': nothing may go out, and the steps
    that nothing stops are planned again, for a mail without the others. Raises ClaimLost, and
    SettingsInvalid when the rules were broken meanwhile.
    """
    held = {each: followups.wait_for_lock(session, each) for each in claimed.followup_ids}
    conversations.hold_all_of_client(session, held[claimed.followup_id].client_id)
    situations = {each: load_situation(session, each, now) for each in held}
    stops: dict[int, Stop | Hold | Wait] = {}
    for each, situation in situations.items():
        stop = stops_before_body(situation.facts, situation.rules, now, claimed.channel)
        if stop is None and held[each].auto_state is not AutoState.ACTIVE:
            stop = Stop(ReasonCode.DISABLED)
        if stop is not None:
            stops[each] = stop
    if not stops:
        outbox.begin_sending(session, claimed, lease_seconds)
        return None
    left = [step for step in claimed.steps if _leave(session, step, stops, now)]
    if not left:
        raise ClaimLost(f"step {claimed.step} of follow-up {claimed.followup_id} is not ours now")
    for each in (step.followup_id for step in left):
        if each in stops:
            record_decision(session, situations[each].followup, stops[each], now)
    return stops


def _leave(
    session: Session, step: StepClaim, stops: Mapping[int, Stop | Hold | Wait], now: datetime
) -> bool:
    """Give a claimed step up, stopped or to be decided on anew. False when it is not ours now."""
    stop = stops.get(step.followup_id)
    if stop is not None:
        why = f"stopped before the body: {stop.reason.value}"
        return outbox.leave(session, step, OutboxState.CANCELLED, why)
    ours = outbox.leave(session, step, OutboxState.PLANNED)
    if ours:
        followups.look_again(session, step.followup_id, now, None)
    return ours
