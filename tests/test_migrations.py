"""Models and migrations agree, on both databases, and every migration goes down and up again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.orm import Session

from alembic import command
from backend.app.db import utc_now
from backend.app.engines import create_engine
from backend.app.models import (
    Base,
    Client,
    Company,
    Followup,
    FollowupHistory,
    partial_indexes,  # noqa: F401 (declares them)
)
from backend.app.schema import alembic_config, head_revision, upgrade
from tests.servers.databases import Database

CONFIG = alembic_config("sqlite://")
REVISIONS = [script.revision for script in ScriptDirectory.from_config(CONFIG).walk_revisions()]


def differences(url: str) -> list[Any]:
    """What autogenerate would write into the next migration."""
    engine = create_engine(url)
    # SQLite tells an empty default as '', which autogenerate takes for another one.
    defaults = engine.dialect.name == "postgresql"
    options = {"compare_type": True, "compare_server_default": defaults}
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        found: list[Any] = compare_metadata(context, Base.metadata)
    engine.dispose()
    return found


def schema(url: str) -> dict[str, Any]:
    """Every table with its columns, keys, indexes and checks, as the database tells them."""
    engine = create_engine(url)
    inspector = sa.inspect(engine)
    found = {
        table: (
            # A column that came later stands last in the table, and where it belongs in the model.
            sorted(
                (c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(table)
            ),
            inspector.get_pk_constraint(table),
            _sorted(inspector.get_foreign_keys(table)),
            _sorted(inspector.get_unique_constraints(table)),
            _sorted(inspector.get_indexes(table)),
            _sorted(inspector.get_check_constraints(table)),
        )
        for table in inspector.get_table_names()
    }
    engine.dispose()
    return found


def _sorted(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    # A partial index tells its condition as an object: its text is what counts.
    texts = [{**entry, **_texts(entry.get("dialect_options", {}))} for entry in entries]
    return sorted(str({k: v for k, v in t.items() if k != "dialect_options"}) for t in texts)


def _texts(options: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in options.items()}


def test_autogenerate_finds_no_difference(bare_database: Database) -> None:
    upgrade(bare_database.url)
    assert differences(bare_database.url) == []


def test_migrations_make_what_the_models_say(bare_database: Database) -> None:
    """Autogenerate does not look at check constraints and at the names of keys; this does."""
    upgrade(bare_database.url)
    migrated = schema(bare_database.url)
    command.downgrade(alembic_config(bare_database.url), "base")
    engine = create_engine(bare_database.url)
    Base.metadata.create_all(engine)
    engine.dispose()
    assert schema(bare_database.url) == migrated


def test_autogenerate_would_find_a_difference(bare_database: Database) -> None:
    upgrade(bare_database.url)
    engine = create_engine(bare_database.url)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP INDEX ix_followups_due"))
    engine.dispose()
    assert [difference[0] for difference in differences(bare_database.url)] == ["add_index"]


@pytest.mark.parametrize("revision", REVISIONS)
def test_migration_goes_down_and_up_again(bare_database: Database, revision: str) -> None:
    upgrade(bare_database.url, revision)
    before = schema(bare_database.url)

    command.downgrade(alembic_config(bare_database.url), "-1")
    below = schema(bare_database.url)
    upgrade(bare_database.url, revision)

    assert schema(bare_database.url) == before
    assert before != below


def test_rows_that_others_refer_to_outlive_the_way_down_and_up(bare_database: Database) -> None:
    upgrade(bare_database.url)
    engine = create_engine(bare_database.url)
    with Session(engine) as session, session.begin():
        session.add(Company(id=1, name="Dubois", timezone="Europe/Paris"))
        session.flush()
        session.add(Client(id=1, company_id=1, name="Jean Petit"))
        session.flush()
        session.add(Followup(id=1, company_id=1, client_id=1, type="quote_unanswered"))
        session.flush()
        session.add(
            FollowupHistory(company_id=1, followup_id=1, step=1, status="held", sent_at=utc_now())
        )
    command.downgrade(alembic_config(bare_database.url), REVISIONS[-1])
    upgrade(bare_database.url)
    with Session(engine) as session:
        for model in (Company, Client, Followup, FollowupHistory):
            assert session.scalar(sa.select(sa.func.count()).select_from(model)) == 1
    engine.dispose()


def test_nothing_is_left_at_the_bottom(bare_database: Database) -> None:
    upgrade(bare_database.url)
    command.downgrade(alembic_config(bare_database.url), "base")
    assert set(schema(bare_database.url)) == {"alembic_version"}


def test_newest_migration_is_the_one_that_the_scripts_ask_for() -> None:
    assert REVISIONS[0] == head_revision()
