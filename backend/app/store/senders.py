"""How much each sender sends: a counter per hour, so that a flood is seen while it comes."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.db import load_now
from backend.app.models import SenderHour
from backend.app.store.tables import table_of
from backend.app.store.upsert import insert_into

STORM_MAILS = 30  # more than this in one hour: no person writes so
KEPT = timedelta(days=2)


def count_mail(session: Session, company_id: int, sender_key: str, at: datetime) -> int:
    """Count one mail more in the hour of its arrival, and say how many there are now."""
    key = {
        "company_id": company_id,
        "sender_key": sender_key[:320],
        "hour": at.replace(minute=0, second=0, microsecond=0),
    }
    statement = _count(session.get_bind().dialect.name)
    return int(session.execute(statement, key).scalar_one())


@lru_cache(maxsize=2)
def _count(dialect: str) -> Any:
    """One statement: whoever comes first inserts, and everybody else adds one."""
    hours = table_of(SenderHour)
    return (
        insert_into(dialect, hours)
        .on_conflict_do_update(
            index_elements=list(hours.primary_key), set_={"mails": hours.c.mails + 1}
        )
        .returning(hours.c.mails)
    )


def forget_old_hours(session: Session, company_id: int) -> None:
    """Drop what no storm can come of any more."""
    s = SenderHour
    old = load_now(session) - KEPT
    session.execute(sa.delete(s).where(s.company_id == company_id, s.hour < old))


def list_storms(session: Session, company_id: int | None) -> list[tuple[int, str, datetime, int]]:
    """(company, sender, hour, mails) of the last day, the newest first."""
    s = SenderHour
    since = load_now(session) - timedelta(days=1)
    query = (
        sa.select(s.company_id, s.sender_key, s.hour, s.mails)
        .where(s.mails > STORM_MAILS, s.hour >= since)
        .order_by(s.hour.desc(), s.mails.desc())
        .limit(50)
    )
    if company_id is not None:
        query = query.where(s.company_id == company_id)
    rows = session.execute(query).all()
    return [(row.company_id, row.sender_key, row.hour, row.mails) for row in rows]
