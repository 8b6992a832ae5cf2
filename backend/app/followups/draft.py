"""The mail of a step, rendered and composed before anybody speaks to a server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from backend.app.followups.policy import Send
from backend.app.followups.settings import FollowupType
from backend.app.followups.situation import Situation
from backend.app.followups.wording import WordingContext, render, spoken_language
from backend.app.mail.compose import ascii_domain, compose
from backend.app.mail.message import Address, OutgoingMail
from backend.app.mail.msgid import make_message_id
from backend.app.mail.parse import parse_headers
from backend.app.store import conversations, mailboxes, outbox
from backend.app.store.records import MailboxAccount


@dataclass(frozen=True, slots=True)
class Draft:
    """A step that may go out now. columns: the outbox row's, as far as they are the mail's."""

    decision: Send
    columns: dict[str, object]


def draft_step(session: Session, situation: Situation, decision: Send, now: datetime) -> Draft:
    """Raises MissingVariable. The situation has a mailbox and an address: decide_now saw to it."""
    followup, company = situation.followup, situation.company
    assert situation.mailbox_id is not None  # noqa: S101
    account = mailboxes.load_account(session, situation.mailbox_id)
    mail = _outgoing(session, situation, decision.step, account, now)
    raw = compose(mail)
    conversation_id = followup.conversation_id or conversations.find_latest_of_client(
        session, company.id, followup.client_id
    )
    columns: dict[str, object] = {
        "company_id": company.id,
        "client_id": followup.client_id,
        "integration_id": account.id,
        "conversation_id": conversation_id,
        "message_id": mail.message_id,
        "fingerprint": parse_headers(raw).fingerprint or "",
        "recipient": followup.client_email,
        "subject": mail.subject,
        "content": mail.text,
        "raw": raw,
    }
    return Draft(decision, columns)


def _outgoing(
    session: Session, situation: Situation, step: int, account: MailboxAccount, now: datetime
) -> OutgoingMail:
    followup, company = situation.followup, situation.company
    language = followup.client_language or company.language
    wording = render(
        FollowupType(followup.type), step, language, wording_context(situation, account, now)
    )
    earlier = outbox.find_message_ids(session, followup.id)
    tried_before = outbox.find_step(session, followup.id, step)
    return OutgoingMail(
        # A step that is tried again keeps its Message-ID: two copies are known as one mail.
        message_id=tried_before.message_id if tried_before else _new_message_id(account),
        sender=Address(account.email, _one_line(account.from_name or company.name)),
        recipient=Address(followup.client_email or "", _one_line(followup.client_name)),
        subject=wording.subject,
        text=wording.text,
        date=now,
        in_reply_to=earlier[-1] if earlier else None,
        references=tuple(earlier),
        language=spoken_language(language),
    )


def _new_message_id(account: MailboxAccount) -> str:
    return make_message_id(ascii_domain(account.email.rpartition("@")[2]))


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
