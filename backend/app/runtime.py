"""The cron harness: logging, the run's record, signals, exit status.

A script is a function of a Run that returns its Report; `run_script` does what is the same for
both scripts. Logs go to standard error, one line an event (docs/reference.md).
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import FrameType

from sqlalchemy.exc import SQLAlchemyError

from backend.app import db
from backend.app.config import Settings, load_settings
from backend.app.credentials import Vault
from backend.app.errors import (
    EXIT_CONFIGURATION,
    EXIT_DATABASE_UNREACHABLE,
    EXIT_DONE,
    EXIT_INTERNAL,
    EXIT_SOME_FAILED,
    ConfigurationError,
    DatabaseUnreachable,
)
from backend.app.store import runs

LOGGER = "relance"


class LogFormatter(logging.Formatter):
    """`2026-11-23T14:00:03+01:00 INFO sync ...`, always one line.

    Servers and mails put words into our lines: control characters would forge lines of their own.
    """

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).astimezone()
        room = record.name.removeprefix(f"{LOGGER}.")
        text = record.getMessage()
        if record.exc_info:
            text += " " + self.formatException(record.exc_info).replace("\n", " | ")
        clean = "".join(c if c.isprintable() else " " for c in text)
        return f"{moment.isoformat(timespec='seconds')} {record.levelname} {room} {clean}"


def start_logging(*, verbose: bool, handler: logging.Handler | None = None) -> None:
    """Send this package's log lines to standard error; `verbose` shows the DEBUG ones too.

    handler: what writes them, where a terminal needs more than a stream.
    """
    handler = handler or logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogFormatter())
    logger = logging.getLogger(LOGGER)
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False


@dataclass(slots=True)
class Report:
    """What a run did: counts for the summary line, and whether any item failed.

    Several workers of a run add to it at once.
    """

    counts: dict[str, int] = field(default_factory=dict)
    failed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, name: str, number: int = 1) -> None:
        with self._lock:
            self.counts[name] = self.counts.get(name, 0) + number

    def fail(self, name: str) -> None:
        self.add(name)
        self.failed = True


class Progress:
    """Told how far a mailbox is; this one keeps quiet, as under cron."""

    def expect(self, mailbox: int, mails: int) -> None:
        """So many more mails of this mailbox are there to be read."""

    def advance(self, mailbox: int, mails: int = 1) -> None:
        """So many of them were dealt with."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a job needs from its surroundings."""

    settings: Settings
    vault: Vault
    owner: str  # host:pid:run, unique among the workers of all hosts
    stopping: Callable[[], bool]
    now: Callable[[], datetime] = db.utc_now
    progress: Progress = field(default_factory=Progress)


def run_script(
    name: str,
    job: Callable[[Run, Report], None],
    *,
    verbose: bool = False,
    durable: bool = True,
    dry_run: bool = False,
    progress: Progress | None = None,
    log_handler: logging.Handler | None = None,
) -> int:
    """Run a job as cron would and return its exit status (sysexits(3)). Never raises Exception.

    dry_run leaves no row in cron_runs either.
    """
    start_logging(verbose=verbose, handler=log_handler)
    log = logging.getLogger(f"{LOGGER}.{name}")
    try:
        settings = load_settings()
        vault = Vault(settings.credentials_keys)
        db.open_database(settings, durable=durable)
        with recorded_run(name, dry_run) as (owner, report), stop_signals() as stopping:
            job(Run(settings, vault, owner, stopping, progress=progress or Progress()), report)
            log.info("done %s", summary(report.counts))
        return EXIT_SOME_FAILED if report.failed else EXIT_DONE
    except ConfigurationError as error:
        log.error("configuration: %s", error)
        return EXIT_CONFIGURATION
    except DatabaseUnreachable as error:
        log.error("database: %s", error)
        return EXIT_DATABASE_UNREACHABLE
    except SQLAlchemyError as error:
        if (conflict := db.fault_of(error)) is None:
            log.critical("internal error", exc_info=True)
            return EXIT_INTERNAL
        log.error("database: %s", conflict)
        return EXIT_DATABASE_UNREACHABLE
    except Exception:  # the harness: the last line before cron
        log.critical("internal error", exc_info=True)
        return EXIT_INTERNAL


@contextlib.contextmanager
def recorded_run(name: str, dry_run: bool) -> Iterator[tuple[str, Report]]:
    """A row in cron_runs from start to end; a killed run leaves it without an end."""
    host, pid, report = socket.gethostname(), os.getpid(), Report()
    if dry_run:
        yield f"{host}:{pid}:dry", report
        return
    run_id = db.write(runs.record_start, name, host, pid)
    status = EXIT_INTERNAL
    try:
        yield f"{host}:{pid}:{run_id}", report
        status = EXIT_SOME_FAILED if report.failed else EXIT_DONE
    finally:
        with contextlib.suppress(SQLAlchemyError):  # the first error is the one to tell
            db.write(runs.record_end, run_id, status, report.counts)


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """SIGTERM and SIGINT let the item at hand finish; then the run ends as usual."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def summary(counts: Mapping[str, int]) -> str:
    """`stored=3 duplicate=1`, in the order in which the names first came."""
    return " ".join(f"{name}={number}" for name, number in counts.items()) or "nothing to do"
