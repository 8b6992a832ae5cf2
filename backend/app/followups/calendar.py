"""When a company writes to its clients: days and hours of its wall clock. Pure.

A day counts when every window names its weekday, it is no public holiday, and the company is not
closed. An instant counts when the wall clock of the company's zone then stands, on such a day, at
or after `opens` and before `closes` of every window. Where a second window is set, public holidays
count even for a company that does not observe them.

Clock changes (I9). What the clock shows decides, so nothing is an hour off after a change. Of a
window that begins within the hour that is skipped, the rest counts; one that lies wholly within it
is left out on that day. Of an hour that comes twice, both count.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import holidays

from backend.app.followups.company_rules import WEEKDAYS, FollowupCalendar, Window

# A company that is closed longer than this sends nothing any more; the rules are wrong.
LONGEST_CLOSURE_DAYS = 800
ONE_DAY = timedelta(days=1)
ONE_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class OpeningHours:
    """The rules of `rules` in `zone`, and `also`: another window that must be open, too.

    country: ISO 3166 alpha-2, for the holidays where the rules name none; an unknown one has none.
    """

    zone: ZoneInfo
    country: str
    rules: FollowupCalendar
    also: Window | None = None

    @property
    def windows(self) -> tuple[Window, ...]:
        return (self.rules.window,) if self.also is None else (self.rules.window, self.also)

    def is_open(self, moment: datetime) -> bool:
        """moment: aware."""
        local = moment.astimezone(self.zone)
        shown = local.strftime("%H:%M")
        return self.is_working_day(local.date()) and all(
            window.opens <= shown < window.closes for window in self.windows
        )

    def is_working_day(self, day: date) -> bool:
        named = all(WEEKDAYS[day.weekday()] in window.days for window in self.windows)
        return named and not self._is_closed(day) and not self._is_holiday(day)

    def next_opening(self, moment: datetime) -> datetime | None:
        """`moment` itself when it is open, else the first instant after it that is (aware UTC).

        None when there is none within LONGEST_CLOSURE_DAYS.
        """
        today = moment.astimezone(self.zone).date()
        for ahead in range(LONGEST_CLOSURE_DAYS):
            day = today + ahead * ONE_DAY
            if not self.is_working_day(day):
                continue
            instants = (each for each in self._beginnings(day, moment) if self.is_open(each))
            found = min(instants, default=None)
            if found is not None:
                return found
        return None

    def _beginnings(self, day: date, moment: datetime) -> list[datetime]:
        """The instants from `moment` on at which the windows may open on this day."""
        opens = max(window.opens for window in self.windows)
        found = [moment, *(instant(day, opens, self.zone, fold) for fold in (0, 1))]
        found.append(start_of_day(day, self.zone))  # which may show 01:00, past `opens`
        change = _clock_change(day, self.zone)
        if change is not None:
            found.append(change)
        return [each.astimezone(UTC) for each in found if each >= moment]

    def _is_closed(self, day: date) -> bool:
        return any(each.first_day <= day <= each.last_day for each in self.rules.closures)

    def _is_holiday(self, day: date) -> bool:
        chosen = self.rules.holidays
        if not chosen.observed and self.also is None:
            return False
        own = self.country.strip().upper()
        return day in _holidays(chosen.country or own, chosen.region)


def instant(day: date, shown: str, zone: ZoneInfo, fold: int = 0) -> datetime:
    """When the clock of `zone` shows `shown` ('09:00') on this day, aware UTC.

    fold=0: the first of two; for a time that is skipped, as the clock went before (PEP 495).
    """
    hour, minute = int(shown[:2]), int(shown[3:])
    local = datetime.combine(day, time(hour % 24, minute), tzinfo=zone).replace(fold=fold)
    return local.astimezone(UTC)


def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    return instant(day, "00:00", zone)


@cache
def _clock_change(day: date, zone: ZoneInfo) -> datetime | None:
    """The instant of this day at which the zone's offset changes; None on nearly every day."""
    low = start_of_day(day, zone)
    high = start_of_day(day + ONE_DAY, zone)
    before, after = (each.astimezone(zone).utcoffset() for each in (low, high))
    if before == after:
        return None
    while high - low > ONE_SECOND:
        middle = (low + (high - low) / 2).replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high


@cache
def _holidays(country: str, region: str | None) -> holidays.HolidayBase:
    try:
        return holidays.country_holidays(country, subdiv=region)
    except NotImplementedError:  # the company's own country, as the host application wrote it
        return holidays.HolidayBase()
