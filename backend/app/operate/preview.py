"""`manage.py followup preview`: the mail of a step as it would go out today. Only reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from backend.app.errors import BadInput, Refused
from backend.app.followups.documents import DocumentUnusable
from backend.app.followups.draft import outgoing
from backend.app.followups.facts import Hold
from backend.app.followups.reasons import ReasonCode
from backend.app.followups.schedule import schedule_of
from backend.app.followups.situation import Situation, load_situation
from backend.app.followups.wording import WordingUnusable
from backend.app.mail.compose import compose
from backend.app.store import admin_followups, conversations, mailboxes


@dataclass(frozen=True, slots=True)
class Preview:
    """One mail. references: how many earlier mails it is threaded to. raw: as SMTP would get it."""

    step: int
    sender: str
    recipient: str
    reply_to: str | None
    subject: str
    text: str
    attachments: tuple[str, ...]
    references: int
    raw: bytes = field(repr=False)


def preview_step(
    session: Session,
    company_id: int | None,
    followup_id: int,
    step: int | None,
    now: datetime,
    documents: Path,
) -> Preview:
    """step: None for the next one. Nothing is sent, and nothing says that it is due.

    Raises Refused where the mail cannot be made, BadInput for a step that the rules do not have,
    and SettingsInvalid.
    """
    admin_followups.load_followup_row(session, company_id, followup_id)
    situation = load_situation(session, followup_id, now)
    step = _step(situation, step)
    if situation.mailbox_id is None:
        raise Refused(f"company {situation.company.id} has no active mailbox that can send")
    if not situation.facts.has_address:
        raise Refused(f"client {situation.followup.client_id} has no address to write to")
    planned = schedule_of(situation.facts, situation.rules)
    if isinstance(planned, Hold) and planned.reason is ReasonCode.UNKNOWN_TIME_ZONE:
        zone = situation.company.timezone
        raise Refused(f"the time zone of company {situation.company.id} is no IANA zone: {zone!r}")
    account = mailboxes.load_account(session, situation.mailbox_id)
    conversation_id = situation.followup.conversation_id or conversations.find_latest_of_client(
        session, situation.company.id, situation.followup.client_id
    )
    try:
        mail = outgoing(session, situation, step, account, conversation_id, now, documents)
    except (WordingUnusable, DocumentUnusable) as error:
        raise Refused(f"step {step} would be held: {error}") from error
    return Preview(
        step=step,
        sender=_shown(mail.sender.name, mail.sender.email),
        recipient=_shown(mail.recipient.name, mail.recipient.email),
        reply_to=mail.reply_to.email if mail.reply_to else None,
        subject=mail.subject,
        text=mail.text,
        attachments=tuple(f"{a.filename} ({len(a.content):,} bytes)" for a in mail.attachments),
        references=len(mail.references),
        raw=compose(mail),
    )


def _step(situation: Situation, step: int | None) -> int:
    rules = situation.rules.for_type(situation.followup.type)
    if rules is None:
        raise Refused(f"there are no rules for the type {situation.followup.type!r}")
    last = len(rules.plan)
    chosen = min(situation.followup.steps_sent + 1, last) if step is None else step
    if not 1 <= chosen <= last:
        raise BadInput(f"{situation.followup.type} has steps 1 to {last}, not {chosen}")
    return chosen


def _shown(name: str, email: str) -> str:
    return f"{name} <{email}>" if name else email
