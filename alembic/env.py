"""Alembic's entry: the database is DATABASE_URL, or the one that `backend.app.db.upgrade` names."""

import sys
from pathlib import Path

from alembic import context

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backend.app.config import load_settings
from backend.app.db import create_engine
from backend.app.models import Base


def migrate() -> None:
    url = context.config.attributes.get("url") or load_settings().database_url
    engine = create_engine(url)
    with engine.connect() as connection:
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
    engine.dispose()


if context.is_offline_mode():
    raise SystemExit("relance migrates a live database only; leave out --sql")
migrate()
