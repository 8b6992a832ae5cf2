"""Everything that a decision rests on, read in one transaction, and the decision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from backend.app.channel import Channel
from backend.app.followups.budgets import USUAL_OVER_WEEKS, check_budgets
from backend.app.followups.calendar import start_of_day
from backend.app.followups.facts import snapshot
from backend.app.followups.policy import (
    Decision,
    FollowupFacts,
    Hold,
    ReasonCode,
    Send,
    Wait,
    decide,
)
from backend.app.followups.settings import FollowupRules, load_rules
from backend.app.mail.compose import is_writable
from backend.app.models import OutboxState
from backend.app.sms.numbers import is_mobile
from backend.app.store import mailboxes, outbox, reminders, sms_accounts, traffic
from backend.app.store.records import CompanyProfile, DueFollowup, Spent
from backend.app.store.reminders import Gate, Heard

# INTERNALDATE has whole seconds and the mail server its own clock: an answer that seems to have
# come just before the reminder went out counts as one.
CLOCK_TOLERANCE = timedelta(minutes=2)
# SQLite's CURRENT_TIMESTAMP has whole seconds: what came in within one counts as having come later.
WHOLE_SECONDS = timedelta(seconds=1)
QUARANTINE_RETRY = timedelta(hours=1)
SOFT_BOUNCES_COUNT_FOR = timedelta(days=30)
OTHER_HANDS_RETRY = timedelta(minutes=5)
UNCERTAIN_RETRY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Situation:
    """mailbox_id: the one that would send; None when the company has none that can.

    answers_in: the mailboxes in which an answer may arrive; None when one of them is not read.
    """

    followup: DueFollowup
    company: CompanyProfile
    rules: FollowupRules
    facts: FollowupFacts
    mailbox_id: int | None
    answers_in: frozenset[int] | None


def load_situation(session: Session, followup_id: int, now: datetime) -> Situation:
    """Raises SettingsInvalid when the company's rules are wrong."""
    followup, company, mailbox_id = reminders.load_case(session, followup_id)
    rules = load_rules(company.rules("followups"))
    answers_in = _answers_in(session, followup, mailbox_id, rules.mail.reply_to)
    heard = _heard(session, followup, answers_in, now)
    facts = replace(
        facts_of_rows(followup, company),
        answered_at=heard.answered_at,
        fresh_at=heard.fresh_at,
        back_on=heard.back_on,
        hard_bounce_at=heard.bounces.hard_at,
        soft_bounces=heard.bounces.soft,
        soft_bounce_at=heard.bounces.soft_at,
        complained_at=heard.bounces.complained_at,
    )
    decided_on = replace(followup, facts=snapshot(facts))
    return Situation(decided_on, company, rules, facts, mailbox_id, answers_in)


def facts_of_rows(followup: DueFollowup, company: CompanyProfile) -> FollowupFacts:
    """What its own rows say: enough for its plan, not for a decision, which asks the inbox, too."""
    return FollowupFacts(
        type=followup.type,
        status=followup.status,
        auto_enabled=followup.auto_enabled,
        due_date=followup.due_date,
        created_at=followup.created_at,
        steps_sent=followup.steps_sent,
        last_step_at=followup.last_step_at,
        auto_stop_on_response=followup.auto_stop_on_response,
        auto_stop_on_paid=followup.auto_stop_on_paid,
        auto_stop_on_refused=followup.auto_stop_on_refused,
        answered_at=None,
        has_address=is_writable(followup.client_email or ""),
        has_phone=is_mobile(followup.client_phone or ""),
        fresh_at=None,
        time_zone=company.timezone,
        country=company.country,
        do_not_contact=followup.do_not_contact,
        promised_until=followup.promised_until,
        postponed_until=followup.postponed_until,
        approved_at=followup.approved_at,
        client_gap_until=followup.client_gap_until,
    )


def _answers_in(
    session: Session, followup: DueFollowup, mailbox_id: int | None, reply_to: str | None
) -> frozenset[int] | None:
    """The mailbox that sends, the one that Reply-To names, and those of the conversation so far:
    an answer to an earlier step comes to where that step came from.
    """
    if mailbox_id is None:
        return None
    read = {mailbox_id}
    if reply_to is not None:
        named = mailboxes.find_by_address(session, followup.company_id, reply_to)
        if named is None:
            return None
        read.add(named)
    if followup.conversation_id is not None:
        read |= mailboxes.find_of_conversation(session, followup.conversation_id)
    return frozenset(read)


def _heard(
    session: Session, followup: DueFollowup, answers_in: frozenset[int] | None, now: datetime
) -> Heard:
    # Who made the follow-up could read what was in the inbox by then: that is what it is about.
    stored_since = None if followup.last_step_at else followup.created_at - WHOLE_SECONDS
    return reminders.load_heard(
        session,
        followup,
        answers_in or (),
        begun=followup.created_at - CLOCK_TOLERANCE,
        since=_answers_since(followup),
        stored_since=stored_since,
        soft_since=now - SOFT_BOUNCES_COUNT_FOR,
    )


def _answers_since(followup: DueFollowup) -> datetime:
    """What came before was answered by the last step, or a person has read it and said so.

    Of what a person has seen the tolerance takes nothing back: it would stop the reminders again.
    An answer of that moment which is read later counts, since it came into the inbox later.
    """
    since = (followup.last_step_at or followup.created_at) - CLOCK_TOLERANCE
    seen_at = followup.answers_seen_at
    return since if seen_at is None else max(since, seen_at - WHOLE_SECONDS)


def load_gate(session: Session, situation: Situation, step: int) -> Gate:
    mailbox_ids = situation.answers_in or ()
    return reminders.load_gate(session, situation.followup, step, mailbox_ids)


def answer_may_be_left(gate: Gate, followup: DueFollowup) -> bool:
    """Whether a reply mailbox has mail that could be an answer and was left on the server."""
    horizon = gate.history_since
    # The horizon is a day of the server's calendar, in whatever time zone.
    return horizon is not None and _answers_since(followup).date() <= horizon


def decide_now(session: Session, situation: Situation, now: datetime) -> Decision:
    """The policy's decision, and what only the database can add to it."""
    followup = situation.followup
    decision = decide(situation.facts, situation.rules, now)
    if situation.mailbox_id is None and _lacks_mailbox_alone(decision):
        return Hold(ReasonCode.NO_MAILBOX)
    if decision.reason is ReasonCode.TOO_OLD and outbox.has_open_step(session, followup.id):
        return Wait(now + UNCERTAIN_RETRY, ReasonCode.UNCERTAIN)
    reply_to = situation.rules.mail.reply_to
    if (
        reply_to
        and _lacks_mailbox_alone(decision)
        and mailboxes.find_by_address(session, situation.company.id, reply_to) is None
    ):
        return Hold(ReasonCode.REPLY_TO_UNREAD, reply_to)
    if not isinstance(decision, Send):
        return decision
    by_text = decision.channel is Channel.SMS
    if by_text and sms_accounts.find_sender(session, situation.company.id) is None:
        return Hold(ReasonCode.NO_SMS_ACCOUNT)
    gate = load_gate(session, situation, decision.step)
    if gate.in_quarantine:
        return Wait(now + QUARANTINE_RETRY, ReasonCode.MAIL_IN_QUARANTINE)
    if decision.skipped and outbox.has_open_step(session, followup.id, decision.skipped):
        return Wait(now + UNCERTAIN_RETRY, ReasonCode.UNCERTAIN)
    if not situation.facts.approved and answer_may_be_left(gate, followup):
        return Hold(ReasonCode.HISTORY_NOT_READ)
    if _may_have_gone_out_since_the_copy(gate, followup):
        return Hold(ReasonCode.RESTORED)
    return _blocked_by_outbox(gate, now) or decision


def _may_have_gone_out_since_the_copy(gate: Gate, followup: DueFollowup) -> bool:
    """Until a person lets it go on: what a restored database does not know of may have happened."""
    restored_at = gate.restored_at
    if restored_at is None or followup.created_at >= restored_at:
        return False
    seen = (followup.approved_at, followup.last_step_at)
    return all(moment is None or moment < restored_at for moment in seen)


def within_budgets(
    session: Session, situation: Situation, spent_beside: Spent, now: datetime
) -> Wait | Hold | None:
    """What speaks against one more mail. spent_beside: what the tables don't know of.

    The decision was to send, so the zone is known and there is a mailbox.
    """
    followup, zone = situation.followup, ZoneInfo(situation.company.timezone)
    assert situation.mailbox_id is not None  # noqa: S101
    day_began = start_of_day(now.astimezone(zone).date(), zone)
    spent = traffic.load_spent(
        session,
        company_id=followup.company_id,
        integration_id=situation.mailbox_id,
        client_id=followup.client_id,
        day_began=day_began,
        weeks_began=day_began - timedelta(weeks=USUAL_OVER_WEEKS),
        day_ago=now - timedelta(days=1),
        surge_minimum=situation.rules.budgets.surge_minimum - spent_beside.company_today,
    )
    return check_budgets(
        spent.plus(spent_beside), situation.rules, zone, now, approved=situation.facts.approved
    )


def _lacks_mailbox_alone(decision: Decision) -> bool:
    # A mailbox that is not there is not fresh either. Until the step is due it may yet come.
    return isinstance(decision, Send) or decision.reason is ReasonCode.MAILBOX_NOT_FRESH


def _blocked_by_outbox(step: Gate, now: datetime) -> Wait | Hold | None:
    """What an outbox row of this very step says; None when the step may be claimed."""
    if step.state is None:
        return None
    if step.state in outbox.CLAIMABLE:
        if step.next_attempt_at is not None and now < step.next_attempt_at:
            return Wait(step.next_attempt_at, ReasonCode.RETRY_LATER)
        return None
    if step.state == OutboxState.FAILED:
        return Hold(ReasonCode.REFUSED_BY_SERVER)
    if step.state == OutboxState.UNCERTAIN:
        return Wait(now + UNCERTAIN_RETRY, ReasonCode.UNCERTAIN)
    if step.state == OutboxState.SENT:
        return Hold(ReasonCode.ALREADY_SENT)
    return Wait(now + OTHER_HANDS_RETRY, ReasonCode.ON_ITS_WAY)
