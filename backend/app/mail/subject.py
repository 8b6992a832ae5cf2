"""What two subjects of one thread have in common."""

from __future__ import annotations

import re
from dataclasses import dataclass

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
