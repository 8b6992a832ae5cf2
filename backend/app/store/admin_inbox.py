"""Conversations and the quarantine, as a person reads them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.errors import Refused
from backend.app.models import (
    Client,
    Conversation,
    InboxFolder,
    InboxIntegration,
    InboxMessage,
    MessageAttachment,
    QuarantinedMail,
)
from backend.app.store.admin_records import (
    AttachmentRow,
    ConversationRow,
    MessageRow,
    QuarantineRow,
)

MESSAGE_COLUMNS = tuple(
    getattr(InboxMessage, name) for name in MessageRow.__dataclass_fields__ if name != "attachments"
)
_COUNTED = (
    sa.select(sa.func.count())
    .where(InboxMessage.conversation_id == Conversation.id)
    .correlate(Conversation)
    .scalar_subquery()
)
_CONVERSATION_EXTRAS = {
    "client_name": Client.name,
    "client_email": Client.email,
    "folder": InboxFolder.name,
    "messages": _COUNTED,
}
CONVERSATION_COLUMNS = tuple(
    _CONVERSATION_EXTRAS[name].label(name)
    if name in _CONVERSATION_EXTRAS
    else getattr(Conversation, name)
    for name in ConversationRow.__dataclass_fields__
)
_QUARANTINE_EXTRAS = {
    "company_id": InboxIntegration.company_id,
    "size": sa.func.length(QuarantinedMail.raw),
}
QUARANTINE_COLUMNS = tuple(
    _QUARANTINE_EXTRAS[name].label(name)
    if name in _QUARANTINE_EXTRAS
    else getattr(QuarantinedMail, name)
    for name in QuarantineRow.__dataclass_fields__
)


def list_conversations(
    session: Session, company_id: int | None, limit: int, client_id: int | None = None
) -> list[ConversationRow]:
    """The one in which something was said last comes first. client_id: this client's alone."""
    query = (
        _conversations()
        .order_by(Conversation.last_message_at.desc().nulls_last(), Conversation.id.desc())
        .limit(limit)
    )
    if company_id is not None:
        query = query.where(Conversation.company_id == company_id)
    if client_id is not None:
        query = query.where(Conversation.client_id == client_id)
    return [ConversationRow(**row._mapping) for row in session.execute(query).all()]


def load_conversation(
    session: Session, company_id: int | None, conversation_id: int
) -> ConversationRow:
    """Raises Refused when there is no such conversation, or it is another company's."""
    query = _conversations().where(Conversation.id == conversation_id)
    if company_id is not None:
        query = query.where(Conversation.company_id == company_id)
    row = session.execute(query).one_or_none()
    if row is None:
        where = "" if company_id is None else f" of company {company_id}"
        raise Refused(
            f"there is no conversation {conversation_id}{where}; see: manage.py conversation list"
        )
    return ConversationRow(**row._mapping)


def _conversations() -> sa.Select[tuple[object, ...]]:
    return (
        sa.select(*CONVERSATION_COLUMNS)
        .outerjoin(Client, Client.id == Conversation.client_id)
        .outerjoin(InboxFolder, InboxFolder.id == Conversation.folder_id)
    )


def list_messages(session: Session, conversation_id: int, limit: int) -> list[MessageRow]:
    """The newest `limit` of them, in the order in which they were said."""
    newest = session.execute(
        sa.select(*MESSAGE_COLUMNS)
        .where(InboxMessage.conversation_id == conversation_id)
        .order_by(InboxMessage.sent_at.desc(), InboxMessage.id.desc())
        .limit(limit)
    ).all()
    messages = [MessageRow(**row._mapping) for row in reversed(newest)]
    files = _attachments(session, [message.id for message in messages])
    return [replace(each, attachments=tuple(files[each.id])) for each in messages]


def _attachments(session: Session, message_ids: list[int]) -> dict[int, list[AttachmentRow]]:
    """By message."""
    a = MessageAttachment
    rows = session.execute(
        sa.select(a.message_id, a.filename, a.content_type, a.size, a.inline)
        .where(a.message_id.in_(message_ids))
        .order_by(a.message_id, a.position)
    ).all()
    found: dict[int, list[AttachmentRow]] = defaultdict(list)
    for row in rows:
        attachment = AttachmentRow(row.filename, row.content_type, row.size, row.inline)
        found[row.message_id].append(attachment)
    return found


def list_quarantined(session: Session, company_id: int | None, limit: int) -> list[QuarantineRow]:
    query = _quarantined(company_id).order_by(QuarantinedMail.id).limit(limit)
    return [QuarantineRow(**row._mapping) for row in session.execute(query).all()]


def load_quarantined(
    session: Session, company_id: int | None, quarantine_id: int
) -> tuple[QuarantineRow, bytes]:
    """The row and the raw mail. Raises Refused when it is not there, or another company's."""
    query = _quarantined(company_id).where(QuarantinedMail.id == quarantine_id)
    row = session.execute(query.add_columns(QuarantinedMail.raw)).one_or_none()
    if row is None:
        where = "" if company_id is None else f" of company {company_id}"
        raise Refused(
            f"there is no quarantined mail {quarantine_id}{where}; see: manage.py quarantine list"
        )
    values = dict(row._mapping)
    raw: bytes = values.pop("raw")
    return QuarantineRow(**values), raw


def _quarantined(company_id: int | None) -> sa.Select[tuple[object, ...]]:
    query = sa.select(*QUARANTINE_COLUMNS).join(
        InboxIntegration, InboxIntegration.id == QuarantinedMail.integration_id
    )
    if company_id is not None:
        query = query.where(InboxIntegration.company_id == company_id)
    return query
