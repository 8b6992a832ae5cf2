"""INSERT ... ON CONFLICT: the same statement in both dialects, each from its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from backend.app.models import Base
from backend.app.store.tables import table_of

_DONE = sa.literal(1)


def insert_into(dialect: str, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that knows ON CONFLICT."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def insert_unless_there(
    session: Session, model: type[Base], values: Mapping[str, Any], *returning: Any
) -> Any | None:
    """Insert a row unless any unique key has it; what `returning` asks for, None if it was there.

    Under true simultaneity PostgreSQL waits here for the other transaction's end.
    """
    names = tuple(column.key for column in returning)
    statement = _unless_there(session.get_bind().dialect.name, table_of(model), names)
    computed = {k: v for k, v in values.items() if isinstance(v, sa.ClauseElement)}
    if computed:
        statement = statement.values(**computed)
    plain = {name: value for name, value in values.items() if name not in computed}
    return session.execute(statement, plain).scalar_one_or_none()


@lru_cache(maxsize=64)
def _unless_there(dialect: str, table: sa.Table, returning: tuple[str, ...]) -> Any:
    """Built once for each table and what is asked for: it runs several times for each mail."""
    columns: list[Any] = [table.c[name] for name in returning] or [_DONE]
    return insert_into(dialect, table).on_conflict_do_nothing().returning(*columns)


def insert_those_not_there(
    session: Session, model: type[Base], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Insert many rows; those that any unique key has stay as they are."""
    if rows:
        insert = insert_into(session.get_bind().dialect.name, table_of(model))
        session.execute(insert.values([dict(row) for row in rows]).on_conflict_do_nothing())
