"""What a person typed, or a file of theirs holds, to a value. Pure.

Every function raises BadInput, whose message shows the text and says what would do.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from decimal import Decimal

from backend.app.errors import BadInput
from backend.app.followups.schedule import EARLIEST_DUE, LATEST_DUE
from backend.app.followups.type_rules import FollowupType
from backend.app.mail.charsets import printable_line

_LONGEST_EMAIL = 254  # RFC 5321, 4.5.3.1.3 less the angle brackets
_EMAIL = re.compile(r"[^\s@<>(),;:\"\[\]\\]+@[^\s@<>(),;:\"\[\]\\.]+(\.[^\s@<>(),;:\"\[\]\\.]+)+")
_SHOWN_CHARS = 40
# numeric(12, 2)
_TOO_MUCH = Decimal(10) ** 10
# 1234.5, 1 234,50, 1'234.50, 1.234,50, 1,234.50, 1.234.567
_AMOUNT = re.compile(
    r"(?P<whole>[0-9]+|[0-9]{1,3}(?P<gap>[ '’.,])[0-9]{3}(?:(?P=gap)[0-9]{3})*)"
    r"(?:(?P<point>[.,])(?P<cents>[0-9]{1,2}))?"
)
_LONGEST_AMOUNT = 30
_ISO_DATE = re.compile(r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})")
_FRENCH_DATE = re.compile(r"(?P<day>[0-9]{1,2})/(?P<month>[0-9]{1,2})/(?P<year>[0-9]{4})")


def read_line(text: str, name: str, longest: int) -> str:
    """One line without surrounding blanks; control and formatting characters become blanks."""
    line = printable_line(text)
    if len(line) > longest:
        raise BadInput(f"{name} has {len(line)} characters; {longest} is the most")
    return line


def parse_email(text: str) -> str:
    """An address as it stands in an envelope, without a name."""
    email = text.strip()
    if len(email) > _LONGEST_EMAIL or not _EMAIL.fullmatch(email) or not email.isprintable():
        raise BadInput(f"{_shown(text)} is not an e-mail address such as claire@example.fr")
    return email


def parse_type(text: str) -> str:
    """A FollowupType's value."""
    word = text.strip().lower()
    if word not in list(FollowupType):
        raise BadInput(f"{_shown(text)} is no type; the types are {', '.join(FollowupType)}")
    return word


def parse_currency(text: str) -> str:
    """ISO 4217, in capitals."""
    code = text.strip().upper()
    if not re.fullmatch(r"[A-Z]{3}", code):
        raise BadInput(f"{_shown(text)} is no currency; give its three letters, such as EUR")
    return code


def parse_language(text: str) -> str:
    """ISO 639-1, such as fr; a longer tag (fr-CA) is cut to it."""
    code = re.split("[-_]", text.strip().lower())[0]
    if not re.fullmatch(r"[a-z]{2}", code):
        raise BadInput(f"{_shown(text)} is no language; give its two letters, such as fr or en")
    return code


def parse_amount(text: str) -> Decimal:
    """More than zero, with two decimals, in units of its currency: '1 234,50', '1234.5 €'.

    A lone mark before three digits is refused: 1,234 is a thousand in London and one in Paris.
    """
    # A no-break space, wide or narrow, is what French spreadsheets put between thousands.
    bare = " ".join(text.replace("€", " ").split())
    found = _AMOUNT.fullmatch(bare) if len(bare) <= _LONGEST_AMOUNT else None
    if found is None or _is_ambiguous(found):
        raise BadInput(f"{_shown(text)} is not an amount such as 1234,50")
    whole = re.sub(r"[^0-9]", "", found["whole"])
    amount = Decimal(f"{whole}.{found['cents'] or '0'}").quantize(Decimal("0.01"))
    if not 0 < amount < _TOO_MUCH:
        raise BadInput(f"{_shown(text)} must be more than 0 and less than {_TOO_MUCH:,}")
    return amount


def _is_ambiguous(amount: re.Match[str]) -> bool:
    gap = amount["gap"]
    if gap not in (".", ","):
        return False
    return gap == amount["point"] or (amount["point"] is None and amount["whole"].count(gap) == 1)


def parse_due_date(text: str) -> date:
    """2026-11-23, or 23/11/2026: the day comes first."""
    found = _ISO_DATE.fullmatch(text.strip()) or _FRENCH_DATE.fullmatch(text.strip())
    if found is None:
        raise BadInput(f"{_shown(text)} is not a date such as 2026-11-23 or 23/11/2026")
    try:
        day = date(int(found["year"]), int(found["month"]), int(found["day"]))
    except ValueError:
        raise BadInput(f"{_shown(text)} is no day of the calendar") from None
    if not EARLIEST_DUE <= day <= LATEST_DUE:
        raise BadInput(f"{_shown(text)} is not between {EARLIEST_DUE} and {LATEST_DUE}")
    return day


def parse_day_to_come(text: str, now: datetime) -> date:
    """As parse_due_date. A day that is over everywhere is a slip: it would put nothing off."""
    day = parse_due_date(text)
    if day < (now - timedelta(days=1)).date():
        raise BadInput(f"{_shown(text)} is over already")
    return day


def _shown(text: str) -> str:
    """What was typed, quoted, on one line and not too long."""
    line = "".join(char if char.isprintable() else "?" for char in text.strip())
    return f"'{line[:_SHOWN_CHARS]}…'" if len(line) > _SHOWN_CHARS else f"'{line}'"
