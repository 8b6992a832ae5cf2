"""The cron harness: logging, the run's record, signals, exit status.

A script is a function of a Run that returns its Report; `run_script` does what is the same for
both scripts. Logs go to standard error, one line an event (docs/reference.md).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import FrameType

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend.app import db
from backend.app.config import Settings, load_monitoring, load_settings
from backend.app.credentials import Vault
from backend.app.errors import (
    EXIT_CONFIGURATION,
    EXIT_DATABASE_UNREACHABLE,
    EXIT_DONE,
    EXIT_INTERNAL,
    EXIT_SOME_FAILED,
    ConfigurationError,
    DatabaseUnreachable,
    Refused,
)
from backend.app.mark import Mark
from backend.app.monitoring.watch import LastWords, Watch
from backend.app.store import runs
from backend.app.store.installation import Count

LOGGER = "relance"
KEY_VALUE = re.compile(r"\b([a-z_]+)=(\S+)")


class LogFormatter(logging.Formatter):
    """`2026-11-23T14:00:03+01:00 INFO sync ... run=1045`, always one line; or the same as JSON.

    Servers and mails put words into our lines: control characters would forge lines of their own.
    run: the number of the run in cron_runs, once it has one; all lines of a run bear it.
    """

    def __init__(self, form: str = "text") -> None:
        """form: text or json."""
        super().__init__()
        self.run: str | None = None
        self._as_json = form == "json"

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="seconds")
        room = record.name.removeprefix(f"{LOGGER}.")
        text = record.getMessage()
        if record.exc_info:
            text += " " + self.formatException(record.exc_info).replace("\n", " | ")
        if not text.isprintable():
            text = "".join(c if c.isprintable() else " " for c in text)
        if self._as_json:
            words = {"time": moment, "level": record.levelname, "script": room, "message": text}
            # What the line says as key=value, for who looks for one mailbox or one reminder. The
            # first of a name counts, and none of ours: a server's words come last in a line.
            said = dict(reversed(KEY_VALUE.findall(text)))
            return json.dumps({**said, **words, "run": self.run})
        end = "" if self.run is None else f" run={self.run}"
        return f"{moment} {record.levelname} {room} {text}{end}"


def start_logging(
    *, verbose: bool, handler: logging.Handler | None = None, form: str = "text"
) -> LogFormatter:
    """Send this package's log lines to standard error; `verbose` shows the DEBUG ones too.

    handler: what writes them, where a terminal needs more than a stream. form: text or json.
    """
    handler = handler or logging.StreamHandler(sys.stderr)
    formatter = LogFormatter(form)
    handler.setFormatter(formatter)
    logger = logging.getLogger(LOGGER)
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False
    return formatter


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
    # Told of each reminder that may be out from now on, before its body goes.
    remember: Callable[[Count], None] = field(default=lambda _count: None)


def run_script(
    name: str,
    job: Callable[[Run, Report], None],
    *,
    verbose: bool = False,
    durable: bool = True,
    dry_run: bool = False,
    progress: Progress | None = None,
    log_handler: logging.Handler | None = None,
    look_up: Callable[[Session], object] | None = None,
) -> int:
    """Run a job as cron would and return its exit status (sysexits(3)). Never raises Exception.

    dry_run leaves no row in cron_runs either. look_up: raises Refused where a person names what is
    not there; that is no run yet, and leaves no row.
    """
    monitoring = load_monitoring()
    formatter = start_logging(verbose=verbose, handler=log_handler, form=monitoring.log_format)
    report = Report()
    if dry_run:
        return _run(name, job, report, formatter, durable, dry_run, progress, look_up)
    words = LastWords(formatter)
    logging.getLogger(LOGGER).addHandler(words)
    watch = Watch(name, monitoring, words)
    status = _run(name, job, report, formatter, durable, dry_run, progress, look_up)
    watch.end(status, report.counts)
    return status


def _run(
    name: str,
    job: Callable[[Run, Report], None],
    report: Report,
    formatter: LogFormatter,
    durable: bool,
    dry_run: bool,
    progress: Progress | None,
    look_up: Callable[[Session], object] | None,
) -> int:
    log = logging.getLogger(f"{LOGGER}.{name}")
    try:
        settings = load_settings()
        vault = Vault(settings.credentials_keys)
        db.open_database(settings, durable=durable)
        if look_up is not None:
            db.read(look_up)
        with recorded_run(name, report, dry_run) as owner, stop_signals() as stopping:
            formatter.run = None if dry_run else owner.rpartition(":")[2]
            mark = Mark(settings.state_dir)
            if not dry_run and mark.begin_run():
                report.fail("restored")
            run = Run(settings, vault, owner, stopping, remember=mark.remember)
            job(replace(run, progress=progress) if progress else run, report)
            if not mark.usable:
                report.fail("mark_failed")
            log.info("done %s", summary(report.counts))
        return EXIT_SOME_FAILED if report.failed else EXIT_DONE
    except ConfigurationError as error:
        log.error("configuration: %s", error)
        return EXIT_CONFIGURATION
    except Refused as error:
        log.error("%s", error)
        return EXIT_SOME_FAILED
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
def recorded_run(name: str, report: Report, dry_run: bool) -> Iterator[str]:
    """A row in cron_runs from start to end; a killed run leaves it without an end.

    Yields the run's owner: host:pid:run.
    """
    host, pid = socket.gethostname(), os.getpid()
    if dry_run:
        yield f"{host}:{pid}:dry"
        return
    run_id = db.write(runs.record_start, name, host, pid)
    status = EXIT_INTERNAL
    try:
        yield f"{host}:{pid}:{run_id}"
        status = EXIT_SOME_FAILED if report.failed else EXIT_DONE
    finally:
        with contextlib.suppress(SQLAlchemyError):  # the first error is the one to tell
            db.write(runs.record_end, run_id, status, report.counts)
            db.write(runs.forget_old_runs, name)


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
