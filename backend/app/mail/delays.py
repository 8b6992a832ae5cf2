"""The delay that a server states in a passing refusal (4yz). Pure.

SMTP has no field for it: servers put it into the text of the reply (RFC 5321, 4.2.1). Read are
the ways that greylisting and rate limits put it: "try again in 300 seconds" (policyd, Exim),
"Greylisted for 5 minutes" (Postgrey, sqlgrey), "come back in 00:04:59" (milter-greylist).
"""

from __future__ import annotations

import re
from datetime import timedelta

_SECONDS = {"s": 1, "m": 60, "h": 3600}
# The word before the number tells a delay from a limit, "at most 20 mails per 60 seconds".
_CLOCK = re.compile(r"\b(?:in|for|after|wait)\s+(\d{1,2}):([0-5]\d)(?::([0-5]\d))?\b", re.I)
_SPAN = re.compile(
    r"\b(?:in|for|after|wait(?:\s+at\s+least)?)\s+(\d{1,6})\s*"
    r"(seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h)\b",
    re.I,
)


def stated_delay(words: str) -> timedelta | None:
    """How long the server wants us to stay away; None when it does not say. Not bounded."""
    if clock := _CLOCK.search(words):
        first, second, third = clock.groups()
        if third is None:  # minutes and seconds
            return timedelta(minutes=int(first), seconds=int(second))
        return timedelta(hours=int(first), minutes=int(second), seconds=int(third))
    if span := _SPAN.search(words):
        return timedelta(seconds=int(span[1]) * _SECONDS[span[2][0].lower()])
    return None
