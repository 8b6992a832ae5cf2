"""INSERT ... ON CONFLICT DO NOTHING: the same statement in both dialects, each from its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from backend.app.models import Base


def insert_unless_there(
    session: Session, model: type[Base], values: Mapping[str, Any], *returning: Any
) -> Any | None:
    """Insert a row unless any unique key has it; what `returning` asks for, None if it was there.

    Under true simultaneity PostgreSQL waits here for the other transaction's end.
    """
    statement = _insert(session, model).values(**values).on_conflict_do_nothing()
    columns = returning or (sa.literal(1),)
    return session.execute(statement.returning(*columns)).scalar_one_or_none()


def insert_those_not_there(
    session: Session, model: type[Base], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Insert many rows; those that any unique key has stay as they are."""
    if rows:
        statement = _insert(session, model).values([dict(row) for row in rows])
        session.execute(statement.on_conflict_do_nothing())


def _insert(session: Session, model: type[Base]) -> Any:
    name = session.get_bind().dialect.name
    return (postgresql.insert if name == "postgresql" else sqlite.insert)(model)
