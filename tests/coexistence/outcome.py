"""What a trial left behind, in words that are the same in every trial that went the same way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app import db
from backend.app.models import (
    Base,
    Client,
    Conversation,
    Followup,
    FollowupHistory,
    InboxMessage,
    LedgerEntry,
    MailboxState,
    OutboxMail,
)
from tests.installation import Installation
from tests.servers.faulty_smtp import AcceptedMail

TABLES = [each for each in Base.metadata.sorted_tables if each.name != "installation"]


@dataclass(frozen=True)
class Snapshot:
    """All rows of all tables, to begin each trial with the same."""

    rows: Sequence[tuple[sa.Table, list[dict[str, Any]]]]

    def restore(self, session: Session) -> None:
        """Leave these rows and no others; each mailbox counts as read just now."""
        wipe(session)
        for table, rows in self.rows:
            session.execute(table.insert(), rows)
        session.execute(sa.update(MailboxState).values(fresh_at=db.utc_now()))


def take_snapshot(session: Session) -> Snapshot:
    read = [(t, [dict(row._mapping) for row in session.execute(sa.select(t))]) for t in TABLES]
    return Snapshot([(table, rows) for table, rows in read if rows])


def wipe(session: Session) -> None:
    """Leave no row of anybody's, but for what the migrations put there."""
    for table in reversed(TABLES):
        session.execute(table.delete())


def outcome(installation: Installation, accepted: Sequence[AcceptedMail]) -> tuple[Any, ...]:
    """Every fact that a person could see, without ids and times.

    A reminder is called by its follow-up's place among the follow-ups, and by its step.
    """
    followups = installation.rows(Followup)
    place = {row.id: number for number, row in enumerate(followups, 1)}
    outbox = installation.rows(OutboxMail)
    names = {row.message_id: f"reminder {place[row.followup_id]}.{row.step}" for row in outbox}
    messages = installation.rows(InboxMessage)
    said = {m.id: names.get(m.external_id, m.external_id) for m in messages}
    conversations = {
        row.id: (
            row.thread_key.partition(":")[0],
            row.client_id is not None,
            row.status,
            row.unread_count,
            tuple(sorted(said[m.id] for m in messages if m.conversation_id == row.id)),
        )
        for row in installation.rows(Conversation)
    }
    return (
        tuple(sorted(conversations.values())),
        tuple(
            (
                f.auto_state,
                f.auto_reason,
                f.status,
                f.steps_sent,
                conversations.get(f.conversation_id),
            )
            for f in followups
        ),
        tuple(sorted((names[row.message_id], row.state) for row in outbox)),
        tuple(
            sorted(
                (place[row.followup_id], row.status, row.step, row.reason or "")
                for row in installation.rows(FollowupHistory)
            )
        ),
        tuple(
            sorted(
                (row.folder, row.uid, row.state, said.get(row.message_id, ""))
                for row in installation.rows(LedgerEntry)
            )
        ),
        tuple(sorted(row.name for row in installation.rows(Client))),
        tuple(sorted(names[(mail.message_id or "").strip("<>")] for mail in accepted)),
    )
