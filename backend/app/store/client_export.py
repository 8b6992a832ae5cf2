"""One client's rows, as an export reads them: whole rows, one aggregate after the other."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.models import (
    Base,
    Client,
    Conversation,
    Followup,
    FollowupHistory,
    InboxMessage,
    MessageAttachment,
    OutboxMail,
    QuarantinedMail,
)
from backend.app.store.belongings import ClientFound

Row = dict[str, Any]


def load_client(session: Session, client: ClientFound) -> Row:
    (found,) = _rows(session, Client, Client.id == client.id)
    return found


def list_conversations(session: Session, client: ClientFound) -> list[Row]:
    c = Conversation
    return _rows(session, c, c.company_id == client.company_id, c.client_id == client.id)


def load_message(session: Session, message_id: int) -> tuple[Row, list[Row]] | None:
    """The message and its attachments; None when it is gone by now."""
    found = _rows(session, InboxMessage, InboxMessage.id == message_id)
    files = _rows(session, MessageAttachment, MessageAttachment.message_id == message_id)
    return (found[0], files) if found else None


def list_followups(session: Session, client: ClientFound) -> list[Row]:
    """Each with its `history` and its `reminders`, these without their raw bytes."""
    f = Followup
    found = _rows(session, f, f.company_id == client.company_id, f.client_id == client.id)
    for row in found:
        row["history"] = _rows(session, FollowupHistory, FollowupHistory.followup_id == row["id"])
        row["reminders"] = _rows(
            session, OutboxMail, OutboxMail.followup_id == row["id"], without=("raw",)
        )
    return found


def load_reminder(session: Session, outbox_id: int) -> tuple[bytes, str] | None:
    """The bytes in which it went, or was to go, and its channel."""
    o = OutboxMail
    mail = sa.select(sa.func.coalesce(o.carried_by, o.id)).where(o.id == outbox_id)
    query = sa.select(o.raw, o.channel).where(o.id == mail.scalar_subquery())
    row = session.execute(query).one_or_none()
    return None if row is None else (row.raw, row.channel)


def load_quarantined(session: Session, quarantine_id: int) -> bytes | None:
    q = QuarantinedMail
    return session.scalar(sa.select(q.raw).where(q.id == quarantine_id))


def _rows(
    session: Session,
    model: type[Base],
    *conditions: sa.ColumnElement[bool],
    without: tuple[str, ...] = (),
) -> list[Row]:
    columns = [column for column in sa.inspect(model).columns if column.key not in without]
    key = sa.inspect(model).primary_key
    query = sa.select(*columns).where(*conditions).order_by(*key)
    return [dict(row._mapping) for row in session.execute(query)]
