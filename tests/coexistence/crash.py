"""A script that kills itself at a given crash point, in a process of its own.

Crash points: before each statement, before and after each commit, before and after each SMTP
command and in the middle of a mail's body, after each SMTP reply, before each IMAP command, and
before an attachment is safe on disk. Between two of them nothing leaves the process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import smtplib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imapclient import tls as imap_tls
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from backend.scripts import send_automatic_followups, sync_emails_periodic
from tests.installation import Installation

SCRIPTS: Mapping[str, Callable[[list[str]], int]] = {
    "sync": sync_emails_periodic.main,
    "followups": send_automatic_followups.main,
}
LONGEST_COMMAND = 1000  # octets; what is longer is a mail
END_SECONDS = 60

# Children of a clean process with a single thread: the tests' own has servers in threads.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["pytest", __name__])


@dataclass(frozen=True)
class Crashed:
    """How a run ended. label: the crash point at which it was killed, None if it was not."""

    status: int
    label: str | None
    log: str


def run_until(
    installation: Installation, script: str, arguments: Sequence[object], point: int | str
) -> Crashed:
    """Run a script up to a crash point, or to its end.

    point: its number, the first is 0; or a label, of which the first is meant.
    """
    log, label = installation.directory / "crash.log", installation.directory / "crash.label"
    label.unlink(missing_ok=True)
    child = processes.Process(
        target=_run,
        args=(installation.environment, script, [str(a) for a in arguments], point, log, label),
    )
    child.start()
    child.join(END_SECONDS)
    assert child.exitcode is not None, "the run does not end"
    killed = child.exitcode == -signal.SIGKILL
    return Crashed(child.exitcode, label.read_text() if killed else None, log.read_text())


def _run(
    environment: Mapping[str, str],
    script: str,
    arguments: list[str],
    point: int | str,
    log: Path,
    label: Path,
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), sys.stderr.fileno())
    CrashPoints(point, label).install()
    sys.exit(SCRIPTS[script](arguments))


class CrashPoints:
    """Counts the points that a run passes, and ends it at one of them."""

    def __init__(self, point: int | str, label: Path) -> None:
        self._point = point
        self._label = label
        self._passed = 0

    def pass_by(self, label: str) -> None:
        if self._point in (self._passed, label):
            self._label.write_text(label)
            os.kill(os.getpid(), signal.SIGKILL)
        self._passed += 1

    def install(self) -> None:
        event.listen(Engine, "before_cursor_execute", self._statement)
        event.listen(Engine, "commit", lambda _: self.pass_by("before COMMIT"))
        event.listen(Session, "after_commit", lambda _: self.pass_by("after COMMIT"))
        self._install_smtp()
        self._before(imap_tls.IMAP4_TLS, "send", "IMAP command")
        self._before(os, "fsync", "an attachment is safe")

    def _statement(self, _connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        self.pass_by("before " + " ".join(statement.split())[:60])

    def _before(self, owner: Any, name: str, what: str) -> None:
        original = getattr(owner, name)

        def wrapped(*arguments: Any) -> Any:
            self.pass_by(f"before {what}")
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


def _name_of(raw: bytes) -> str:
    if len(raw) > LONGEST_COMMAND:
        return "the mail"
    return "the final dot" if raw == b".\r\n" else repr(raw[:20])
