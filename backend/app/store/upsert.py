"""INSERT ... ON CONFLICT: the same statement in both dialects, each from its own.

A run loads the dialect of its database alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.db import database_now
from backend.app.models import Base
from backend.app.store.tables import table_of

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

_DONE = sa.literal(1)
NOTHING: Mapping[str, float] = {}


def insert_into(dialect: str, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that knows ON CONFLICT."""
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as insert_there

        return insert_there(table)
    from sqlalchemy.dialects.sqlite import insert

    return insert(table)


def insert_unless_there(
    session: Session,
    model: type[Base],
    values: Mapping[str, Any],
    *returning: Any,
    from_now: Mapping[str, float] = NOTHING,
) -> Any | None:
    """Insert a row unless any unique key has it; what `returning` asks for, None if it was there.

    from_now: columns that get the database's clock, so many seconds from now.
    Under true simultaneity PostgreSQL waits here for the other transaction's end.
    """
    names = tuple(column.key for column in returning)
    dialect = session.get_bind().dialect.name
    statement = _unless_there(dialect, table_of(model), names, tuple(from_now))
    seconds = {f"seconds_{name}": float(given) for name, given in from_now.items()}
    return session.execute(statement, {**values, **seconds}).scalar_one_or_none()


@lru_cache(maxsize=64)
def _unless_there(
    dialect: str, table: sa.Table, returning: tuple[str, ...], from_now: tuple[str, ...]
) -> Any:
    """Built once for each table and what is asked for: it runs several times for each mail."""
    columns: list[Any] = [table.c[name] for name in returning] or [_DONE]
    seconds = {name: sa.bindparam(f"seconds_{name}", type_=sa.Float()) for name in from_now}
    clocks = {name: database_now(given) for name, given in seconds.items()}
    insert = insert_into(dialect, table).on_conflict_do_nothing().returning(*columns)
    return insert.values(**clocks) if clocks else insert


def insert_those_not_there(
    session: Session, model: type[Base], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Insert many rows; those that any unique key has stay as they are."""
    if rows:
        insert = insert_into(session.get_bind().dialect.name, table_of(model))
        session.execute(insert.values([dict(row) for row in rows]).on_conflict_do_nothing())
