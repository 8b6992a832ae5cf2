"""installation: the database's identity, its counter, and whether it is a restored copy."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.db import database_now, outlive_power_cuts
from backend.app.models import Installation
from backend.app.store.tables import table_of

LEAP = 1_000_000  # above what any other host has seen of the database that was lost


@dataclass(frozen=True, slots=True)
class Count:
    """How far the counter is. secret: whose counter it is."""

    secret: str = field(repr=False)
    counter: int


_I = table_of(Installation).c
_COUNT = (
    sa.update(table_of(Installation))
    .values(counter=_I.counter + 1)
    .returning(_I.secret, _I.counter)
)


def count(session: Session) -> Count:
    """One more, in the same commit as what it counts."""
    row = session.execute(_COUNT).one()
    return Count(row.secret, row.counter)


def count_run(session: Session) -> Count:
    """As count, for a run that begins. Its host's mark outlives a power cut, and so must this."""
    outlive_power_cuts(session)
    return count(session)


def load_secret(session: Session) -> str:
    secret: str = session.execute(sa.select(_I.secret)).scalar_one()
    return secret


def load_restored_at(session: Session) -> datetime | None:
    """When it was found, or said, to be a copy; None when it is not, or a person ended it."""
    return session.execute(sa.select(Installation.restored_at)).scalar_one()


def record_restored(session: Session, seen: int) -> Count | None:
    """It is older than what a host has `seen` of it. None when another host has said so before."""
    outlive_power_cuts(session)
    row = session.execute(
        sa.update(Installation)
        .where(Installation.counter <= seen + 1)
        .values(counter=seen + LEAP, restored_at=database_now())
        .returning(Installation.secret, Installation.counter)
    ).one_or_none()
    return None if row is None else Count(row.secret, row.counter)


def set_restored(session: Session, *, restored: bool) -> None:
    """A person's word that it is a copy, or that all of it was looked at."""
    session.execute(
        sa.update(Installation).values(restored_at=database_now() if restored else None)
    )
