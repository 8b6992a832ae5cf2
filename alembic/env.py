"""Alembic's entry: the database is DATABASE_URL, or the one that `backend.app.schema.upgrade` names."""

import sys
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from alembic import context

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.app.config import load_settings
from backend.app.engines import create_engine
from backend.app.models import Base, partial_indexes  # noqa: F401 (declares them)


def _driver(connection: Connection) -> Any:
    """The driver's own connection, on which no transaction begins by itself."""
    return connection.connection.driver_connection


def migrate() -> None:
    url = context.config.attributes.get("url") or load_settings().database_url
    engine = create_engine(url)
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            # A table that is copied is dropped, which keys that point at it would refuse:
            # https://sqlite.org/lang_altertable.html#otheralter. Within a transaction it has no
            # effect, so it is said before the first one begins.
            _driver(connection).execute("PRAGMA foreign_keys = OFF")
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            # SQLite cannot ALTER a constraint: alembic copies the table instead.
            render_as_batch=connection.dialect.name == "sqlite",
            compare_type=True,
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            context.run_migrations()
        if connection.dialect.name == "sqlite":
            broken = _driver(connection).execute("PRAGMA foreign_key_check").fetchall()
            if broken:
                raise SystemExit(f"the migration broke references: {broken[:5]}")
    engine.dispose()


if context.is_offline_mode():
    raise SystemExit("relance migrates a live database only; leave out --sql")
migrate()
