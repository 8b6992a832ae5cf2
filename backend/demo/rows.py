"""The demo's database as a host application uses it: much to read, and little to change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app import db
from backend.app.config import load_settings
from backend.app.models import (
    AutoState,
    Base,
    Conversation,
    Followup,
    FollowupHistory,
    InboxMessage,
    MessageAttachment,
    OutboxMail,
)
from backend.app.store import admin_followups, admin_inbox, admin_mailboxes, admin_tenants
from backend.app.store.admin_records import ConversationRow, FollowupRow, MessageRow, OutboxRow
from backend.app.store.admin_totals import count_ledger
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
    """A conversation and its messages, in the order in which they were written."""

    row: ConversationRow
    messages: list[MessageRow]


@contextmanager
def opened(place: Workplace) -> Iterator[None]:
    """Bind this process to the demo's database, which `manage.py init` has made."""
    engine = db.open_database(load_settings(place.environment))
    try:
        yield
    finally:
        engine.dispose()
        db.SessionLocal.configure(bind=None)


def load_threads() -> list[Thread]:
    """All conversations, in the order in which they were opened."""
    found = sorted(db.read(admin_inbox.list_conversations, None, MOST), key=lambda row: row.id)
    return [Thread(row, db.read(admin_inbox.list_messages, row.id, MOST)) for row in found]


def load_thread(client: str) -> Thread:
    """The one conversation with this address. Raises ValueError when there is not just one."""
    (thread,) = [each for each in load_threads() if each.row.client_email == client]
    return thread


def load_followups() -> dict[str, FollowupRow]:
    """By the client's address: in this story each client has one."""
    found = db.read(admin_followups.list_followups, None, None, MOST)
    return {row.client_email or "": row for row in found}


def load_outbox(followup_id: int) -> list[OutboxRow]:
    return db.read(admin_followups.list_outbox, followup_id=followup_id)


def load_ledger() -> dict[str, int]:
    """How many mails of the server ended as what."""
    return db.read(count_ledger, None)


def find_client(address: str) -> int:
    """Raises StopIteration without such a client."""
    clients = db.read(admin_tenants.list_clients, None, MOST)
    return next(row.id for row in clients if row.email == address)


def load_file_hash(message_id: int) -> str | None:
    """The SHA-256 of a message's first file, which is its name on the disk as well."""
    of_message = sa.select(MessageAttachment.sha256).where(
        MessageAttachment.message_id == message_id
    )
    return db.read(lambda session: session.scalar(of_message.order_by(MessageAttachment.position)))


def mark_paid(followup: FollowupRow) -> None:
    """What a host application writes when the money has come."""
    _change(followup, {"status": "paid"})


def send_from(followup: FollowupRow, mailbox: str) -> None:
    """A host application may name the mailbox that a follow-up's reminders come from."""
    mailbox_id = db.read(admin_mailboxes.find_mailbox, followup.company_id, mailbox)
    _change(followup, {"integration_id": mailbox_id})


def _change(followup: FollowupRow, values: dict[str, object]) -> None:
    db.write(_update_followups, Followup.id == followup.id, values)


def look_again_now() -> None:
    """As if the time had come to look at each active follow-up again."""
    active = Followup.auto_state == AutoState.ACTIVE.value
    db.write(_update_followups, active, {"next_action_at": db.utc_now()})


def _update_followups(
    session: Session, which: sa.ColumnElement[bool], values: dict[str, object]
) -> None:
    session.execute(sa.update(Followup).where(which).values(**values))


def move_clock(by: timedelta) -> None:
    """Date all that has happened so far back, as if `by` had gone by since."""
    db.write(_date_back, by)
    look_again_now()


def _date_back(session: Session, by: timedelta) -> None:
    for model, names in INSTANTS.items():
        for row in session.scalars(sa.select(model)):
            for name in names:
                moment: datetime | None = getattr(row, name)
                if moment is not None:
                    setattr(row, name, moment - by)
