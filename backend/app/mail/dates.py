"""The Date header (RFC 5322, 3.3) and the forms that stand in for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_tz

_LONGEST = 200


def parse_date(value: str) -> datetime | None:
    """A Date header as an aware UTC instant; None when it can't be read.

    A date without a zone, or with one that nobody knows, is taken as UTC. Not clamped: a mail
    may claim any year.
    """
    value = value[:_LONGEST].strip()
    if not value:
        return None
    try:
        parts = parsedate_tz(value)
        if parts is None:
            return _parse_iso(value)
        year, month, day, hour, minute, second = parts[:6]
        moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
        return moment - timedelta(seconds=parts[9] or 0)
    # parsedate_tz is documented to answer None, and raises on some malformed dates.
    except (ValueError, OverflowError, IndexError, TypeError):
        return None


def _parse_iso(value: str) -> datetime | None:
    moment = datetime.fromisoformat(value)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
