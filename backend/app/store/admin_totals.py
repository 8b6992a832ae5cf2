"""Counts for `manage.py status`."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.models import (
    CronRun,
    FolderCheckpoint,
    Followup,
    InboxIntegration,
    LedgerEntry,
    OutboxMail,
    QuarantinedMail,
)
from backend.app.store.admin_records import RunRow

RUN_COLUMNS = tuple(getattr(CronRun, name) for name in RunRow.__dataclass_fields__)


def latest_runs(session: Session, script: str, limit: int) -> list[RunRow]:
    """The newest first."""
    rows = session.execute(
        sa.select(*RUN_COLUMNS)
        .where(CronRun.script == script)
        .order_by(CronRun.started_at.desc(), CronRun.id.desc())
        .limit(limit)
    ).all()
    return [RunRow(**row._mapping) for row in rows]


def count_ledger(session: Session, company_id: int | None) -> dict[str, int]:
    """How many UIDs there are in each ledger state."""
    query = sa.select(LedgerEntry.state, sa.func.count()).group_by(LedgerEntry.state)
    if company_id is not None:
        query = query.join(
            InboxIntegration, InboxIntegration.id == LedgerEntry.integration_id
        ).where(InboxIntegration.company_id == company_id)
    return dict(session.execute(query).all())


def count_left(session: Session, company_id: int | None) -> int:
    """How many mails are older than the horizon, and were left on the servers."""
    query = sa.select(sa.func.coalesce(sa.func.sum(FolderCheckpoint.history_left), 0))
    if company_id is not None:
        query = query.join(
            InboxIntegration, InboxIntegration.id == FolderCheckpoint.integration_id
        ).where(InboxIntegration.company_id == company_id)
    return int(session.execute(query).scalar_one())


def count_quarantine(session: Session, company_id: int | None) -> int:
    query = sa.select(sa.func.count()).select_from(QuarantinedMail)
    if company_id is not None:
        query = query.join(
            InboxIntegration, InboxIntegration.id == QuarantinedMail.integration_id
        ).where(InboxIntegration.company_id == company_id)
    return session.execute(query).scalar_one()


def count_followups(session: Session, company_id: int | None) -> dict[tuple[str, str | None], int]:
    """How many there are of each (state, reason)."""
    f = Followup
    query = sa.select(f.auto_state, f.auto_reason, sa.func.count()).group_by(
        f.auto_state, f.auto_reason
    )
    if company_id is not None:
        query = query.where(f.company_id == company_id)
    return {(state, reason): count for state, reason, count in session.execute(query).all()}


def count_outbox(session: Session, company_id: int | None) -> dict[str, int]:
    query = sa.select(OutboxMail.state, sa.func.count()).group_by(OutboxMail.state)
    if company_id is not None:
        query = query.where(OutboxMail.company_id == company_id)
    return dict(session.execute(query).all())
