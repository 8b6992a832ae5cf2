"""cron_runs: one row for each run of a script."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.db import database_now
from backend.app.models import CronRun
from backend.app.store.tables import table_of

KEPT = timedelta(days=90)  # the report looks back 30 days
_RUNS = table_of(CronRun)
_R = _RUNS.c
FORGOTTEN_AT_ONCE = 100  # a run a minute leaves one: soon caught up, and no run waits for it


def record_start(session: Session, script: str, host: str, pid: int) -> int:
    statement = (
        sa.insert(_RUNS)
        .values(script=script, host=host, pid=pid, started_at=database_now())
        .returning(_R.id)
    )
    run_id: int = session.execute(statement).scalar_one()
    return run_id


def record_end(session: Session, run_id: int, status: int, counts: Mapping[str, int]) -> None:
    session.execute(
        sa.update(_RUNS)
        .where(_R.id == run_id)
        .values(finished_at=database_now(), exit_status=status, counts=dict(counts))
    )


def forget_old_runs(session: Session, script: str) -> None:
    """Some of the script's rows that are older than KEPT, so that the table stays small."""
    old = (
        sa.select(_R.id)
        .where(_R.script == script, _R.started_at < database_now(-KEPT.total_seconds()))
        .limit(FORGOTTEN_AT_ONCE)
        .with_for_update(skip_locked=True)  # another run forgets them at the same instant
    )
    session.execute(sa.delete(_RUNS).where(_R.id.in_(old)))
