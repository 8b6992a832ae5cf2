"""An SMTP server that fails on demand, chosen by the recipient's local part.

    FAULT-at-STAGE...@any.domain      for example  drop-at-data.17@example.test

    stage   when                                   faults
    mail    the answer to MAIL FROM                4xx wait 5xx 421 odd drop silence
    rcpt    the answer to RCPT TO                  4xx wait 5xx 421 odd drop silence
    data    the answer to DATA, before any body    4xx wait 5xx 421 odd drop silence
    body    354 has been sent, the body is coming  drop (at once), cut (in the middle), silence
    dot     the answer to the final dot            4xx wait 5xx 421 354 odd drop silence lost bye

`wait` is a 4xx that states a delay, `354` is what no server may answer there, `odd` a refusal with
control characters in it. `drop` closes the connection without an answer, `silence` keeps it open
and says nothing until the client gives up. At the final dot, `drop` and `silence` come after the
mail has been accepted (its answer is lost), `lost` closes the connection without having accepted
it: the client cannot tell. `bye` accepts and answers, and then closes the connection, as servers do
with one that is idle. The stage `mail` goes by the sender's local part instead of the recipient's.
Every other recipient gets its mail. `at_connect` is a fault of the greeting: 421, drop, silence.

Accepted mails are lines of JSON in a file, written before the answer goes out, so that a process
that is killed meanwhile, or another one, can be compared with what the server really took.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.parser import BytesHeaderParser
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers.shared import HOST

FAULT = re.compile(r"(?P<fault>[a-z0-9]+)-at-(?P<stage>mail|rcpt|data|body|dot)\b")
REPLIES = {
    "4xx": "451 4.3.0 Try again later",
    "wait": "450 4.2.1 Greylisted for 10 minutes",
    "5xx": "554 5.7.1 Refused",
    "421": "421 4.3.2 Service shutting down",
    "354": "354 Still listening",
    "odd": "554 5.7.1 Not\x00 \x1b[31mtoday",
}
SILENCE_SECONDS = 60.0
CUT_AFTER_LINES = 5


@dataclass(frozen=True)
class AcceptedMail:
    """A line of the record. answered: whether the client was told."""

    at: datetime
    message_id: str | None
    mail_from: str
    recipients: tuple[str, ...]
    raw: bytes = field(repr=False)
    answered: bool


class FaultySmtpServer:
    """The server in a thread. AUTH PLAIN and LOGIN accept `password` and nothing else."""

    host = HOST
    password = "faulty secret"

    def __init__(self, record: Path, at_connect: str | None = None) -> None:
        self.record = record
        self.at_connect = at_connect
        self.connections = 0
        self.when_data_comes: Callable[[], object] = lambda: None  # run before DATA is answered
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._server = _ThreadingServer((HOST, 0), _Conversation)
        self._server.owner = self
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def accepted(self) -> list[AcceptedMail]:
        """What was accepted so far, oldest first."""
        if not self.record.exists():
            return []
        return [_read(line) for line in self.record.read_text().splitlines()]

    def accept(self, mail: AcceptedMail) -> None:
        """Write the mail down, before its answer goes out."""
        line = json.dumps(_line(mail)) + "\n"
        with self._lock, self.record.open("a") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


class _ThreadingServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    owner: FaultySmtpServer


class _HangUp(Exception):
    """The conversation is over: the connection is closed as it is."""


class _Conversation(socketserver.StreamRequestHandler):
    timeout = SILENCE_SECONDS
    disable_nagle_algorithm = True  # answers go out line by line
    server: _ThreadingServer

    def setup(self) -> None:
        super().setup()
        self.mail_from = ""
        self.recipients: list[str] = []

    def handle(self) -> None:
        try:
            self._greet()
            while line := self.rfile.readline(4096):
                self._answer(line.decode("utf-8", "replace").rstrip("\r\n"))
        except (_HangUp, OSError):
            return

    def finish(self) -> None:
        try:
            super().finish()
        except OSError:
            return  # the client has gone first

    def _greet(self) -> None:
        self.server.owner.connections += 1
        if fault := self.server.owner.at_connect:
            self._fail(fault)
        self._say("220 faulty.example.test ESMTP")

    def _answer(self, line: str) -> None:
        verb, _, argument = line.partition(" ")
        answer: Any = getattr(self, f"_on_{verb.lower()}", None)
        if answer is None:
            self._say("502 5.5.1 Not implemented")
        else:
            answer(argument)

    def _on_ehlo(self, _argument: str) -> None:
        self._say("250-faulty.example.test", "250-8BITMIME", "250-SMTPUTF8", "250 AUTH PLAIN LOGIN")

    def _on_auth(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        if mechanism.upper() == "LOGIN":
            if not initial:
                self._ask("334 VXNlcm5hbWU6")
            password = self._ask("334 UGFzc3dvcmQ6")
        else:
            password = (initial and _base64(initial)) or self._ask("334 ")
        if password.rpartition("\0")[2] != self.server.owner.password:
            self._say("535 5.7.8 Authentication credentials invalid")
        else:
            self._say("235 2.7.0 Signed in")

    def _on_mail(self, argument: str) -> None:
        self.mail_from, self.recipients = _path(argument), []
        if not self._meets_fault("mail", [self.mail_from]):
            self._say("250 2.1.0 OK")

    def _on_rcpt(self, argument: str) -> None:
        recipient = _path(argument)
        if self._meets_fault("rcpt", [recipient]):
            return
        self.recipients.append(recipient)
        self._say("250 2.1.5 OK")

    def _on_data(self, _argument: str) -> None:
        if self._meets_fault("data", self.recipients):
            return
        self.server.owner.when_data_comes()
        self._say("354 Go ahead")
        raw = self._body(_fault("body", self.recipients))
        fault = _fault("dot", self.recipients)
        if fault in REPLIES:
            self._fail(fault)
        elif fault == "lost":
            raise _HangUp
        else:
            self._accept(raw, answered=fault in (None, "bye"))
            if fault in ("drop", "silence"):
                self._fail(fault)
            self._say("250 2.0.0 Accepted")
            if fault == "bye":
                raise _HangUp

    def _on_rset(self, _argument: str) -> None:
        self.recipients = []
        self._say("250 2.0.0 OK")

    def _on_noop(self, _argument: str) -> None:
        self._say("250 2.0.0 OK")

    def _on_quit(self, _argument: str) -> None:
        self._say("221 2.0.0 Bye")
        raise _HangUp

    def _body(self, fault: str | None) -> bytes:
        if fault in ("drop", "silence"):
            self._fail(fault)
        lines: list[bytes] = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line[1:] if line.startswith(b".") else line)
            if fault == "cut" and len(lines) == CUT_AFTER_LINES:
                raise _HangUp
        if line == b"":
            raise _HangUp  # the client went away before the final dot: nothing was accepted
        return b"".join(lines)

    def _accept(self, raw: bytes, *, answered: bool) -> None:
        headers = BytesHeaderParser().parsebytes(raw)
        mail = AcceptedMail(
            at=datetime.now(UTC),
            message_id=headers["Message-ID"],
            mail_from=self.mail_from,
            recipients=tuple(self.recipients),
            raw=raw,
            answered=answered,
        )
        self.server.owner.accept(mail)

    def _meets_fault(self, stage: str, recipients: list[str]) -> bool:
        fault = _fault(stage, recipients)
        if fault:
            self._fail(fault)
        return fault is not None

    def _fail(self, fault: str) -> None:
        if fault in REPLIES:
            self._say(REPLIES[fault])
        if fault in ("421", "drop"):
            raise _HangUp
        if fault == "silence":
            self._wait_for_the_client_to_leave()

    def _wait_for_the_client_to_leave(self) -> None:
        while self.rfile.readline(4096) and not self.server.owner.stopping.is_set():
            continue
        raise _HangUp

    def _ask(self, challenge: str) -> str:
        self._say(challenge)
        return _base64(self.rfile.readline(4096).decode("ascii", "replace"))

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())


def _fault(stage: str, recipients: list[str]) -> str | None:
    for recipient in recipients:
        found = FAULT.match(recipient)
        if found and found["stage"] == stage:
            return found["fault"]
    return None


def _path(argument: str) -> str:
    return argument.partition("<")[2].partition(">")[0]


def _base64(text: str) -> str:
    return base64.b64decode(text).decode("utf-8", "replace")


def _line(mail: AcceptedMail) -> dict[str, Any]:
    return {
        "at": mail.at.isoformat(),
        "message_id": mail.message_id,
        "mail_from": mail.mail_from,
        "recipients": mail.recipients,
        "raw": base64.b64encode(mail.raw).decode(),
        "answered": mail.answered,
    }


def _read(line: str) -> AcceptedMail:
    values = json.loads(line)
    return AcceptedMail(
        at=datetime.fromisoformat(values["at"]),
        message_id=values["message_id"],
        mail_from=values["mail_from"],
        recipients=tuple(values["recipients"]),
        raw=base64.b64decode(values["raw"]),
        answered=values["answered"],
    )
