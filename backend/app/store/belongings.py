"""What of a client is here: its conversations, messages, files, follow-ups and reminders.

For an export and for an erasure, which must mean the same by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.errors import Refused
from backend.app.mail.message import address_key
from backend.app.models import (
    Client,
    Conversation,
    Followup,
    InboxIntegration,
    InboxMessage,
    MessageAttachment,
    OutboxMail,
    QuarantinedMail,
)
from backend.app.store.erased import batches


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientFound:
    """A client, and the keys under which mail of theirs lies here."""

    id: int
    company_id: int
    name: str
    email: str | None
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Belongings:
    """How much of a client is here; files: attachments, some of which may be the same."""

    conversations: int
    messages: int
    files: int
    quarantined: int
    followups: int
    reminders: int


def find_client(session: Session, company_id: int | None, client_id: int) -> ClientFound:
    """Raises Refused when there is no such client, or it is another company's."""
    query = sa.select(Client).where(Client.id == client_id)
    if company_id is not None:
        query = query.where(Client.company_id == company_id)
    row = session.scalar(query)
    if row is None:
        where = "" if company_id is None else f" of company {company_id}"
        raise Refused(f"there is no client {client_id}{where}; see: manage.py client list")
    keys = {row.email_key, address_key(row.email) if row.email else None} - {None, ""}
    return ClientFound(
        id=row.id,
        company_id=row.company_id,
        name=row.name,
        email=row.email,
        keys=tuple(sorted(key for key in keys if key)),
    )


def count_belongings(session: Session, client: ClientFound) -> Belongings:
    messages = list_messages(session, client)
    return Belongings(
        conversations=len(list_conversations(session, client)),
        messages=len(messages),
        files=sum(len(each) for each in digests_of(session, messages)),
        quarantined=len(list_quarantined(session, client)),
        followups=len(_followups(session, client)),
        reminders=len(_reminders(session, client)),
    )


def list_messages(session: Session, client: ClientFound) -> list[int]:
    """The messages of the client's conversations, and what the client wrote in others'."""
    m, c = InboxMessage, Conversation
    theirs = sa.select(c.id).where(c.company_id == client.company_id, c.client_id == client.id)
    in_theirs = sa.select(m.id).where(m.conversation_id.in_(theirs))
    written = sa.select(m.id).where(
        m.company_id == client.company_id, m.from_key.in_(client.keys), m.is_from_client
    )
    return sorted(session.scalars(sa.union(in_theirs, written)))


def reminders_of(client: ClientFound) -> sa.ColumnElement[bool]:
    """The reminders that went to the client, and those of what the client is reminded of.

    Not the same where the host application has joined two clients: a reminder names the one it was
    made for, and keeps its follow-up from being removed.
    """
    f, o = Followup, OutboxMail
    of_followups = sa.select(f.id).where(
        f.company_id == client.company_id, f.client_id == client.id
    )
    return sa.and_(
        o.company_id == client.company_id,
        sa.or_(o.client_id == client.id, o.followup_id.in_(of_followups)),
    )


def digests_of(session: Session, messages: Sequence[int]) -> Iterator[list[str]]:
    """Those of their files, some at a time; of one that is there twice, twice."""
    a = MessageAttachment
    for some in batches(messages):
        yield list(session.scalars(sa.select(a.sha256).where(a.message_id.in_(some))))


def list_conversations(session: Session, client: ClientFound) -> list[int]:
    return _ids(session, Conversation, client)


def _followups(session: Session, client: ClientFound) -> list[int]:
    return _ids(session, Followup, client)


def _reminders(session: Session, client: ClientFound) -> list[int]:
    return list(session.scalars(sa.select(OutboxMail.id).where(reminders_of(client))))


def list_quarantined(session: Session, client: ClientFound) -> list[int]:
    """The quarantined mails of which the client is the sender."""
    q, i = QuarantinedMail, InboxIntegration
    return list(
        session.scalars(
            sa.select(q.id)
            .join(i, i.id == q.integration_id)
            .where(i.company_id == client.company_id, q.sender_key.in_(client.keys))
            .order_by(q.id)
        )
    )


def _ids(session: Session, model: Any, client: ClientFound) -> list[int]:
    query = sa.select(model.id).where(
        model.company_id == client.company_id, model.client_id == client.id
    )
    return list(session.scalars(query.order_by(model.id)))
