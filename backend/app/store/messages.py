"""Messages of the shared inbox and their attachments: (company, fingerprint) is one message."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.mail.identity import SYNTHETIC_DOMAIN
from backend.app.mail.message import Classification, MailKind, ParsedMail
from backend.app.mail.msgid import MOST_REFERENCES
from backend.app.models import InboxMessage, MessageAttachment
from backend.app.store.records import StoredFile
from backend.app.store.tables import table_of
from backend.app.store.upsert import insert_unless_there

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)  # nothing was stored before

_M = table_of(InboxMessage).c
_OF_COMPANY = _M.company_id == sa.bindparam("company_id")
_OF_FINGERPRINT = (_OF_COMPANY, _M.fingerprint == sa.bindparam("fingerprint"))
_FIND_CONVERSATION = sa.select(_M.conversation_id).where(*_OF_FINGERPRINT)
# When a person on the client's side last wrote since `since`: the client from anywhere, or anybody
# but us in the conversation of the reminders. Vacation notices, bounces and newsletters are no
# answer. What arrived since `earliest` and came into the inbox since `since` counts too: it crossed
# with our mail, or lay in Spam until a person moved it, and keeps the INTERNALDATE of its arrival.
# Mail that stood in the inbox before `stored_since` is none either (the database's clock).
_ANSWER = sa.select(sa.func.max(_M.arrived_at)).where(
    _OF_COMPANY,
    _M.is_from_client,
    _M.kind == MailKind.HUMAN.value,
    _M.arrived_at >= sa.bindparam("earliest"),
    sa.or_(_M.arrived_at >= sa.bindparam("since"), _M.created_at >= sa.bindparam("since")),
    _M.created_at >= sa.bindparam("stored_since"),
)
ANSWER_OF = _ANSWER.where(_M.from_key == sa.bindparam("client_key"))
ANSWER_IN = _ANSWER.where(_M.conversation_id == sa.bindparam("conversation_id"))
# The day of return in the client's newest out-of-office notice that names one.
RETURN = (
    sa.select(_M.back_on)
    .where(
        _OF_COMPANY,
        _M.from_key == sa.bindparam("client_key"),
        _M.kind == MailKind.AUTO_REPLY.value,
        _M.back_on.is_not(None),
    )
    .order_by(_M.arrived_at.desc())
    .limit(1)
)
_MESSAGE_ID: sa.BindParameter[str] = sa.bindparam("message_id")
_FIND_PROOF = sa.select(
    sa.func.coalesce(
        *(
            sa.select(sa.func.min(_M.sent_at)).where(_OF_COMPANY, named).scalar_subquery()
            for named in (
                _M.external_id == _MESSAGE_ID,
                _M.in_reply_to == _MESSAGE_ID,
                _M.about_external_id == _MESSAGE_ID,
            )
        ),
        type_=_M.sent_at.type,
    )
)
_LOAD_THREAD = (
    sa.select(_M.external_id, _M.in_reply_to, _M.from_key, _M.recipients)
    .where(
        _M.conversation_id == sa.bindparam("conversation_id"),
        _M.kind.in_([MailKind.HUMAN.value, MailKind.OWN.value]),
        _M.source == "email",
        _M.external_id.not_like(f"%@{SYNTHETIC_DOMAIN}"),
    )
    .order_by(_M.sent_at.desc(), _M.id.desc())
    .limit(4 * MOST_REFERENCES)
)
_ATTACH = sa.insert(table_of(MessageAttachment))


def says_the_same(session: Session, message_id: int, text: str, digests: frozenset[str]) -> bool:
    """Whether a message has this text, white space aside, and these attachments (SHA-256)."""
    content = session.scalar(sa.select(InboxMessage.content).where(InboxMessage.id == message_id))
    attached = session.scalars(
        sa.select(MessageAttachment.sha256).where(MessageAttachment.message_id == message_id)
    )
    return (content or "").split() == text.split() and frozenset(attached) == digests


def find_messages(
    session: Session, company_id: int, fingerprints: Collection[str]
) -> dict[str, int]:
    """Which of these mails are messages already: fingerprint -> id."""
    rows = session.execute(
        sa.select(InboxMessage.fingerprint, InboxMessage.id).where(
            InboxMessage.company_id == company_id, InboxMessage.fingerprint.in_(fingerprints)
        )
    ).all()
    return {row.fingerprint: row.id for row in rows}


def insert_message(
    session: Session,
    mail: ParsedMail,
    classification: Classification,
    *,
    company_id: int,
    integration_id: int,
    conversation_id: int,
    placement: str,
    is_from_client: bool,
    sent_at: datetime,
    arrived_at: datetime,
    read: bool,
) -> int | None:
    """The new message's id, or None when the same mail is a message already."""
    sender = mail.sender
    bounce = classification.bounce
    inserted: int | None = insert_unless_there(
        session,
        InboxMessage,
        {
            "company_id": company_id,
            "conversation_id": conversation_id,
            "integration_id": integration_id,
            "external_id": mail.message_id[:320],
            "fingerprint": mail.fingerprint,
            "in_reply_to": mail.in_reply_to[0][:320] if mail.in_reply_to else None,
            "about_external_id": classification.about_message_id,
            "from_name": sender.name[:200] if sender else "",
            "from_email": sender.email[:320] if sender else "",
            "from_key": sender.key[:320] if sender else "",
            "recipients": [address.key[:320] for address in mail.recipients[:100]],
            "subject": mail.subject[:500],
            "content": mail.text,
            "reply_content": mail.reply_text if mail.reply_text != mail.text else None,
            "content_html": mail.html,
            "is_from_client": is_from_client,
            "read": read,
            "kind": classification.kind.value,
            "kind_reason": classification.reason[:60],
            "back_on": classification.back_on,
            "bounce_hard": bounce.hard if bounce else None,
            "placement": placement[:40],
            "notes": list(mail.notes),
            "sent_at": sent_at,
            "arrived_at": arrived_at,
        },
        InboxMessage.id,
    )
    return inserted


def insert_text_message(
    session: Session,
    *,
    company_id: int,
    integration_id: int,
    conversation_id: int,
    external_id: str,
    fingerprint: str,
    from_name: str,
    recipient: str,
    content: str,
    sent_at: datetime,
) -> bool:
    """A text message that we sent; False when it is a message already.

    integration_id: the mailbox in which an answer would arrive. recipient: a number in E.164.
    """
    inserted = insert_unless_there(
        session,
        InboxMessage,
        {
            "company_id": company_id,
            "conversation_id": conversation_id,
            "integration_id": integration_id,
            "source": "sms",
            "external_id": external_id[:320],
            "fingerprint": fingerprint,
            "from_name": from_name[:200],
            "recipients": [recipient],
            "content": content,
            "is_from_client": False,
            "read": True,
            "kind": MailKind.OWN.value,
            "kind_reason": "reminder",
            "placement": "own_reminder",
            "sent_at": sent_at,
            "arrived_at": sent_at,
        },
        InboxMessage.id,
    )
    return inserted is not None


def insert_attachments(
    session: Session, company_id: int, message_id: int, files: Sequence[StoredFile]
) -> None:
    if not files:
        return
    session.execute(
        _ATTACH,
        [
            {
                "company_id": company_id,
                "message_id": message_id,
                "position": position,
                "filename": file.filename[:255],
                "content_type": file.content_type[:120],
                "content_id": file.content_id and file.content_id[:320],
                "inline": file.inline,
                "size": file.size,
                "sha256": file.sha256,
            }
            for position, file in enumerate(files)
        ],
    )


def is_proof(session: Session, company_id: int, message_id: str) -> bool:
    """Whether anything in the inbox shows that our mail with this Message-ID went out.

    Its copy in the Sent folder, a reply to it, or a bounce of it.
    """
    m = InboxMessage
    for column in (m.external_id, m.in_reply_to, m.about_external_id):
        found = session.scalar(
            sa.select(m.id).where(m.company_id == company_id, column == message_id).limit(1)
        )
        if found is not None:
            return True
    return False


def find_proof(session: Session, company_id: int, message_id: str) -> datetime | None:
    """When our mail with this Message-ID went out at the latest, by what is_proof goes by."""
    given = {"company_id": company_id, "message_id": message_id}
    found: datetime | None = session.scalar(_FIND_PROOF, given)
    return found


def find_conversation_of(session: Session, company_id: int, fingerprint: str) -> int | None:
    """The conversation in which a mail is a message already."""
    given = {"company_id": company_id, "fingerprint": fingerprint}
    return session.scalar(_FIND_CONVERSATION, given)


def find_copy(session: Session, company_id: int, message_id: str) -> int | None:
    """The conversation in which the copy in Sent of our mail with this Message-ID lies."""
    m = InboxMessage
    return session.scalar(
        sa.select(m.conversation_id)
        .where(
            m.company_id == company_id,
            m.external_id == message_id,
            m.kind == MailKind.OWN.value,
        )
        .limit(1)
    )


def load_thread(session: Session, conversation_id: int, client_key: str) -> list[str]:
    """The Message-IDs from the beginning of a conversation to what the client last wrote or got.

    A mail that answers the last of them, with all of them as References (RFC 5322, 3.6.4), stands
    in the client's mail program where the client expects it. [] when nothing there fits.
    """
    rows = session.execute(_LOAD_THREAD, {"conversation_id": conversation_id}).all()
    parents = {row.external_id: row.in_reply_to for row in rows}
    seen = (row.external_id for row in rows if client_key in (row.from_key, *row.recipients))
    chain: list[str] = []
    at: str | None = next(seen, None)
    while at is not None and at not in chain and len(chain) < MOST_REFERENCES:
        chain.append(at)
        at = parents.get(at)
    return chain[::-1]
