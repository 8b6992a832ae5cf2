"""`manage.py followup preview`: a step's mail or text message as it would go out today."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from backend.app.channel import Channel
from backend.app.errors import BadInput, Refused
from backend.app.followups.documents import Documents, DocumentUnusable
from backend.app.followups.draft import find_conversation, outgoing
from backend.app.followups.facts import Hold, Send
from backend.app.followups.group import Member, companions, find_beside
from backend.app.followups.reasons import ReasonCode
from backend.app.followups.schedule import schedule_of
from backend.app.followups.situation import Situation, load_situation
from backend.app.followups.text_draft import TextUnusable, text_message
from backend.app.followups.wording import WordingUnusable
from backend.app.mail.compose import compose
from backend.app.sms.segments import outside_gsm
from backend.app.store import admin_followups, mailboxes
from backend.app.store.records import MailboxAccount


@dataclass(frozen=True, slots=True)
class Preview:
    """One mail, or one text message, which has neither subject nor attachments.

    with_followups: those that would go in the same mail at this moment. references: how many
    earlier mails it is threaded to. raw: as SMTP would get it.
    encoding, segments: of a text message; expensive: its letters beyond the GSM alphabet.
    """

    step: int
    channel: str
    sender: str
    recipient: str
    reply_to: str | None
    subject: str
    text: str
    attachments: tuple[str, ...]
    references: int
    raw: bytes = field(repr=False)
    encoding: str | None = None
    segments: int | None = None
    expensive: str = ""
    with_followups: tuple[int, ...] = ()


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
    rules = situation.rules.for_type(situation.followup.type)
    by_text = rules is not None and rules.channel_of(step) is Channel.SMS
    _require_reachable(situation, by_text)
    planned = schedule_of(situation.facts, situation.rules)
    if isinstance(planned, Hold) and planned.reason is ReasonCode.UNKNOWN_TIME_ZONE:
        zone = situation.company.timezone
        raise Refused(f"the time zone of company {situation.company.id} is no IANA zone: {zone!r}")
    account = mailboxes.load_account(session, situation.mailbox_id)
    if by_text:
        return _preview_text(session, situation, step, account, now)
    conversation_id = find_conversation(session, situation)
    files = Documents(documents)
    try:
        steps = _steps(session, situation, step, account, conversation_id, now, files)
        mail = outgoing(session, steps, account, conversation_id, now, files)
    except (WordingUnusable, DocumentUnusable) as error:
        raise Refused(f"step {step} would be held: {error}") from error
    return Preview(
        step=step,
        channel=Channel.EMAIL.value,
        with_followups=tuple(each.followup.id for each, _ in steps[1:]),
        sender=_shown(mail.sender.name, mail.sender.email),
        recipient=_shown(mail.recipient.name, mail.recipient.email),
        reply_to=mail.reply_to.email if mail.reply_to else None,
        subject=mail.subject,
        text=mail.text,
        attachments=tuple(f"{a.filename} ({len(a.content):,} bytes)" for a in mail.attachments),
        references=len(mail.references),
        raw=compose(mail),
    )


def _require_reachable(situation: Situation, by_text: bool) -> None:
    facts = situation.facts
    if not (facts.has_phone if by_text else facts.has_address):
        missing = "mobile number" if by_text else "address to write to"
        raise Refused(f"client {situation.followup.client_id} has no {missing}")


def _preview_text(
    session: Session, situation: Situation, step: int, account: MailboxAccount, now: datetime
) -> Preview:
    try:
        message = text_message(session, situation, step, account, now)
    except TextUnusable as unusable:
        words = (
            f"{unusable.reason.meaning}: {unusable}" if str(unusable) else unusable.reason.meaning
        )
        raise Refused(f"step {step} would be held: {words}") from unusable
    except WordingUnusable as error:
        raise Refused(f"step {step} would be held: {error}") from error
    return Preview(
        step=step,
        channel=Channel.SMS.value,
        sender=message.sender,
        recipient=message.recipient,
        reply_to=None,
        subject="",
        text=message.text + "\n",
        attachments=(),
        references=0,
        raw=message.text.encode(),
        encoding=message.length.encoding,
        segments=message.length.segments,
        expensive=outside_gsm(message.text),
    )


def _steps(
    session: Session,
    situation: Situation,
    step: int,
    account: MailboxAccount,
    conversation_id: int | None,
    now: datetime,
    documents: Documents,
) -> list[tuple[Situation, int]]:
    """The step, and with the next one those of other follow-ups that a run would send with it."""
    alone = [(situation, step)]
    if step != situation.followup.steps_sent + 1:
        return alone
    rules = situation.rules.for_type(situation.followup.type)
    assert rules is not None  # noqa: S101
    lead = Member(situation, Send(step, channel=rules.channel_of(step)))
    beside = find_beside(session, situation, lead.decision, now, hold=False) or []
    found = companions(session, lead, beside, account, conversation_id, now, documents)
    return alone + [(each.situation, each.step) for each in found]


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
