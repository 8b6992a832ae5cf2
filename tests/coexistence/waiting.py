"""Who waits for a lock in PostgreSQL now, so that a test knows when to go on."""

from __future__ import annotations

import time
from collections.abc import Callable

import sqlalchemy as sa

from tests.servers.databases import Database

PATIENCE_SECONDS = 10.0
WAITING = sa.text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


def wait_until_blocked(database: Database, gives_up: Callable[[], bool] = lambda: False) -> bool:
    """Wait until some connection waits for a lock; False when it did not come to that.

    SQLite cannot say who waits, and there nobody but the one writer can write: True at once.
    """
    if database.dialect == "sqlite":
        return True
    engine = sa.create_engine(database.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    deadline = time.monotonic() + PATIENCE_SECONDS
    with engine.connect() as connection:
        while time.monotonic() < deadline and not gives_up():
            if connection.execute(WAITING).scalar_one():
                return True
            time.sleep(0.005)
    return False
