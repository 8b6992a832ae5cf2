"""A script that kills itself, or freezes, at a given crash point, in a process of its own.

Crash points: before each statement, before and after each commit, before and after each SMTP
command and in the middle of a mail's body, after each SMTP reply, before each IMAP command, and
before an attachment is safe on disk. Between two of them nothing leaves the process.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import smtplib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from imapclient import tls as imap_tls
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from backend.app import db
from backend.app.followups import send
from backend.app.inbox import copies
from backend.scripts import send_automatic_followups, sync_emails_periodic
from tests.coexistence.faults import planted
from tests.installation import Installation
from tests.servers.shared import process_state, wait_until

SCRIPTS: Mapping[str, Callable[[list[str]], int]] = {
    "sync": sync_emails_periodic.main,
    "followups": send_automatic_followups.main,
}
LONGEST_COMMAND = 1000  # octets; what is longer is a mail
IMAP_COMMAND = re.compile(rb"[A-Z]+\d+ (?P<name>(?:UID )?[A-Z]+)")
END_SECONDS = 60
FROZEN_SECONDS = 0.3  # each freeze takes longer

# Children of a clean process with a single thread: the tests' own has servers in threads.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["pytest", __name__])


@dataclass(frozen=True)
class Crashed:
    """How a run ended. label: the crash point at which it was killed, None if it was not.

    passed: how many points it passed; None for one that was killed.
    """

    status: int
    label: str | None
    log: str
    passed: int | None = None


@dataclass(frozen=True)
class Asked:
    """What a run for one company shall do.

    signal: what it sends itself at the point, SIGKILL or SIGSTOP.
    faults: names of planted faults, see faults.py.
    """

    script: str
    company_id: int
    point: int | str
    signal: int = signal.SIGKILL
    faults: Sequence[str] = ()


def run_until(
    installation: Installation,
    script: str,
    company_id: int,
    point: int | str,
    faults: Sequence[str] = (),
) -> Crashed:
    """Run a script for a company up to a crash point, or to its end.

    point: its number, the first is 0; or a label, of which the first is meant.
    """
    asked = Asked(script, company_id, point, faults=faults)
    with started(installation, asked) as run:
        return run.end()


@contextmanager
def frozen_at(
    installation: Installation, script: str, company_id: int, point: int | str
) -> Iterator[Started]:
    """A script that has stopped at a point, or has ended before it. None is left behind."""
    asked = Asked(script, company_id, point, signal.SIGSTOP)
    with started(installation, asked) as run:
        run.wait_until_it_rests()
        yield run


@contextmanager
def started(installation: Installation, asked: Asked) -> Iterator[Started]:
    run = Started(installation, asked)
    try:
        yield run
    finally:
        run.kill()


class Started:
    """A run in a child process."""

    def __init__(self, installation: Installation, asked: Asked) -> None:
        directory = installation.directory
        self._log, self._label = directory / "crash.log", directory / "crash.label"
        self._passed = directory / "crash.passed"
        for file in (self._label, self._passed):
            file.unlink(missing_ok=True)
        self._child = processes.Process(
            target=_run, args=(installation.environment, asked, directory)
        )
        self._child.start()

    @property
    def label(self) -> str | None:
        """The point at which it stopped; None when it has passed none such."""
        return self._label.read_text() if self._label.exists() else None

    def wait_until_it_rests(self) -> None:
        wait_until(self._rests, "the run stops or ends", END_SECONDS)

    def _rests(self) -> bool:
        return self._child.exitcode is not None or process_state(self._child.pid) == "T"

    def go_on(self) -> None:
        assert self._child.pid is not None
        os.kill(self._child.pid, signal.SIGCONT)

    def kill(self) -> None:
        self._child.kill()
        self._child.join(END_SECONDS)

    def end(self) -> Crashed:
        self._child.join(END_SECONDS)
        status = self._child.exitcode
        assert status is not None, "the run does not end"
        killed = status == -signal.SIGKILL
        passed = int(self._passed.read_text()) if self._passed.exists() else None
        return Crashed(status, self.label if killed else None, self._log.read_text(), passed)


def _run(environment: Mapping[str, str], asked: Asked, directory: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    log = os.open(directory / "crash.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, sys.stderr.fileno())
    points = CrashPoints(asked, directory / "crash.label")
    points.install()
    if asked.signal == signal.SIGSTOP:
        shorten_patience()
    with planted(*asked.faults):
        status = SCRIPTS[asked.script](["--company", str(asked.company_id)])
    (directory / "crash.passed").write_text(str(points.passed))
    sys.exit(status)


def shorten_patience() -> None:
    """Who is frozen for a moment shall have been so for longer than is allowed."""
    mock.patch.object(db, "IDLE_IN_TRANSACTION_SECONDS", FROZEN_SECONDS).start()
    mock.patch.object(send, "BODY_WITHIN_SECONDS", FROZEN_SECONDS).start()
    mock.patch.object(copies, "APPEND_WITHIN_SECONDS", FROZEN_SECONDS).start()


class CrashPoints:
    """Counts the points that a run passes, and ends it at one of them."""

    def __init__(self, asked: Asked, label: Path) -> None:
        self._asked = asked
        self._label = label
        self.passed = 0

    def pass_by(self, label: str) -> None:
        here = self._asked.point in (self.passed, label)
        self.passed += 1
        if here and not self._label.exists():
            self._label.write_text(label)
            os.kill(os.getpid(), self._asked.signal)

    def install(self) -> None:
        event.listen(Engine, "before_cursor_execute", self._statement)
        event.listen(Engine, "commit", lambda _: self.pass_by("before COMMIT"))
        event.listen(Session, "after_commit", lambda _: self.pass_by("after COMMIT"))
        self._install_smtp()
        self._before(imap_tls.IMAP4_TLS, "send", lambda _client, data: f"IMAP {_imap_name(data)}")
        self._before(os, "fsync", lambda _handle: "an attachment is safe")

    def _statement(self, _connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        self.pass_by("before " + " ".join(statement.split())[:60])

    def _before(self, owner: Any, name: str, what: Callable[..., str]) -> None:
        original = getattr(owner, name)

        def wrapped(*arguments: Any) -> Any:
            self.pass_by(f"before {what(*arguments)}")
            return original(*arguments)

        setattr(owner, name, wrapped)

    def _install_smtp(self) -> None:
        send, getreply = smtplib.SMTP.send, smtplib.SMTP.getreply

        def send_in_steps(client: smtplib.SMTP, data: bytes | str) -> None:
            raw = data.encode() if isinstance(data, str) else data
            what = _name_of(raw)
            self.pass_by(f"before SMTP {what}")
            if len(raw) > LONGEST_COMMAND:
                send(client, raw[: len(raw) // 2])
                self.pass_by("in the middle of the mail")
                raw = raw[len(raw) // 2 :]
            send(client, raw)
            self.pass_by(f"after SMTP {what}")

        def getreply_and_note(client: smtplib.SMTP) -> tuple[int, bytes]:
            reply = getreply(client)
            self.pass_by(f"after SMTP reply {reply[0]}")
            return reply

        smtplib.SMTP.send = send_in_steps  # type: ignore[method-assign, assignment]
        smtplib.SMTP.getreply = getreply_and_note  # type: ignore[method-assign, assignment]


def _imap_name(data: bytes) -> str:
    command = IMAP_COMMAND.match(data)
    return command["name"].decode() if command else "literal"


def _name_of(raw: bytes) -> str:
    if len(raw) > LONGEST_COMMAND:
        return "the mail"
    return "the final dot" if raw == b".\r\n" else repr(raw[:20])
