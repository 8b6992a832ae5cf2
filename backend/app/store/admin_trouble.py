"""What a person should know of: counts and last errors for `status` and `doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.db import database_now
from backend.app.models import (
    AutoState,
    CopyState,
    Followup,
    InboxIntegration,
    InboxMessage,
    LedgerEntry,
    OutboxMail,
    OutboxState,
    QuarantinedMail,
    SentCopy,
)
from backend.app.store.unsettled import NOTHING_WENT_OUT

DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class CannotSend:
    """A mailbox whose reminders wait because its SMTP server could not be used. error: of one."""

    company_id: int
    integration_id: int
    email: str
    reminders: int
    error: str


@dataclass(frozen=True, slots=True)
class CopiesGivenUp:
    """Reminders that went out, and whose copy could not be filed in Sent. error: of one."""

    company_id: int
    integration_id: int
    email: str
    copies: int
    error: str


def list_cannot_send(session: Session, company_id: int | None) -> list[CannotSend]:
    """By mailbox. A mailbox that fails counts no attempt and states no time of its own."""
    o, i = OutboxMail, InboxIntegration
    query = (
        sa.select(
            o.company_id,
            i.id,
            i.email,
            sa.func.count(),
            sa.func.max(o.error),
        )
        .join(i, i.id == o.integration_id)
        .join(Followup, Followup.id == o.followup_id)
        .where(
            o.state == OutboxState.PLANNED.value,
            o.next_attempt_at.is_(None),
            o.error.is_not(None),
            o.error != NOTHING_WENT_OUT,  # no fault of SMTP
            Followup.auto_state == AutoState.ACTIVE.value,
        )
        .group_by(o.company_id, i.id, i.email)
        .order_by(i.id)
    )
    if company_id is not None:
        query = query.where(o.company_id == company_id)
    rows = session.execute(query).all()
    return [CannotSend(*row[:4], error=row[4] or "") for row in rows]


def list_copies_given_up(session: Session, company_id: int | None) -> list[CopiesGivenUp]:
    c, i = SentCopy, InboxIntegration
    query = (
        sa.select(
            i.company_id,
            i.id,
            i.email,
            sa.func.count(),
            sa.func.max(c.error),
        )
        .join(i, i.id == c.integration_id)
        .where(c.state == CopyState.GIVEN_UP.value)
        .group_by(i.company_id, i.id, i.email)
        .order_by(i.id)
    )
    if company_id is not None:
        query = query.where(i.company_id == company_id)
    rows = session.execute(query).all()
    return [CopiesGivenUp(*row[:4], error=row[4] or "") for row in rows]


def count_quarantine(session: Session, company_id: int | None) -> tuple[int, int]:
    """(those that wait for a person, those set aside within the last 24 hours)."""
    q = QuarantinedMail

    def count(*conditions: sa.ColumnElement[bool]) -> int:
        query: sa.Select[Any] = sa.select(sa.func.count()).select_from(q).where(*conditions)
        if company_id is not None:
            query = query.join(InboxIntegration, InboxIntegration.id == q.integration_id).where(
                InboxIntegration.company_id == company_id
            )
        return int(session.execute(query).scalar_one())

    return (
        count(q.next_attempt_at.is_(None)),
        count(q.created_at >= database_now(-DAY_SECONDS)),
    )


def load_newest_mails(session: Session, mailbox_ids: Sequence[int]) -> dict[int, datetime]:
    """When the newest stored mail of each INBOX arrived, by the end of the ledger's own index."""
    entry, found = LedgerEntry, {}
    for mailbox_id in mailbox_ids:
        arrived_at = session.scalar(
            sa.select(InboxMessage.arrived_at)
            .join(entry, entry.message_id == InboxMessage.id)
            .where(entry.integration_id == mailbox_id, entry.folder == "INBOX")
            .order_by(entry.uidvalidity.desc(), entry.uid.desc())
            .limit(1)
        )
        if arrived_at is not None:
            found[mailbox_id] = arrived_at
    return found
