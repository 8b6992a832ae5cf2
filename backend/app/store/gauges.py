"""The few numbers that monitoring wants each minute, each from an index or a small table."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.db import load_now
from backend.app.models import (
    AutoState,
    Followup,
    InboxIntegration,
    Installation,
    MailboxState,
    OutboxMail,
    OutboxState,
    QuarantinedMail,
)
from backend.app.store.unsettled import UNSETTLED


@dataclass(frozen=True, slots=True)
class Gauges:
    """lag_seconds: of the active mailbox that is furthest behind; 0 without any. restored: 0, 1."""

    mailboxes: int
    failing: int
    lag_seconds: float
    quarantined: int
    held: int
    uncertain: int
    restored: int


def load_gauges(session: Session) -> Gauges:
    s = MailboxState
    mailboxes, failing, oldest = session.execute(
        sa.select(
            sa.func.count(),
            sa.func.coalesce(sa.func.sum(sa.case((s.failures > 0, 1), else_=0)), 0),
            sa.func.min(s.fresh_at),
        )
        .join(InboxIntegration, InboxIntegration.id == s.integration_id)
        .where(InboxIntegration.is_active)
    ).one()
    lag = 0.0 if oldest is None else max(0.0, (load_now(session) - oldest).total_seconds())
    restored = session.scalar(sa.select(Installation.restored_at))
    return Gauges(
        mailboxes=mailboxes,
        failing=failing,
        lag_seconds=lag,
        quarantined=_count(session, QuarantinedMail.id.is_not(None)),
        held=_count(session, Followup.auto_state == AutoState.HELD.value),
        uncertain=_count(session, UNSETTLED, OutboxMail.state == OutboxState.UNCERTAIN.value),
        restored=int(restored is not None),
    )


def _count(session: Session, *conditions: sa.SQLColumnExpression[bool] | sa.TextClause) -> int:
    return session.execute(sa.select(sa.func.count()).where(*conditions)).scalar_one()
