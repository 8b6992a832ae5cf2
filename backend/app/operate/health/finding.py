"""One thing that was looked at: how it is, and what to type where it is not as it should be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is. The order of the members is from good to bad."""

    OK = "ok"
    NOTICE = "notice"  # worth knowing; nothing needs to be done
    WARNING = "warning"  # will become a fault, or costs something now
    FAULT = "fault"  # mail does not come in, or reminders do not go out


@dataclass(frozen=True, slots=True)
class Finding:
    """check: a code such as `imap_sign_in`, stable for monitoring. fix: a command, '' for none.

    subject: what it is about (`mailbox 3`, a directory, a domain), '' for the whole installation.
    """

    check: str
    level: Level
    words: str
    fix: str = ""
    subject: str = ""


def worst(findings: Iterable[Finding]) -> Level:
    order = list(Level)
    return max((each.level for each in findings), key=order.index, default=Level.OK)
