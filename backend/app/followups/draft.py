"""The mail or text message of a step, rendered before anybody speaks to a server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from sqlalchemy.orm import Session

from backend.app.channel import Channel
from backend.app.errors import RelanceError
from backend.app.followups.documents import Documents
from backend.app.followups.group import Member, companions
from backend.app.followups.particulars import sender_name, word_group, word_step
from backend.app.followups.policy import Send
from backend.app.followups.settings import ADVERTISING
from backend.app.followups.situation import Situation
from backend.app.followups.text_draft import text_columns, text_message
from backend.app.followups.wording import spoken_language
from backend.app.mail.charsets import printable_line
from backend.app.mail.compose import ascii_domain, compose
from backend.app.mail.message import Address, OutgoingMail
from backend.app.mail.msgid import make_message_id
from backend.app.mail.parse import parse_headers
from backend.app.sms.segments import Length
from backend.app.store import conversations, mailboxes, messages, reminders
from backend.app.store.records import DueFollowup, MailboxAccount


class MailUnusable(RelanceError):
    """A field cannot be written into a mail, such as the mailbox's address. The message says it."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A step that may go out now. columns: the outbox row's, as far as they are the mail's.

    length: of a text message; None for a mail.
    companions: what goes in the same mail, each with its own step.
    """

    decision: Send
    columns: dict[str, object]
    length: Length | None = None
    companions: Sequence[Member] = ()


def draft_step(
    session: Session,
    situation: Situation,
    decision: Send,
    now: datetime,
    documents: Documents,
    beside: Sequence[int] = (),
) -> Draft:
    """Raises MissingVariable, WordingUnusable, MailUnusable, DocumentUnusable, DocumentsUnread or
    TextUnusable.

    The situation has a mailbox and an address: decide_now saw to it. beside: the follow-ups that
    may go in the same mail, see group.py.
    """
    followup, company = situation.followup, situation.company
    assert situation.mailbox_id is not None  # noqa: S101
    account = mailboxes.load_account(session, situation.mailbox_id)
    conversation_id = find_conversation(session, situation)
    common: dict[str, object] = {
        "company_id": company.id,
        "client_id": followup.client_id,
        "integration_id": account.id,
        "conversation_id": conversation_id,
        "facts": followup.facts,
    }
    if decision.channel is Channel.SMS:
        message = text_message(session, situation, decision.step, account, now)
        message_id = _message_id(session, followup, decision.step, account)
        return Draft(decision, common | text_columns(message, message_id), message.length)
    lead = Member(situation, decision)
    with_it = companions(session, lead, beside, account, conversation_id, now, documents)
    steps = [(each.situation, each.step) for each in (lead, *with_it)]
    mail = outgoing(session, steps, account, conversation_id, now, documents)
    raw = _composed(mail)
    columns: dict[str, object] = {
        "channel": Channel.EMAIL.value,
        "message_id": mail.message_id,
        "fingerprint": parse_headers(raw).fingerprint or "",
        "recipient": followup.client_email,
        "subject": mail.subject,
        "content": mail.text,
        "raw": raw,
    }
    return Draft(decision, common | columns, companions=with_it)


def _composed(mail: OutgoingMail) -> bytes:
    try:
        return compose(mail)
    except ValueError as error:
        raise MailUnusable(str(error)) from error


def find_conversation(session: Session, situation: Situation) -> int | None:
    """Where its reminder is to lie; None when it opens a conversation."""
    followup = situation.followup
    return followup.conversation_id or conversations.find_latest_of_client(
        session, situation.company.id, followup.client_id
    )


def outgoing(
    session: Session,
    steps: Sequence[tuple[Situation, int]],
    account: MailboxAccount,
    conversation_id: int | None,
    now: datetime,
    documents: Documents,
) -> OutgoingMail:
    """The mail of any step, due or not, or of several, of which the first leads.

    Raises MissingVariable, WordingUnusable, DocumentUnusable or DocumentsUnread.
    """
    situation, step = steps[0]
    followup, company, rules = situation.followup, situation.company, situation.rules.mail
    single = len(steps) == 1
    wording = (
        word_step(situation, step, account, now) if single else word_group(steps, account, now)
    )
    thread = _thread(session, followup, conversation_id)
    names = [each.followup.document for each, _ in steps]
    return OutgoingMail(
        message_id=_message_id(session, followup, step, account),
        sender=Address(
            account.email, printable_line(sender_name(situation, account) or company.name)
        ),
        recipient=Address(followup.client_email or "", printable_line(followup.client_name)),
        subject=wording.subject,
        text=wording.text,
        html=wording.html,
        date=now,
        reply_to=Address(rules.reply_to) if rules.reply_to else None,
        in_reply_to=thread[-1] if thread else None,
        references=tuple(thread),
        attachments=tuple(documents.get(company.id, name) for name in names if name),
        auto_submitted=rules.auto_submitted,
        language=spoken_language(followup.client_language or company.language),
        extra_headers=_way_out(followup.type, rules.reply_to or account.email),
    )


def _way_out(type: str, answers_to: str) -> dict[str, str]:
    """Where a mail that is advertising can be refused (RFC 2369, 3.2): its answer, which stops it.

    None of the others has one: who owes an answer or money cannot sign off.
    """
    if type not in ADVERTISING:
        return {}
    local, _, domain = answers_to.rpartition("@")
    address = f"{quote(local)}@{ascii_domain(domain)}"
    return {"List-Unsubscribe": f"<mailto:{address}?subject=STOP>"}


def _thread(session: Session, followup: DueFollowup, conversation_id: int | None) -> list[str]:
    """The Message-IDs that lead to this mail, the nearest last; [] when it opens a conversation."""
    if conversation_id is not None and followup.client_key:
        thread = messages.load_thread(session, conversation_id, followup.client_key)
        if thread:
            return thread
    return reminders.find_message_ids(session, followup.id) if followup.steps_sent else []


def _message_id(session: Session, followup: DueFollowup, step: int, account: MailboxAccount) -> str:
    """A step that is tried again keeps its Message-ID: two copies are known as one mail.

    Else it is made of the step: a restored copy that has forgotten sending it makes the same.
    """
    tried_before, secret = reminders.load_identity(session, followup.id, step)
    if tried_before is not None:
        return tried_before
    what = f"{followup.id} {followup.created_at.isoformat()} {step}"
    domain = ascii_domain(account.email.rpartition("@")[2])
    return make_message_id(domain, secret, what)
