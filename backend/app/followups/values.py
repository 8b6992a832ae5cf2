"""The values that are put into the words of a reminder, as its reader is to see them.

    company_name, sender_name    who writes; sender_name may be empty
    sender_email, signature      the mailbox's address; the company's lines under each reminder
    client_name, client_email    to whom; the name is empty when unknown: the greeting goes without
    source_label                 what it is about, with its noun: 'Facture F-2026-012'
    amount                       in the client's notation: 1 234,50 € or €1,234.50
    due_date                     12 novembre 2026, 12 November 2026
    due_day                      12/11/2026
    days_late                    whole days since the due date, a number
    payment_link, signature_link https addresses; ask with `is defined`
    late_charge, late_total, late_rate, late_interest
                                 what a professional owes besides, where it applies: `is defined`

Values come from mail and from other people's forms. They are never read as a template, and are
brought to one bounded line each, so that a name can break neither a header nor the layout.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache

from babel.dates import format_date
from babel.numbers import format_currency, format_decimal

from backend.app.followups.late_payment import LateDue

LOCALES = {"fr": "fr_FR", "en": "en_GB"}
SUBJECT_VALUE_CHARS = 60  # leaves every packaged subject within 120
BODY_VALUE_CHARS = 200
_ADDRESS_CHARS = 320  # one that is cut is another one
_AMOUNT_LIMIT = Decimal(10) ** 12  # followups.amount holds less; 1E+999999 would fill the memory


@dataclass(frozen=True, slots=True, kw_only=True)
class WordingContext:
    """The values of one reminder, as they stand in the database; see the module's table.

    amount     in units of `currency` (not cents); None, 0 or less: there is nothing to ask for
    currency   ISO 4217
    days_late  by the company's calendar, on the day on which the mail goes out
    """

    company_name: str
    client_name: str
    source_label: str
    amount: Decimal | None
    currency: str
    due_date: date | None
    days_late: int | None
    sender_name: str
    sender_email: str = ""
    client_email: str = ""
    signature: str | None = None
    payment_link: str | None = None
    signature_link: str | None = None
    late: LateDue | None = None


def values_of(
    context: WordingContext, language: str, chars: int = BODY_VALUE_CHARS
) -> dict[str, object]:
    """The variables of the module's table, as they are printed in bounded lines."""
    client_name = _one_line(context.client_name, chars)
    values: dict[str, object] = {
        # Where nobody gave a name, many address books put the address: no way to greet a person.
        "client_name": "" if "@" in client_name else client_name,
        "sender_name": _one_line(context.sender_name, chars),
        "signature": _lines(context.signature or ""),
    }
    optional: dict[str, object] = {
        "company_name": _one_line(context.company_name, chars),
        "source_label": _one_line(context.source_label, chars),
        "amount": money(context.amount, context.currency, language),
        "due_date": _day(context.due_date, language) if context.due_date else None,
        "due_day": context.due_date.strftime("%d/%m/%Y") if context.due_date else None,
        "days_late": context.days_late,
        "client_email": _one_line(context.client_email, _ADDRESS_CHARS),
        "sender_email": _one_line(context.sender_email, _ADDRESS_CHARS),
        "payment_link": context.payment_link,
        "signature_link": context.signature_link,
    }
    optional |= _late_values(context.late, language) if context.late else {}
    return values | {name: value for name, value in optional.items() if value not in (None, "")}


def _late_values(late: LateDue, language: str) -> dict[str, object]:
    """The charge, the interest with its calculation, and the total: all as they are printed."""
    locale = LOCALES[language]
    values: dict[str, object] = {
        "late_charge": money(late.charge, "EUR", language),
        "late_total": money(late.total, "EUR", language),
    }
    if late.rate_percent is not None and late.interest is not None:
        # The sign stands after an unbreakable space in French (CLDR has a narrow one).
        percent = format_decimal(late.rate_percent, locale=locale)
        values["late_rate"] = f"{percent}\u00a0%" if locale.startswith("fr") else f"{percent}%"
        values["late_interest"] = money(late.interest, "EUR", language) or format_currency(
            late.interest, "EUR", locale=locale
        ).replace("\u202f", "\u00a0")
    return values


def is_payable(amount: Decimal | None) -> bool:
    """Whether a client can be asked for it; PostgreSQL's numeric may be NaN."""
    return amount is not None and amount.is_finite() and 0 < amount < _AMOUNT_LIMIT


@lru_cache(maxsize=1000)  # babel takes its time, and subject and text say the same
def money(amount: Decimal | None, currency: str, language: str) -> str | None:
    """As the client reads it; None for what nobody can be asked for."""
    code = currency.strip().upper()
    if amount is None or not is_payable(amount) or not re.fullmatch("[A-Z]{3}", code):
        return None
    # CLDR groups French digits with U+202F, which old mail programs draw as a box.
    return format_currency(amount, code, locale=LOCALES[language]).replace("\u202f", "\u00a0")


@lru_cache(maxsize=1000)
def _day(day: date, language: str) -> str:
    text = format_date(day, format="long", locale=LOCALES[language])
    # French writes the first of a month as an ordinal; CLDR does not.
    return re.sub(r"^1 ", "1er ", text) if language == "fr" else text


def _lines(value: str) -> str:
    return "\n".join(_one_line(line, BODY_VALUE_CHARS) for line in value.splitlines()).strip()


def _one_line(value: str, chars: int) -> str:
    """Drop control and formatting characters, make every run of blanks one space, and bound it.

    The formatting ones can turn the reading direction around or hide text (Unicode TR36).
    """
    shown = value if value.isprintable() else "".join(_shown(char) for char in value)
    line = " ".join(shown.split())
    return line if len(line) <= chars else line[: chars - 1].rstrip() + "…"


def _shown(char: str) -> str:
    category = unicodedata.category(char)
    if category in ("Cc", "Zl", "Zp"):
        return " "
    return "" if category in ("Cf", "Cs") else char
