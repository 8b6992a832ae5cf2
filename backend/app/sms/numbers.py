"""Telephone numbers (E.164) and senders' names. Pure.

Numbers are checked against the plans of each country, as the `phonenumbers` library knows them.
"""

from __future__ import annotations

import re
from functools import lru_cache

import phonenumbers
from phonenumbers import PhoneNumberType

from backend.app.errors import BadInput

# In North America a number does not tell whether it is a mobile one.
_MOBILE = (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE)
# What networks carry as a sender beside numbers: letters, digits and spaces, not digits alone.
_SENDER_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9](?:[A-Za-z0-9 ]{0,9}[A-Za-z0-9])?")
_NO_NAMES = ("CA", "PR", "US")
_SHOWN_CHARS = 40


@lru_cache(maxsize=10_000)
def is_mobile(number: str) -> bool:
    """Whether a text message can be sent to it: in E.164 just as it stands, and no fixed line."""
    parsed = _parsed(number, None)
    return parsed is not None and _e164(parsed) == number and _can_get_texts(parsed)


def parse_mobile(text: str, country: str) -> str:
    """A number that somebody typed, to E.164; `country` (ISO 3166) is where one without + is from.

    Raises BadInput.
    """
    parsed = _parsed(text, country.strip().upper() or None)
    if parsed is None:
        raise BadInput(f"{_shown(text)} is no telephone number; give it as +33 6 12 34 56 78")
    if not _can_get_texts(parsed):
        raise BadInput(f"{_shown(text)} is no mobile number, and gets no text messages")
    return _e164(parsed)


def parse_sender(text: str) -> str:
    """Whom text messages come from: a number in E.164, or a name. Raises BadInput."""
    sender = text.strip()
    if sender.startswith("+"):
        parsed = _parsed(sender, None)
        if parsed is not None:
            return _e164(parsed)
    elif _SENDER_NAME.fullmatch(sender):
        return sender
    raise BadInput(
        f"{_shown(text)} is no sender: give a number of the account (+33...), or a name of at most "
        "11 letters without accents, digits and spaces, with one letter at least"
    )


def takes_names(number: str) -> bool:
    """Whether the networks behind it carry a sender's name; those of North America do not."""
    parsed = _parsed(number, None)
    return parsed is not None and phonenumbers.region_code_for_number(parsed) not in _NO_NAMES


def _parsed(text: str, country: str | None) -> phonenumbers.PhoneNumber | None:
    if len(text) > _SHOWN_CHARS:
        return None
    try:
        parsed = phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException:
        return None
    # An extension is no part of E.164: the call would end up at somebody else's.
    return parsed if phonenumbers.is_valid_number(parsed) and not parsed.extension else None


def _can_get_texts(parsed: phonenumbers.PhoneNumber) -> bool:
    return phonenumbers.number_type(parsed) in _MOBILE


def _e164(parsed: phonenumbers.PhoneNumber) -> str:
    return str(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))


def _shown(text: str) -> str:
    line = "".join(char if char.isprintable() else "?" for char in text.strip())
    return f"'{line[:_SHOWN_CHARS]}'"
