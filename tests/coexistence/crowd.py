"""Both scripts over and over in processes of their own, which are killed at any moment.

A worker runs one script again and again, as cron does, but without waiting for the minute. What
the database refuses it is counted where the driver says so, before anything of ours has seen it.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import event
from sqlalchemy.engine import Engine

from backend.app import db, engines
from tests.coexistence.crash import SCRIPTS, processes
from tests.installation import Installation

END_SECONDS = 60
PAUSE_SECONDS = 0.02  # between two runs of a worker
SQLITE_BUSY = (5, 6)
POSTGRESQL_CONFLICTS = {"40001": "serialization", "40P01": "deadlock", "55P03": "lock timeout"}


@dataclass(frozen=True)
class Papers:
    """What a crowd leaves behind, each a file that all its processes append to."""

    log: Path
    conflicts: Path
    statuses: Path

    @classmethod
    def in_directory(cls, directory: Path) -> Papers:
        return cls(*(directory / f"crowd.{name}" for name in ("log", "conflicts", "statuses")))

    def lines(self, file: Path) -> list[str]:
        return file.read_text().splitlines() if file.exists() else []

    @property
    def conflicts_met(self) -> Counter[str]:
        return Counter(self.lines(self.conflicts))

    @property
    def exit_statuses(self) -> Counter[str]:
        return Counter(self.lines(self.statuses))


class Crowd(AbstractContextManager["Crowd"]):
    """One process for each named script. Who is killed is replaced."""

    def __init__(
        self,
        installation: Installation,
        scripts: Sequence[str],
        seed: int,
        busy_seconds: float = engines.SQLITE_BUSY_SECONDS,
    ) -> None:
        """busy_seconds: how long they wait for another writer on SQLite."""
        self.papers = Papers.in_directory(installation.directory)
        self.kills = 0
        self._environment = installation.environment
        self._busy_seconds = busy_seconds
        self._scripts = scripts
        self._random = random.Random(seed)
        self._workers: list[Any] = []

    def __enter__(self) -> Self:
        self._workers = [self._start(script) for script in self._scripts]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end(signal.SIGKILL)

    def kill_one(self) -> None:
        """SIGKILL to one of them, wherever it is just now."""
        victim = self._random.randrange(len(self._workers))
        worker = self._workers[victim]
        assert worker.is_alive(), "a worker ended by itself: " + self.papers.log.read_text()[-3000:]
        worker.kill()
        worker.join(END_SECONDS)
        self.kills += 1
        self._workers[victim] = self._start(self._scripts[victim])

    def end(self, with_signal: signal.Signals = signal.SIGTERM) -> None:
        """SIGTERM lets each finish the item at hand; it is said until it is heard after a run."""
        deadline = time.monotonic() + END_SECONDS
        while any(worker.is_alive() for worker in self._workers):
            assert time.monotonic() < deadline, "a worker does not end"
            for worker in self._workers:
                if worker.is_alive():
                    with contextlib.suppress(ProcessLookupError):  # it has ended just now
                        os.kill(worker.pid, with_signal)
                    worker.join(PAUSE_SECONDS)
        self._workers = []

    def _start(self, script: str) -> Any:
        worker = processes.Process(
            target=_work, args=(self._environment, script, self.papers, self._busy_seconds)
        )
        worker.start()
        return worker


def _work(environment: Mapping[str, str], script: str, papers: Papers, busy_seconds: float) -> None:
    engines.SQLITE_BUSY_SECONDS = busy_seconds
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(_appending(papers.log), sys.stderr.fileno())
    conflicts, statuses = _appending(papers.conflicts), _appending(papers.statuses)
    told_to_end: list[int] = []
    # A run has handlers of its own, and puts these back: told between two runs, there is no next.
    signal.signal(signal.SIGTERM, lambda number, _frame: told_to_end.append(number))

    @event.listens_for(Engine, "handle_error")
    def count(context: Any) -> None:
        if (kind := _conflict(context.original_exception)) is not None:
            os.write(conflicts, f"{kind}\n".encode())

    while not told_to_end:
        status = SCRIPTS[script]([])
        db.SessionLocal.kw["bind"].dispose()
        os.write(statuses, f"{script} {status}\n".encode())
        time.sleep(PAUSE_SECONDS)


def _conflict(error: BaseException) -> str | None:
    if (code := getattr(error, "pgcode", None)) is not None:
        return POSTGRESQL_CONFLICTS.get(code)
    busy = getattr(error, "sqlite_errorcode", 0) & 0xFF in SQLITE_BUSY
    return "busy" if busy else None


def _appending(file: Path) -> int:
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
