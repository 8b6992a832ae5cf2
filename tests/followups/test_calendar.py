"""Days and hours on which reminders may go out: windows, holidays, closures, clock changes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.app.followups.calendar import OpeningHours
from backend.app.followups.company_rules import SMS_WINDOW
from backend.app.followups.settings import load_rules

EVERY_DAY = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def hours(
    zone: str = "Europe/Paris", country: str = "FR", also: Any = None, **rules: Any
) -> OpeningHours:
    return OpeningHours(ZoneInfo(zone), country, load_rules(rules), also)


def window(opens: str, closes: str, days: list[str] = EVERY_DAY) -> dict[str, Any]:
    return {"window": {"days": days, "opens": opens, "closes": closes}}


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "opening"),
    [
        ("2026-11-24T10:00", "2026-11-24T10:00"),  # a Tuesday
        ("2026-11-24T07:00", "2026-11-24T07:00"),  # 08:00 in Paris: open from the first instant
        ("2026-11-24T06:59:59", "2026-11-24T07:00"),
        ("2026-11-24T17:59:59", "2026-11-24T17:59:59"),
        ("2026-11-24T18:00", "2026-11-25T07:00"),  # 19:00: closed from the instant on
        ("2026-11-27T18:00", "2026-11-30T07:00"),  # Friday evening: Monday morning
        ("2026-11-28T10:00", "2026-11-30T07:00"),
        ("2026-12-24T18:00", "2026-12-28T07:00"),  # Christmas on a Friday
        ("2026-11-10T23:30", "2026-11-12T07:00"),  # 11 November, already in Paris
    ],
)
def test_by_default_mail_goes_out_on_working_days_between_eight_and_seven(
    now: str, opening: str
) -> None:
    assert hours().next_opening(utc(now)) == utc(opening)


@pytest.mark.parametrize(
    ("day", "region", "free"),
    [
        ("2026-04-06", None, True),  # Easter Monday
        ("2026-05-14", None, True),  # Ascension
        ("2026-05-25", None, True),  # Whit Monday
        ("2027-03-29", None, True),  # Easter moves
        ("2026-07-14", None, True),
        ("2026-04-03", None, False),  # Good Friday: in Alsace and Moselle only
        ("2026-04-03", "57", True),
        ("2026-04-03", "Alsace", True),
        ("2028-12-26", None, False),  # Saint Stephen's, a Tuesday
        ("2028-12-26", "6AE", True),
        ("2027-12-20", "974", True),  # the abolition of slavery in La Réunion
        ("2027-12-20", "971", False),
        ("2026-05-27", "971", True),  # in Guadeloupe
        ("2026-05-22", "972", True),  # in Martinique
    ],
)
def test_public_holidays_are_those_of_the_region(day: str, region: str | None, free: bool) -> None:
    chosen = hours(holidays={"country": "FR", "region": region})
    assert chosen.is_working_day(date.fromisoformat(day)) is not free


def test_the_companys_own_country_counts_unless_another_is_named() -> None:
    whit_monday, boxing_day = date(2026, 5, 25), date(2028, 12, 26)
    assert not hours(country="FR").is_working_day(whit_monday)
    assert hours(country="GB").is_working_day(date(2026, 7, 14))
    assert not hours(country="FR", holidays={"country": "GB"}).is_working_day(boxing_day)
    assert hours(country="FR", holidays={"observed": False}).is_working_day(whit_monday)


@pytest.mark.parametrize("country", ["FR", "fr", " Fr "])
def test_a_country_counts_however_it_is_written(country: str) -> None:
    assert not hours(country=country).is_working_day(date(2026, 7, 14))


@pytest.mark.parametrize("country", ["", "QQ", "F1"])
def test_a_country_that_nobody_knows_has_no_holidays(country: str) -> None:
    assert hours(country=country).is_working_day(date(2026, 7, 14))


def test_a_company_that_is_closed_writes_when_it_opens_again() -> None:
    august = hours(closures=[{"first_day": "2026-08-03", "last_day": "2026-08-21"}])
    assert august.next_opening(utc("2026-07-31T16:59")) == utc("2026-07-31T16:59")
    assert august.next_opening(utc("2026-07-31T17:00")) == utc("2026-08-24T06:00")


def test_a_company_that_never_opens_is_told_from_one_that_will() -> None:
    years = hours(closures=[{"first_day": "2026-01-01", "last_day": "2036-01-01"}])
    assert years.next_opening(utc("2026-07-01T10:00")) is None


def test_text_messages_keep_their_own_hours_besides() -> None:
    both = hours(also=SMS_WINDOW, **window("06:00", "24:00"))
    assert both.next_opening(utc("2026-11-24T05:30")) == utc("2026-11-24T07:00")
    assert both.next_opening(utc("2026-11-24T19:00")) == utc("2026-11-25T07:00")
    assert both.next_opening(utc("2026-11-28T19:00")) == utc("2026-11-30T07:00"), "no Sunday"


def test_no_text_message_on_a_holiday_that_the_company_does_not_observe() -> None:
    at_work = {**window("08:00", "19:00"), "holidays": {"observed": False}}
    christmas = utc("2026-12-25T09:00")
    assert hours(**at_work).next_opening(christmas) == christmas
    assert hours(also=SMS_WINDOW, **at_work).next_opening(christmas) == utc("2026-12-26T07:00")


# Paris: 28 March 2027, 02:00 becomes 03:00 (01:00 UTC). 31 October 2027, 03:00 becomes 02:00.
@pytest.mark.parametrize(
    ("opens", "closes", "now", "opening"),
    [
        # an hour off after a clock change: nine o'clock is nine o'clock
        ("09:00", "18:00", "2027-03-27T18:00", "2027-03-28T07:00"),
        ("09:00", "18:00", "2027-10-30T18:00", "2027-10-31T08:00"),
        # a window that does not exist on that day is left out
        ("02:00", "03:00", "2027-03-27T12:00", "2027-03-29T00:00"),
        ("02:15", "02:45", "2027-03-28T00:30", "2027-03-29T00:15"),
        # of one that begins in the skipped hour, the rest counts
        ("02:30", "04:00", "2027-03-27T12:00", "2027-03-28T01:00"),
        ("02:30", "04:00", "2027-03-28T01:10", "2027-03-28T01:10"),
        # one that exists twice is open twice
        ("02:15", "02:45", "2027-10-30T12:00", "2027-10-31T00:15"),
        ("02:15", "02:45", "2027-10-31T00:30", "2027-10-31T00:30"),
        ("02:15", "02:45", "2027-10-31T00:45", "2027-10-31T01:15"),
        ("02:15", "02:45", "2027-10-31T01:45", "2027-11-01T01:15"),
        # one whose end comes again is open again
        ("01:30", "02:30", "2027-10-31T00:30", "2027-10-31T01:00"),
    ],
)
def test_an_hour_off_after_a_clock_change_cannot_happen(
    opens: str, closes: str, now: str, opening: str
) -> None:
    rules = hours(holidays={"observed": False}, **window(opens, closes))
    assert rules.next_opening(utc(now)) == utc(opening)


def test_of_a_window_in_the_hour_that_a_day_begins_without_the_rest_counts() -> None:
    """Chile puts its clocks forward at midnight: 5 September 2027 begins at one o'clock."""
    sundays = window("00:05", "01:05", days=["sun"])
    rules = hours("America/Santiago", "CL", holidays={"observed": False}, **sundays)
    assert rules.next_opening(utc("2027-09-04T12:00")) == utc("2027-09-05T04:00")


def test_a_day_that_never_was_is_left_out() -> None:
    """Samoa went from 29 to 31 December 2011."""
    apia = hours("Pacific/Apia", "WS", holidays={"observed": False}, **window("09:00", "17:00"))
    assert apia.next_opening(utc("2011-12-30T03:00")) == utc("2011-12-30T19:00")
    assert utc("2011-12-30T19:00").astimezone(ZoneInfo("Pacific/Apia")).day == 31


CLOCK = st.integers(0, 24 * 12).map(lambda fives: f"{fives // 12:02}:{fives % 12 * 5:02}")
ZONES = ["Europe/Paris", "America/Guadeloupe", "Australia/Lord_Howe", "America/Santiago", "UTC"]
NEAR_A_CHANGE = st.one_of(
    st.datetimes(datetime(2027, 3, 26), datetime(2027, 4, 6)),  # noqa: DTZ001 - in UTC
    st.datetimes(datetime(2027, 9, 3), datetime(2027, 9, 7)),  # noqa: DTZ001
    st.datetimes(datetime(2027, 10, 1), datetime(2027, 11, 2)),  # noqa: DTZ001
)


@given(
    zone=st.sampled_from(ZONES),
    ends=st.tuples(CLOCK, CLOCK).filter(lambda pair: pair[0] < pair[1]),
    days=st.sets(st.sampled_from(EVERY_DAY), min_size=1),
    now=NEAR_A_CHANGE,
)
def test_the_next_opening_is_open_and_nothing_before_it_is(
    zone: str, ends: tuple[str, str], days: set[str], now: datetime
) -> None:
    rules = hours(zone, holidays={"observed": False}, **window(*ends, days=sorted(days)))
    now = now.replace(tzinfo=UTC, second=0, microsecond=0)
    found = rules.next_opening(now)
    assert found is not None
    assert found >= now
    assert rules.is_open(found)
    moment = now
    while moment < found:
        assert not rules.is_open(moment), moment
        moment += timedelta(minutes=5)
