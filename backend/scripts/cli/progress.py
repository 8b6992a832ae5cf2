"""On a terminal, a progress bar for each mailbox with older mail to read; nothing under cron."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any

from backend.app.runtime import Progress


class Bars(Progress):
    """Bars on standard error, below the log lines. Told from several threads."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._tqdm: Any = tqdm
        self._bars: dict[int, Any] = {}
        self._lock = threading.Lock()

    def expect(self, mailbox: int, mails: int) -> None:
        with self._lock:
            if mailbox not in self._bars:
                self._bars[mailbox] = self._tqdm(
                    total=0, desc=f"mailbox {mailbox}", unit=" mails", file=sys.stderr
                )
            self._bars[mailbox].total += mails
            self._bars[mailbox].refresh()

    def advance(self, mailbox: int, mails: int = 1) -> None:
        with self._lock:
            if bar := self._bars.get(mailbox):
                bar.update(mails)

    def say(self, line: str) -> None:
        self._tqdm.write(line, file=sys.stderr)  # above the bars, which stay whole

    def close(self) -> None:
        for bar in self._bars.values():
            bar.close()


class LinesAbove(logging.Handler):
    """The log on a terminal that has bars at its foot."""

    def __init__(self, bars: Bars) -> None:
        super().__init__()
        self._bars = bars

    def emit(self, record: logging.LogRecord) -> None:
        self._bars.say(self.format(record))


@contextlib.contextmanager
def shown_progress() -> Iterator[tuple[Progress, logging.Handler]]:
    """What a run tells how far it is, and where its log goes: standard error in any case."""
    if not sys.stderr.isatty():
        yield Progress(), logging.StreamHandler(sys.stderr)
        return
    bars = Bars()
    try:
        yield bars, LinesAbove(bars)
    finally:
        bars.close()
