"""Mail servers that do not answer rest for a run: each of their mailboxes would wait for it."""

from __future__ import annotations

import logging
import threading
from collections import Counter

log = logging.getLogger("relance.sync")

LOST_IN_A_ROW = 3  # mailboxes: one alone may be what breaks the connection


class Hosts:
    """Which mail servers this run goes to no more. Used by all its workers."""

    def __init__(self) -> None:
        self._lost: Counter[str] = Counter()
        self._one_at_a_time = threading.Lock()

    @property
    def resting(self) -> list[str]:
        with self._one_at_a_time:
            return [host for host, lost in self._lost.items() if lost >= LOST_IN_A_ROW]

    def note(self, host: str, *, lost: bool) -> None:
        """What became of a visit. lost: there was no connection, or it broke."""
        with self._one_at_a_time:
            self._lost[host] = self._lost[host] + 1 if lost else 0
            if self._lost[host] == LOST_IN_A_ROW:
                log.warning(
                    "host=%s lost %d mailboxes in a row: its others wait for the next run",
                    host,
                    LOST_IN_A_ROW,
                )
