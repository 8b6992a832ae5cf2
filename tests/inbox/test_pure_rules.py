"""Drawers, pauses, dates and subjects: the small pure rules of the inbound path."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from backend.app.inbox.backoff import backoff_seconds
from backend.app.inbox.prepare import held_arrival, held_date
from backend.app.mail.subject import Subject, read_subject

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("kind", "failures", "seconds"),
    [
        ("network", 0, 60),
        ("network", 1, 120),
        ("network", 3, 480),
        ("network", 6, 3600),
        ("network", 1_000_000, 3600),
        ("server", 0, 60),
        ("credentials", 0, 600),
        ("credentials", 2, 2400),
        ("credentials", 3, 3600),
        ("settings", 0, 600),
        ("throttled", 0, 300),
    ],
)
def test_pauses_double_up_to_an_hour(kind: str, failures: int, seconds: float) -> None:
    assert backoff_seconds(kind, failures, 1.0) == seconds
    assert backoff_seconds(kind, failures, 0.0) == seconds * 0.75


@pytest.mark.parametrize(
    ("date", "held"),
    [
        (NOON - DAY, NOON - DAY),
        (NOON, NOON),
        (NOON + DAY, NOON),  # never after the arrival
        (datetime(9999, 12, 31, tzinfo=UTC), NOON),
        (None, NOON),
        (datetime(1970, 1, 1, tzinfo=UTC), NOON),  # absurdly old
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=12))), NOON),
        (datetime(1990, 1, 1, tzinfo=UTC), datetime(1990, 1, 1, tzinfo=UTC)),
    ],
)
def test_date_header_is_held_to_the_arrival(date: datetime | None, held: datetime) -> None:
    assert held_date(date, NOON) == held


@pytest.mark.parametrize(
    ("internal_date", "held"),
    [
        (NOON - DAY, NOON - DAY),
        (None, NOON),
        (NOON + DAY, NOON),  # a server's clock, or APPEND with a date of one's own
        (datetime(1970, 1, 1, tzinfo=UTC), NOON),
    ],
)
def test_arrival_is_never_after_now(internal_date: datetime | None, held: datetime) -> None:
    assert held_arrival(internal_date, NOON) == held


@pytest.mark.parametrize(
    ("text", "key", "is_reply"),
    [
        ("Devis", "devis", False),
        ("Re: Devis", "devis", True),
        ("RE : Devis", "devis", True),
        ("Rép: Re: AW: Sv: Devis", "devis", True),
        ("Re[2]: Devis", "devis", True),
        ("Re (3): Devis", "devis", True),
        ("Fwd: Devis", "devis", False),
        ("TR : Devis", "devis", False),
        ("Fwd: Re: Devis", "devis", True),
        ("  Re:   Devis   n°  12 ", "devis n° 12", True),
        ("Réponse: Devis", "réponse: devis", False),
        ("Regarding: Devis", "regarding: devis", False),
        ("Re Devis", "re devis", False),
        ("Devis Re: toiture", "devis re: toiture", False),
        ("STRASSE", "strasse", False),
        ("Straße", "strasse", False),
        ("", "", False),
        ("Re:", "", True),
        ("Re: Re: Re:", "", True),
    ],
)
def test_subject(text: str, key: str, is_reply: bool) -> None:
    assert read_subject(text) == Subject(key, is_reply)


@pytest.mark.parametrize("text", ["Re: " * 5_000, "re" + " " * 50_000, "x" * 50_000, "ß" * 500])
def test_subject_key_fits_its_column_whatever_comes(text: str) -> None:
    assert len(read_subject(text).key) <= 200
