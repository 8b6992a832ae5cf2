"""What two subjects of one thread have in common."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from difflib import SequenceMatcher

# Re, Aw, Sv, Rép, Antw, ... and Fwd, Tr, Wg, ... as mail clients of many languages put them.
_REPLY = r"re|aw|sv|rép|rep|réf|ref|antw|odp|ynt|vs|r"
_FORWARD = r"fwd?|tr|wg|vb|rv|i|enc|doorst"
_PREFIX = re.compile(
    rf"^\s*(?:(?P<reply>{_REPLY})|(?:{_FORWARD}))\s*(?:\[\d+\]|\(\d+\))?\s*:", re.I
)


@dataclass(frozen=True, slots=True)
class Subject:
    """key: without prefixes, case and spacing, '' when nothing is left. is_reply: had `Re:`."""

    key: str
    is_reply: bool


def read_subject(text: str) -> Subject:
    rest, is_reply = text[:1000], False
    while (match := _PREFIX.match(rest)) is not None:
        is_reply = is_reply or match["reply"] is not None
        rest = rest[match.end() :]
    return Subject(" ".join(rest.casefold().split())[:200], is_reply)


def is_another_subject(old: str, new: str) -> bool:
    """Whether a reply bears a subject of its own, so that it begins another matter.

    Not when one holds the other (`[EXT] Re: Devis`, a shortened subject), and not when they are
    nearly the same: gateways drop accents and mangle characters.
    """
    a, b = _letters(old), _letters(new)
    if not a or not b or a in b or b in a:
        return False
    return SequenceMatcher(None, a, b, autojunk=False).ratio() < _NEARLY_THE_SAME


_NEARLY_THE_SAME = 0.75


def _letters(subject: str) -> str:
    plain = unicodedata.normalize("NFKD", read_subject(subject).key)
    return "".join(char for char in plain if char.isalnum())
