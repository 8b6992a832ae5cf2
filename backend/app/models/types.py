"""Column types, so that a rule about values stands in one place."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import mapped_column


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """An aware UTC instant (I9). A naive value is a mistake and is refused when it is bound.

    PostgreSQL: timestamptz. SQLite: text, always in UTC with six digits, so that it sorts as time.
    """

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise TypeError(f"a naive datetime was given for an instant: {value!r}")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Json(sa.types.TypeDecorator[Any]):
    """A JSON value: jsonb in PostgreSQL, whose dialect is loaded there alone."""

    impl = sa.JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name != "postgresql":
            return dialect.type_descriptor(sa.JSON())
        from sqlalchemy.dialects.postgresql import JSONB

        return dialect.type_descriptor(JSONB())


# SQLite counts rows only in a plain INTEGER PRIMARY KEY.
BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Document = dict[str, Any]

big_id = Annotated[int, mapped_column(BigId, primary_key=True)]
instant = Annotated[datetime, mapped_column(UtcDateTime)]
optional_instant = Annotated[datetime | None, mapped_column(UtcDateTime)]
created = Annotated[
    datetime, mapped_column(UtcDateTime, server_default=sa.text("CURRENT_TIMESTAMP"))
]
