"""Twilio's API for text messages, as its documentation has it, on loopback over TLS.

    POST /2010-04-01/Accounts/{sid}/Messages.json    201 with the message, or an error document
    GET  /2010-04-01/Accounts/{sid}/Messages.json    what was sent, by To and DateSent>
    GET  /2010-04-01/Accounts/{sid}.json             the account

Signed in by Basic, with the account's own token or an API key. What goes wrong is chosen by the
recipient: see `fail`.
"""

from __future__ import annotations

import json
import secrets
import threading
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.servers.certificates import Certificates
from tests.servers.shared import HOST

ACCOUNT = "AC" + "5" * 32
TOKEN = "auth token 7c1"
SENDER = "Dubois"


@dataclass
class Message:
    """What a telephone would have got, with what the API says of it."""

    sender: str
    recipient: str
    text: str
    sid: str = field(default_factory=lambda: "SM" + secrets.token_hex(16))
    status: str = "queued"
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def document(self) -> dict[str, Any]:
        created = format_datetime(self.created.replace(microsecond=0))
        return {
            "sid": self.sid,
            "account_sid": ACCOUNT,
            "from": self.sender,
            "to": self.recipient,
            "body": self.text,
            "status": self.status,
            "direction": "outbound-api",
            "num_segments": "1",
            "date_created": created,
            "date_sent": None,
            "error_code": None,
        }


@dataclass(frozen=True)
class Fault:
    """What comes instead of a 201.

    status 0: the connection ends without an answer; None: no answer until the client leaves.
    taken: the message goes out all the same. raw: the body instead of an error document.
    """

    status: int | None
    code: int = 0
    words: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    taken: bool = False
    raw: bytes | None = None


class TwilioServer:
    """sent: every message that was taken, in order. asked: how many POSTs came, signed in.

    refused: how many requests had the wrong name or secret.
    """

    def __init__(self, certificates: Certificates) -> None:
        self.sent: list[Message] = []
        self.asked = 0
        self.refused = 0
        self.lists_failing = False
        self.tokens = {ACCOUNT: TOKEN}  # user name -> secret
        self.on_request: Callable[[dict[str, str]], None] = lambda form: None
        self._faults: dict[str, Fault] = {}
        self._left = threading.Event()
        self._server = ThreadingHTTPServer((HOST, 0), _Handler)
        self._server.twilio = self  # type: ignore[attr-defined]
        context = certificates.server_context()
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"https://localhost:{self._server.server_port}"

    def fail(self, recipient: str, fault: Fault) -> None:
        """From now on, for messages to this number."""
        self._faults[recipient] = fault

    def heal(self, recipient: str) -> None:
        del self._faults[recipient]

    def to(self, recipient: str) -> list[Message]:
        return [message for message in self.sent if message.recipient == recipient]

    # -- answers ---------------------------------------------------------------------------------

    def signed_in(self, header: str) -> bool:
        kind, _, token = header.partition(" ")
        name, _, secret = b64decode(token).decode().partition(":")
        return kind == "Basic" and self.tokens.get(name) == secret

    def create(self, form: dict[str, str]) -> tuple[Fault, bytes]:
        self.asked += 1
        self.on_request(form)
        fault = self._faults.get(form["To"])
        message = Message(form["From"], form["To"], form["Body"])
        if fault is None or fault.taken:
            self.sent.append(message)
        if fault is None:
            return Fault(201), json.dumps(message.document).encode()
        if fault.status is None:
            self._left.wait(10)
        if fault.raw is not None:
            return fault, fault.raw
        return fault, error_document(fault.status or 0, fault.code, fault.words)

    def listed(self, query: dict[str, str]) -> bytes:
        since = query.get("DateSent>", "0000-00-00")
        found = [
            message.document
            for message in reversed(self.sent)
            if message.recipient == query.get("To", message.recipient)
            and message.created.date().isoformat() >= since
        ]
        return json.dumps({"messages": found[: int(query.get("PageSize", 50))]}).encode()


def error_document(status: int, code: int, words: str) -> bytes:
    link = f"https://www.twilio.com/docs/errors/{code}"
    document = {"code": code, "message": words, "more_info": link, "status": status}
    return json.dumps(document).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def twilio(self) -> TwilioServer:
        return self.server.twilio  # type: ignore[attr-defined, no-any-return]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if not self._is_welcome():
            return
        form = {name: values[0] for name, values in parse_qs(body).items()}
        fault, answer = self.twilio.create(form)
        if not fault.status:
            self.close_connection = True
            return
        self._answer(fault.status, answer, fault.headers)

    def do_GET(self) -> None:
        if not self._is_welcome():
            return
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path.endswith("/Messages.json"):
            if self.twilio.lists_failing:
                self._answer(500, error_document(500, 20500, "Internal Server Error"))
            else:
                self._answer(200, self.twilio.listed(query))
        else:
            self._answer(200, json.dumps({"sid": ACCOUNT, "status": "active"}).encode())

    def _is_welcome(self) -> bool:
        if not self.twilio.signed_in(self.headers.get("Authorization", "")):
            self.twilio.refused += 1
            self._answer(401, error_document(401, 20003, "Authenticate"))
            return False
        if not self.path.startswith(f"/2010-04-01/Accounts/{ACCOUNT}"):
            words = f"The requested resource {self.path} was not found"
            self._answer(404, error_document(404, 20404, words))
            return False
        return True

    def _answer(self, status: int, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self.send_response_only(status)
        if "Date" not in dict(headers):
            self.send_header("Date", self.date_time_string())
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Nothing: a test's output is its own."""
