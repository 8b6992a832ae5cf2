"""The day of return that an out-of-office gives, in French or English."""

from __future__ import annotations

import re
import unicodedata
from datetime import date, timedelta

from backend.app.mail.message import ParsedMail

_LONGEST_LOOK = 4_000
_FARTHEST = timedelta(days=366)

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "janvier january jan janv",
            "fevrier february feb fev fevr",
            "mars march mar",
            "avril april apr avr",
            "mai may",
            "juin june jun",
            "juillet july jul juil",
            "aout august aug",
            "septembre september sep sept",
            "octobre october oct",
            "novembre november nov",
            "decembre december dec",
        ),
        start=1,
    )
    for name in names.split()
}
_DAYS = {
    name: number
    for number, names in enumerate(
        (
            "lundi monday",
            "mardi tuesday",
            "mercredi wednesday",
            "jeudi thursday",
            "vendredi friday",
            "samedi saturday",
            "dimanche sunday",
        )
    )
    for name in names.split()
}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DAY = "|".join(_DAYS)
_DATE = (
    rf"(?:(?P<weekday>{_DAY})\b,?\s*)?(?:the\s+|le\s+)?(?:"
    r"(?P<iso>\d{4}-\d{1,2}-\d{1,2})"
    r"|(?P<first>\d{1,2})\s?[/.]\s?(?P<second>\d{1,2})(?:\s?[/.]\s?(?P<numyear>\d{4}|\d{2}))?\b"
    rf"|(?P<day>\d{{1,2}})(?:er|st|nd|rd|th)?\s+(?:of\s+)?(?P<month>{_MONTH})\b\.?,?(?:\s+(?P<year>\d{{4}}))?"
    rf"|(?P<month2>{_MONTH})\b\.?\s+(?P<day2>\d{{1,2}})(?:st|nd|rd|th)?\b,?(?:\s+(?P<year2>\d{{4}}))?"
    r")"
)
# What names the day itself, and what names the last day away.
_BACK = (
    r"(?:(?:de|mon) retour(?: au bureau| parmi vous| est prevu| prevu)*"
    r"(?: (?:a partir du|des le|le|ce|au))?"
    r"|(?:reprendrai|reprends|rentre|rentrerai|reviens|reviendrai|joignable)[^.\n\d]{0,40}?"
    r"(?:a partir du|des le|le|au)?"
    r"|(?:be |am |i'm )?back(?: in the office| at work| at my desk| to the office)*"
    r"(?: on| from| by| as of)?"
    r"|return(?:ing)?(?: to (?:the office|work)| back)*(?: on| from| by| is)?"
    r"|(?:available|reachable)(?: again)?(?: from| on| as of))"
)
_UNTIL = (
    r"(?:jusqu'?\s?au|jusqu'a|until|till?|through|thru|to and including|inclus(?:ivement)? au"
    rf"|(?:du|from)\s[^.\n]{{1,40}}?\s(?:au|to|until|through|-))(?: (?:{_DAY}))?"
)
_BACK_ON = re.compile(rf"\b{_BACK}\s*:?\s*{_DATE}")
_AWAY_UNTIL = re.compile(rf"\b{_UNTIL}\s*:?\s*{_DATE}")
_BACK_WEEKDAY = re.compile(rf"\b{_BACK}\s*:?\s*(?:next )?(?P<name>{_DAY})\b")


def find_return_date(mail: ParsedMail) -> date | None:
    """The day from which the sender reads mail again; None when none is given or it is past.

    A year that lacks is the one that makes the date follow the mail; without a Date header
    only dates with a year count. `Until` names the last day away, so the day after is given.
    """
    text = _fold(f"{mail.subject}\n{mail.reply_text[:_LONGEST_LOOK]}")
    sent = mail.date.date() if mail.date else None
    match = _BACK_ON.search(text)
    if match is not None:
        return _check(_read(match, text, sent), sent)
    match = _AWAY_UNTIL.search(text)
    if match is not None:
        last = _check(_read(match, text, sent), sent)
        return last + timedelta(days=1) if last else None
    match = _BACK_WEEKDAY.search(text)
    if match is not None and sent is not None:
        return sent + timedelta(days=(_DAYS[match["name"]] - sent.weekday() - 1) % 7 + 1)
    return None


def _fold(text: str) -> str:
    """Lower case without accents, on one line with straight apostrophes."""
    plain = unicodedata.normalize("NFKD", text.lower().replace("’", "'"))
    return re.sub(r"\s+", " ", "".join(c for c in plain if not unicodedata.combining(c)))


def _check(found: date | None, sent: date | None) -> date | None:
    if found is None or (sent is not None and not sent <= found <= sent + _FARTHEST):
        return None
    return found


def _read(match: re.Match[str], text: str, sent: date | None) -> date | None:
    if match["iso"]:
        year, month, day = (int(piece) for piece in match["iso"].split("-"))
        return _make(year, month, day)
    if match["first"]:
        return _read_numbers(match, text, sent)
    month = _MONTHS[match["month"] or match["month2"]]
    day = int(match["day"] or match["day2"])
    return _make_near(match["year"] or match["year2"], month, day, sent)


def _read_numbers(match: re.Match[str], text: str, sent: date | None) -> date | None:
    """`03/04`: day first, but month first when only that is a date or English reads nearer."""
    year = match["numyear"]
    if year and len(year) == 2:
        year = f"20{year}"
    first, second = int(match["first"]), int(match["second"])
    day_first = _make_near(year, second, first, sent)
    month_first = _make_near(year, first, second, sent)
    if day_first is None or month_first is None or not _is_english(text) or sent is None:
        return day_first or month_first
    return min((day_first, month_first), key=lambda found: abs(found - sent))


def _is_english(text: str) -> bool:
    return re.search(r"\b(?:back|return|until|office|the|will)\b", text) is not None


def _make_near(year: str | None, month: int, day: int, sent: date | None) -> date | None:
    if year:
        return _make(int(year), month, day)
    if sent is None:
        return None
    this_year = _make(sent.year, month, day)
    if this_year is not None and this_year >= sent - timedelta(days=30):
        return this_year
    return _make(sent.year + 1, month, day)


def _make(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None
