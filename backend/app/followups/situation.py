"""Everything that a decision rests on, read in one transaction, and the decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from backend.app.errors import SettingsInvalid
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
from backend.app.models import OutboxMail, OutboxState
from backend.app.store import followups, mailboxes, messages, outbox, tenants
from backend.app.store.records import CompanyProfile, DueFollowup

# INTERNALDATE has whole seconds and the mail server its own clock: an answer that seems to have
# come just before the reminder went out counts as one.
CLOCK_TOLERANCE = timedelta(minutes=2)
# SQLite's CURRENT_TIMESTAMP has whole seconds: what came in within one counts as having come later.
WHOLE_SECONDS = timedelta(seconds=1)
QUARANTINE_RETRY = timedelta(hours=1)
OTHER_HANDS_RETRY = timedelta(minutes=5)
UNCERTAIN_RETRY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Situation:
    """mailbox_id: the one that would send; None when the company has none that can."""

    followup: DueFollowup
    company: CompanyProfile
    rules: FollowupRules
    facts: FollowupFacts
    mailbox_id: int | None


def load_situation(session: Session, followup_id: int) -> Situation:
    """Raises SettingsInvalid when the company's rules are wrong."""
    followup = followups.load_followup(session, followup_id)
    company = tenants.load_company(session, followup.company_id)
    rules = _rules(company)
    mailbox_id = followups.find_sending_mailbox(session, company.id, followup.integration_id)
    fresh_at = None if mailbox_id is None else mailboxes.load_fresh_at(session, mailbox_id)
    facts = FollowupFacts(
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
        answered_at=_answered_at(session, followup),
        has_address=is_writable(followup.client_email or ""),
        fresh_at=fresh_at,
        time_zone=company.timezone,
    )
    return Situation(followup, company, rules, facts, mailbox_id)


def _rules(company: CompanyProfile) -> FollowupRules:
    # The host application writes this document: it may be any JSON value.
    if not isinstance(company.settings, Mapping):
        raise SettingsInvalid("settings: must be an object")
    return load_rules(company.settings.get("followups"))


def _answered_at(session: Session, followup: DueFollowup) -> datetime | None:
    if followup.client_key is None:
        return None
    since = (followup.last_step_at or followup.created_at) - CLOCK_TOLERANCE
    # Who made the follow-up could read what was in the inbox by then: that is what it is about.
    stored_since = None if followup.last_step_at else followup.created_at - WHOLE_SECONDS
    return messages.find_answer(
        session,
        followup.company_id,
        followup.client_key,
        followup.conversation_id,
        since,
        stored_since,
    )


def decide_now(session: Session, situation: Situation, now: datetime) -> Decision:
    """The policy's decision, and what only the database can add to it."""
    followup = situation.followup
    decision = decide(situation.facts, situation.rules, now)
    if situation.mailbox_id is None and _lacks_mailbox_alone(decision):
        return Hold(ReasonCode.NO_MAILBOX)
    if not isinstance(decision, Send):
        return decision
    if followup.client_key and followups.has_quarantined_mail(
        session, followup.company_id, followup.client_key
    ):
        return Wait(now + QUARANTINE_RETRY, ReasonCode.MAIL_IN_QUARANTINE)
    earlier = outbox.find_step(session, followup.id, decision.step)
    return (earlier and _blocked_by(earlier, now)) or decision


def _lacks_mailbox_alone(decision: Decision) -> bool:
    # A mailbox that is not there is not fresh either. Until the step is due it may yet come.
    return isinstance(decision, Send) or decision.reason is ReasonCode.MAILBOX_NOT_FRESH


def _blocked_by(earlier: OutboxMail, now: datetime) -> Wait | Hold | None:
    """What an outbox row of this very step says; None when the step may be claimed."""
    if earlier.state in outbox.CLAIMABLE:
        if earlier.next_attempt_at is not None and now < earlier.next_attempt_at:
            return Wait(earlier.next_attempt_at, ReasonCode.RETRY_LATER)
        return None
    if earlier.state == OutboxState.FAILED:
        return Hold(ReasonCode.REFUSED_BY_SERVER)
    if earlier.state == OutboxState.UNCERTAIN:
        return Wait(now + UNCERTAIN_RETRY, ReasonCode.UNCERTAIN)
    if earlier.state == OutboxState.SENT:
        return Hold(ReasonCode.ALREADY_SENT)
    return Wait(now + OTHER_HANDS_RETRY, ReasonCode.ON_ITS_WAY)
