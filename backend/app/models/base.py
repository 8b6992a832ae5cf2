"""The declarative base, with names for every constraint so that migrations can speak of them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

from backend.app.models.types import BigId


class Base(DeclarativeBase):
    type_annotation_map = {int: BigId}  # noqa: RUF012 (SQLAlchemy's own declaration)
    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def same_company(table: str, column: str) -> sa.ForeignKeyConstraint:
    """A reference that cannot leave the company: (company_id, column) -> table."""
    return sa.ForeignKeyConstraint(["company_id", column], [f"{table}.company_id", f"{table}.id"])


def one_of(name: str, column: str, values: type) -> sa.CheckConstraint:
    """A column that holds one of an enumeration's values."""
    words = ", ".join(f"'{value}'" for value in values)  # type: ignore[attr-defined]
    return sa.CheckConstraint(f"{column} IN ({words})", name=name)
