"""How long a mailbox is left alone after an error. Pure."""

from __future__ import annotations

CEILING_SECONDS = 3600.0
# A wrong password tried each minute gets accounts locked and addresses banned.
FIRST_PAUSE_SECONDS = {
    "credentials": 600.0,
    "throttled": 300.0,
    "settings": 600.0,
    "allowance": CEILING_SECONDS,  # until tomorrow, and then not a minute's mail too many
}
DEFAULT_FIRST_PAUSE_SECONDS = 60.0


def backoff_seconds(kind: str, failures: int, chance: float) -> float:
    """Doubles with each failure in a row, up to an hour; never gives up.

    failures: how many there were before this one. chance: 0..1, spreads mailboxes of one server
    over the last quarter of the pause.
    """
    first = FIRST_PAUSE_SECONDS.get(kind, DEFAULT_FIRST_PAUSE_SECONDS)
    pause: float = min(CEILING_SECONDS, first * 2 ** min(failures, 10))
    return pause * (0.75 + 0.25 * chance)
