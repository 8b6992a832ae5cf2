"""Decide on one follow-up and, where a step is due, claim it: one transaction, on fresh rows.

Lock order: the follow-up's row, its outbox row. Nothing here speaks to the network.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from backend.app.followups.policy import (
    Decision,
    FollowupFacts,
    Hold,
    ReasonCode,
    Send,
    Stop,
    Wait,
    decide,
    stops_before_body,
)
from backend.app.followups.settings import FollowupRules, FollowupType, load_rules
from backend.app.followups.wording import MissingVariable, WordingContext, render
from backend.app.mail.compose import compose
from backend.app.mail.message import Address, OutgoingMail
from backend.app.mail.msgid import make_message_id
from backend.app.mail.parse import parse_headers
from backend.app.models import AutoState, OutboxState
from backend.app.store import conversations, followups, mailboxes, messages, outbox, tenants
from backend.app.store.records import CompanyProfile, DueFollowup, MailboxAccount, OutboxClaim

# INTERNALDATE has whole seconds and the mail server its own clock: an answer that seems to have
# come just before the reminder went out counts as one.
CLOCK_TOLERANCE = timedelta(minutes=2)
STATUS_ANSWERED = "answered"


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything a decision rests on, read in one transaction."""

    followup: DueFollowup
    company: CompanyProfile
    rules: FollowupRules
    facts: FollowupFacts
    mailbox_id: int | None


def load_situation(session: Session, followup_id: int) -> Situation:
    """Raises SettingsInvalid when the company's rules are wrong."""
    followup = followups.load_followup(session, followup_id)
    company = tenants.load_company(session, followup.company_id)
    rules = load_rules(company.settings.get("followups"))
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
        has_address=is_address(followup.client_email),
        fresh_at=fresh_at,
        time_zone=company.timezone,
    )
    return Situation(followup, company, rules, facts, mailbox_id)


def _answered_at(session: Session, followup: DueFollowup) -> datetime | None:
    if followup.client_key is None:
        return None
    since = (followup.last_step_at or followup.created_at) - CLOCK_TOLERANCE
    return messages.find_answer(
        session, followup.company_id, followup.client_key, followup.conversation_id, since
    )


def is_address(email: str | None) -> bool:
    """Good enough to try: one @, something on both sides, no blank or control character."""
    return (
        email is not None
        and re.fullmatch(r"[^@\s\x00-\x20<>]+@[^@\s\x00-\x20<>]+", email) is not None
    )


def decide_now(session: Session, situation: Situation, now: datetime) -> Decision:
    """The policy's decision, and what only the database can add to it."""
    followup = situation.followup
    decision = decide(situation.facts, situation.rules, now)
    if not isinstance(decision, Send):
        return decision
    if situation.mailbox_id is None:
        return Hold(ReasonCode.NO_MAILBOX)
    if followup.client_key and followups.has_quarantined_mail(
        session, followup.company_id, followup.client_key
    ):
        return Wait(now + timedelta(hours=1), ReasonCode.MAIL_IN_QUARANTINE)
    return decision


def claim_followup(
    session: Session, followup_id: int, owner: str, lease_seconds: int, now: datetime
) -> tuple[Decision, OutboxClaim | None] | None:
    """Decide, and claim where the decision is to send. A function for db.write.

    None when another worker has this follow-up. Raises SettingsInvalid.
    """
    if not followups.lock_active(session, followup_id):
        return None
    situation = load_situation(session, followup_id)
    decision = decide_now(session, situation, now)
    if isinstance(decision, Send):
        return _claim_step(session, situation, decision, owner, lease_seconds, now)
    record_decision(session, situation.followup, decision, now)
    return decision, None


def record_decision(
    session: Session, followup: DueFollowup, decision: Stop | Hold | Wait, now: datetime
) -> None:
    """Write down what was decided, and why."""
    reason = decision.reason
    if isinstance(decision, Wait):
        followups.look_again(session, followup.id, decision.until, reason.value)
        return
    if reason is ReasonCode.DISABLED:
        # Switched off while we looked: it stays active, and goes on once it is switched on again.
        followups.look_again(session, followup.id, now, reason.value)
        return
    if isinstance(decision, Hold):
        state = AutoState.HELD
    elif reason is ReasonCode.COMPLETED:
        state = AutoState.COMPLETED
    else:
        state = AutoState.STOPPED
    status = STATUS_ANSWERED if reason is ReasonCode.ANSWERED else None
    followups.end_automation(session, followup, state, reason.value, at=now, status=status)


def _claim_step(
    session: Session,
    situation: Situation,
    decision: Send,
    owner: str,
    lease_seconds: int,
    now: datetime,
) -> tuple[Decision, OutboxClaim | None] | None:
    followup = situation.followup
    earlier = outbox.find_step(session, followup.id, decision.step)
    if earlier is not None and earlier.state not in outbox.CLAIMABLE:
        # On its way in other hands, uncertain, or refused for good: not this run's to send.
        if earlier.state == OutboxState.FAILED.value:
            return _hold(session, followup, ReasonCode.REFUSED_BY_SERVER, now)
        return None
    if earlier is not None and earlier.next_attempt_at and now < earlier.next_attempt_at:
        wait = Wait(earlier.next_attempt_at, ReasonCode.RETRY_LATER)
        record_decision(session, followup, wait, now)
        return wait, None
    try:
        message_id = earlier.message_id if earlier is not None else None
        mail = _render(session, situation, decision.step, now, message_id)
    except MissingVariable as missing:
        return _hold(session, followup, ReasonCode.MISSING_VARIABLE, now, missing.name)
    claimed = outbox.claim(session, followup.id, decision.step, owner, lease_seconds, mail)
    if claimed is None:
        return None
    # Others need not look at it while it is on its way; recovery looks at the outbox instead.
    followups.look_again(session, followup.id, now + timedelta(seconds=lease_seconds), None)
    return decision, claimed


def _hold(
    session: Session, followup: DueFollowup, reason: ReasonCode, now: datetime, detail: str = ""
) -> tuple[Decision, None]:
    words = f"{reason.value}: {detail}" if detail else reason.value
    followups.end_automation(session, followup, AutoState.HELD, words, at=now)
    return Hold(reason), None


def _render(
    session: Session, situation: Situation, step: int, now: datetime, message_id: str | None
) -> dict[str, object]:
    """The outbox row's columns. A step that is tried again keeps its Message-ID."""
    followup, company = situation.followup, situation.company
    assert situation.mailbox_id is not None  # noqa: S101 (decide_now saw to it)
    account = mailboxes.load_account(session, situation.mailbox_id)
    earlier = outbox.find_message_ids(session, followup.id)
    language = (followup.client_language or company.language).lower()
    wording = render(
        FollowupType(followup.type), step, language, wording_context(situation, account, now)
    )
    message_id = message_id or make_message_id(account.email.rpartition("@")[2])
    raw = compose(
        OutgoingMail(
            message_id=message_id,
            sender=Address(account.email, _one_line(account.from_name or company.name)),
            recipient=Address(followup.client_email or "", _one_line(followup.client_name)),
            subject=wording.subject,
            text=wording.text,
            date=now,
            in_reply_to=earlier[-1] if earlier else None,
            references=tuple(earlier),
            language=language,
        )
    )
    conversation_id = followup.conversation_id or conversations.find_latest_of_client(
        session, company.id, followup.client_id
    )
    return {
        "company_id": company.id,
        "integration_id": account.id,
        "conversation_id": conversation_id,
        "message_id": message_id,
        "fingerprint": parse_headers(raw).fingerprint or "",
        "recipient": followup.client_email,
        "subject": wording.subject,
        "content": wording.text,
        "raw": raw,
    }


def wording_context(situation: Situation, account: MailboxAccount, now: datetime) -> WordingContext:
    followup, company = situation.followup, situation.company
    today = now.astimezone(ZoneInfo(company.timezone)).date()
    return WordingContext(
        company_name=company.name,
        client_name=followup.client_name,
        source_label=followup.source_label,
        amount=followup.amount,
        currency=followup.currency,
        due_date=followup.due_date,
        days_late=(today - followup.due_date).days if followup.due_date else None,
        sender_name=account.from_name,
    )


def _one_line(name: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())


def begin_sending(
    session: Session, claimed: OutboxClaim, lease_seconds: int, now: datetime
) -> Stop | Hold | None:
    """Between DATA and the body: take responsibility, or learn that something stops the step.

    What comes back besides None was not committed as 'sending': nothing may go out. Raises
    ClaimLost, and SettingsInvalid when the rules were broken meanwhile.
    """
    followups.wait_for_lock(session, claimed.followup_id)
    situation = load_situation(session, claimed.followup_id)
    stop = stops_before_body(situation.facts, situation.rules, now)
    if stop is not None:
        outbox.settle_not_sent(
            session,
            claimed,
            OutboxState.CANCELLED,
            error=f"stopped before the body: {stop.reason.value}",
            count_attempt=False,
        )
        record_decision(session, situation.followup, stop, now)
        return stop
    outbox.begin_sending(session, claimed, lease_seconds)
    return None
