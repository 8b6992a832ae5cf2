"""cron_runs: one row for each run of a script."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.db import database_now
from backend.app.models import CronRun

KEPT = timedelta(days=90)  # the report looks back 30 days
FORGOTTEN_AT_ONCE = 100  # a run a minute leaves one: soon caught up, and no run waits for it


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


def forget_old_runs(session: Session, script: str) -> None:
    """Some of the script's rows that are older than KEPT, so that the table stays small."""
    old = (
        sa.select(CronRun.id)
        .where(
            CronRun.script == script,
            CronRun.started_at < database_now(-KEPT.total_seconds()),
        )
        .limit(FORGOTTEN_AT_ONCE)
        .with_for_update(skip_locked=True)  # another run forgets them at the same instant
    )
    session.execute(sa.delete(CronRun).where(CronRun.id.in_(old)))
