"""cron_runs: one row for each run of a script."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.db import database_now
from backend.app.models import CronRun


def record_start(session: Session, script: str, host: str, pid: int) -> int:
    statement = (
        sa.insert(CronRun)
        .values(script=script, host=host, pid=pid, started_at=database_now())
        .returning(CronRun.id)
    )
    return session.execute(statement).scalar_one()


def record_end(session: Session, run_id: int, status: int, counts: Mapping[str, int]) -> None:
    session.execute(
        sa.update(CronRun)
        .where(CronRun.id == run_id)
        .values(finished_at=database_now(), exit_status=status, counts=dict(counts))
    )
