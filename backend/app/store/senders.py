"""How much each sender sends: a counter per hour, so that a flood is seen while it comes."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.db import load_now
from backend.app.errors import RaceLost
from backend.app.models import SenderHour
from backend.app.store.upsert import insert_unless_there

STORM_MAILS = 30  # more than this in one hour: no person writes so
KEPT = timedelta(days=2)


def count_mail(session: Session, company_id: int, sender_key: str, at: datetime) -> int:
    """Count one mail more in the hour of its arrival, and say how many there are now.

    Raises RaceLost.
    """
    s = SenderHour
    key = {
        "company_id": company_id,
        "sender_key": sender_key[:320],
        "hour": at.replace(minute=0, second=0, microsecond=0),
    }
    if insert_unless_there(session, s, key) is not None:
        return 1
    counted = session.execute(
        sa.update(s).filter_by(**key).values(mails=s.mails + 1).returning(s.mails)
    ).scalar_one_or_none()
    if counted is None:
        raise RaceLost("another mailbox of the company has just dropped this hour as an old one")
    return counted


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
