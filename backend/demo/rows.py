"""The database as the host application sees it: what it reads, and the little that it changes.

Everything here happens in the demo's own database, which `open_rows` binds.
"""

from __future__ import annotations

from contextlib import contextmanager
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app import db
from backend.app.config import load_settings
from backend.app.models import (
    AutoState,
    Base,
    Client,
    Conversation,
    Followup,
    FollowupHistory,
    InboxIntegration,
    InboxMessage,
    MessageAttachment,
    OutboxMail,
)
from backend.app.store import admin_followups, admin_inbox, admin_totals
from backend.app.store.admin_records import ConversationRow, FollowupRow, MessageRow, OutboxRow
from backend.demo.workplace import Workplace

MOST = 1000
# What the story's clock moves: every instant of what has happened so far. Due dates stay.
INSTANTS: dict[type[Base], tuple[str, ...]] = {
    Conversation: ("last_message_at", "created_at"),
    InboxMessage: ("sent_at", "arrived_at", "created_at"),
    Followup: ("last_step_at", "created_at"),
    FollowupHistory: ("sent_at",),
    OutboxMail: ("sending_at", "sent_at", "created_at"),
}


@dataclass(frozen=True, slots=True)
class Thread:
    """A conversation, and its messages in the order in which they were written."""

    row: ConversationRow
    messages: list[MessageRow]


@contextmanager
def open_rows(place: Workplace) -> Iterator[None]:
    """Bind this process to the demo's database, once `manage.py init` has made it."""
    engine = db.open_database(load_settings(place.environment))
    try:
        yield
    finally:
        engine.dispose()
        db.SessionLocal.configure(bind=None)


def load_threads() -> list[Thread]:
    """All conversations, the one that opened first in front."""
    rows = sorted(db.read(admin_inbox.list_conversations, None, MOST), key=lambda row: row.id)
    return [Thread(row, db.read(admin_inbox.list_messages, row.id, MOST)) for row in rows]


def load_followups() -> dict[str, FollowupRow]:
    """By what they are about."""
    rows = db.read(admin_followups.list_followups, None, None, MOST)
    return {row.source_label: row for row in rows}


def load_outbox(followup_id: int) -> list[OutboxRow]:
    return db.read(admin_followups.list_outbox, followup_id=followup_id)


def load_ledger() -> dict[str, int]:
    """How many mails of the server ended as what."""
    return db.read(admin_totals.count_ledger, None)


def find_attachment(message_id: int) -> tuple[int, str]:
    """The company and the SHA-256 under which a message's first file lies."""

    def found(session: Session) -> tuple[int, str]:
        a = MessageAttachment
        query = sa.select(a.company_id, a.sha256).where(a.message_id == message_id)
        return tuple(session.execute(query.order_by(a.position)).first() or (0, ""))  # type: ignore[return-value]

    return db.read(found)


def count_clients(email: str) -> int:
    query = sa.select(sa.func.count()).select_from(Client).where(Client.email_key == email)
    return db.read(lambda session: session.execute(query).scalar_one())


def mark_paid(label: str) -> None:
    """What the host application writes when the money has come."""
    _change_followup(label, status="paid")


def send_from(label: str, mailbox: str) -> None:
    """The host application may name the mailbox that a follow-up's reminders come from."""
    query = sa.select(InboxIntegration.id).where(InboxIntegration.email == mailbox)
    _change_followup(label, integration_id=db.read(lambda session: session.scalar(query)))


def _change_followup(label: str, **values: object) -> None:
    change = sa.update(Followup).where(Followup.source_label == label).values(**values)
    db.write(lambda session: session.execute(change) and None)


def look_again_now() -> None:
    """As if the time had come at which the sender looks at each active follow-up again."""
    active = Followup.auto_state == AutoState.ACTIVE.value
    change = sa.update(Followup).where(active).values(next_action_at=db.utc_now())
    db.write(lambda session: session.execute(change) and None)


def move_clock(by: timedelta) -> None:
    """Date all that has happened so far back, so that it looks as if `by` had gone by since."""
    db.write(_move_back, by)
    look_again_now()


def _move_back(session: Session, by: timedelta) -> None:
    for model, names in INSTANTS.items():
        for row in session.scalars(sa.select(model)):
            for name in names:
                moment: datetime | None = getattr(row, name)
                if moment is not None:
                    setattr(row, name, moment - by)
