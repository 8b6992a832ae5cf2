"""The parts of a company's rules that hold for all its follow-ups. See settings.py for the whole.

Frozen, validated, and without a default that would surprise: `FollowupRules()` sends on working
days between 8:00 and 19:00 of the company's wall clock, to one client at most every second day.
"""

from __future__ import annotations

import string
from datetime import date
from decimal import Decimal
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

import holidays
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MOST_CLOSURES = 100
# What is filled in where it stands in `payment_link`.
LINK_BLANKS = ("{source_id}", "{source_label}", "{amount}")
_IN_WEB_ADDRESSES = frozenset(string.ascii_letters + string.digits + "-._~:/?#[]@!$&'()*+,;=%")


def _iso_date(value: object) -> object:
    if isinstance(value, date):
        return value
    try:
        if isinstance(value, str) and len(value) == len("2026-12-24"):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise PydanticCustomError("iso_date", "must be a date such as 2026-12-24")


def is_web_address(value: str) -> bool:
    """Whether a client's mail program would make a link of it, just as it stands (RFC 3986)."""
    try:
        parts = urlsplit(value)
        begins = parts.scheme == "https" and bool(parts.hostname)
    except ValueError:  # 'https://[' begins an IPv6 address that never ends
        return False
    return begins and not set(value) - _IN_WEB_ADDRESSES


def _web_address(value: str) -> str:
    if not is_web_address(value):
        raise PydanticCustomError(
            "web_address",
            "must be a web address that begins with https://, in ASCII and without braces",
        )
    return value


def _web_address_with_blanks(value: str) -> str:
    filled = value
    for name in LINK_BLANKS:
        filled = filled.replace(name, "x")
    if not is_web_address(filled):
        raise PydanticCustomError(
            "web_address_with_blanks",
            "must be a web address that begins with https://, in ASCII, in which only {names} are "
            "filled in",
            {"names": ", ".join(LINK_BLANKS)},
        )
    return value


def _one_line(value: str) -> str:
    if not value.isprintable() or not value.strip():
        raise PydanticCustomError("one_line", "must be one line of text, and not empty")
    return value.strip()


# "24:00" is the end of the day (ISO 8601), so that a window may reach midnight.
ClockTime = Annotated[str, StringConstraints(pattern=r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$")]
Day = Annotated[date, BeforeValidator(_iso_date)]
Line = Annotated[str, Field(max_length=200), AfterValidator(_one_line)]
WebAddress = Annotated[str, Field(max_length=2000), AfterValidator(_web_address)]
FilledWebAddress = Annotated[str, Field(max_length=2000), AfterValidator(_web_address_with_blanks)]
_ADDRESS = r"^[^@\s<>,;:\"]+@[^@\s<>,;:\"]+\.[^@\s<>,;:\"]+$"
EmailAddress = Annotated[str, StringConstraints(pattern=_ADDRESS, max_length=254)]


class Rules(BaseModel):
    """A frozen part of the document; an unknown key is refused, never ignored."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Window(Rules):
    """When mail may go out, by the company's wall clock: from `opens` until just before `closes`.

    It lies within one day. One that a change of the clocks swallows whole is left out on that day.
    """

    days: Annotated[tuple[Weekday, ...], Field(strict=False)] = WEEKDAYS[:5]
    opens: ClockTime = "08:00"
    closes: ClockTime = "19:00"

    def meets(self, other: Window) -> bool:
        """Whether both are open at some hour."""
        opens, closes = max(self.opens, other.opens), min(self.closes, other.closes)
        return opens < closes and not set(self.days).isdisjoint(other.days)

    @model_validator(mode="after")
    def _is_open_at_some_time(self) -> Self:
        if not self.days or len(set(self.days)) < len(self.days):
            raise PydanticCustomError("window_days", "days must name at least one day, each once")
        if self.opens >= self.closes:
            raise PydanticCustomError("window_hours", "opens must be earlier than closes")
        return self


# When a person may be sent a text message, whatever the company's own hours; nor on a public
# holiday, observed or not. What French operators ask of whoever writes to many.
SMS_WINDOW = Window(days=WEEKDAYS[:6], opens="08:00", closes="20:00")


class Holidays(Rules):
    """Public holidays, on which nothing goes out.

    country   ISO 3166 alpha-2; None: the company's own
    region    as the `holidays` library names it: '57' or 'Moselle', '6AE' or 'Alsace', '974' or
              'La Réunion'; None: those of the whole country
    """

    observed: bool = True
    country: Annotated[str, StringConstraints(pattern="^[A-Z]{2}$")] | None = None
    region: Annotated[str, Field(max_length=60)] | None = None

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if self.region is not None and self.country is None:
            raise PydanticCustomError("holidays_region", "a region needs its country beside it")
        if self.country is not None:
            _require_calendar(self.country, self.region)
        return self


def _require_calendar(country: str, region: str | None) -> None:
    try:
        holidays.country_holidays(country, subdiv=region)
    except NotImplementedError:
        known = holidays.list_supported_countries(include_aliases=True).get(country)
        if known is None:
            raise PydanticCustomError(
                "holidays_country",
                "there is no calendar for the country {country}",
                {"country": country},
            ) from None
        raise PydanticCustomError(
            "holidays_region_unknown",
            "{country} has no such region, only: {known}",
            {"country": country, "known": ", ".join(known)},
        ) from None


class Closure(Rules):
    """Days on which the company is closed, both ends included."""

    first_day: Day
    last_day: Day
    name: Line | None = None

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.last_day < self.first_day:
            raise PydanticCustomError("closure", "last_day must not be before first_day")
        return self


class FollowupCalendar(Rules):
    """When reminders may go out: the company's own window, less its holidays and closures."""

    window: Window = Window()
    holidays: Holidays = Holidays()
    closures: Annotated[tuple[Closure, ...], Field(strict=False, max_length=MOST_CLOSURES)] = ()


class Budgets(Rules):
    """Nobody is flooded.

    client_gap_days       calendar days between two mails to one client, across all its follow-ups
    per_run               how many of the company's reminders one run may send
    per_mailbox_per_day   how many one mailbox may send on one day of the company's calendar
    surge_factor          the rest is held when a day's mails exceed so many times the usual number
    surge_minimum         fewer on one day are never a surge
    bounces_per_day       the rest is held when so many reminders came back for good in a day
    """

    client_gap_days: Annotated[int, Field(ge=0, le=365)] = 2
    per_run: Annotated[int, Field(ge=1, le=100_000)] = 200
    per_mailbox_per_day: Annotated[int, Field(ge=1, le=100_000)] = 300
    surge_factor: Annotated[int, Field(ge=2, le=1000)] = 5
    surge_minimum: Annotated[int, Field(ge=1, le=100_000)] = 50
    bounces_per_day: Annotated[int, Field(ge=1, le=100_000)] = 10


class Activation(Rules):
    """A step that could have gone out longer ago than this is held for a person's word."""

    hold_older_than_days: Annotated[int, Field(ge=1, le=3650)] = 30


class MailRules(Rules):
    """What a reminder's mail looks like; wording is chosen by each step's `template`.

    sender_name      beside the mailbox's address; None: the mailbox's own name
    auto_submitted   mark reminders `Auto-Submitted: auto-generated` (RFC 3834)
    copy_in_sent     append a copy to the Sent folder where the provider files none
    signature        lines under the text; None: the company's name
    payment_link     may contain {source_id}, {source_label} and {amount}
    """

    sender_name: Line | None = None
    reply_to: EmailAddress | None = None
    auto_submitted: bool = True
    copy_in_sent: bool = True
    signature: Annotated[str, Field(max_length=2000)] | None = None
    signature_link: WebAddress | None = None
    payment_link: FilledWebAddress | None = None


class LatePayment(Rules):
    """What a professional client in France owes on a late invoice (Code de commerce L441-10).

    from_step        the first step that states it; None: none does
    charge           the fixed recovery charge per invoice, in euros: 40 (D441-5); a company may ask
                     for less, but more only for costs that it proves, which no reminder can
    rate_percent     the yearly late-payment rate of the company's terms; None: no interest stated
    """

    from_step: Annotated[int, Field(ge=1, le=20)] | None = None
    charge: Annotated[Decimal, Field(strict=False, ge=0, le=40, decimal_places=2)] = Decimal(40)
    rate_percent: Annotated[Decimal, Field(strict=False, ge=0, le=100, decimal_places=3)] | None = (
        None
    )


class SmsRules(Rules):
    """Text messages; who sends them stands in the company's account (manage.py sms).

    max_segments   a longer one is held; each segment is paid for
    """

    max_segments: Annotated[int, Field(ge=1, le=10)] = 3
