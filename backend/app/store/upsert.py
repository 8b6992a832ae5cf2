"""INSERT ... ON CONFLICT DO NOTHING: the same statement in both dialects, each from its own."""

from __future__ import annotations

from collections.abc import Mapping
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
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    statement = insert(model).values(**values).on_conflict_do_nothing()
    columns = returning or (sa.literal(1),)
    return session.execute(statement.returning(*columns)).scalar_one_or_none()
