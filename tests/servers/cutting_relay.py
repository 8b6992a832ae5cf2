"""A relay before a real SMTP server that breaks a conversation at a chosen point.

The point is chosen by the recipient's local part, BREAK-POINT...:

    cut-before-data    DATA does not reach the server, and both sides lose the connection
    mute-before-data   the server gets DATA; its answer does not come through
    cut-after-data     the 354 comes through; the first bytes of the body do not, and the
                       connection is lost
    cut-after-dot      the server has taken the mail, and its answer is lost with the connection
    mute-after-dot     the server has taken the mail; its answer does not come through

Everything else goes through as it is: the server's answers are its own.
"""

from __future__ import annotations

import re
import socket
import socketserver
import threading
from types import TracebackType
from typing import Any, Self

from tests.servers.shared import HOST

_WANTED = re.compile(rb"RCPT TO:<(cut|mute)-(before-data|after-data|after-dot)", re.I)
SECONDS = 30.0


class CuttingRelay:
    """Listens on a port of its own before `server`; asks it what was delivered."""

    host = HOST
    sign_in = False

    def __init__(self, server: Any) -> None:
        self._server = server
        self._listener = _Listener((HOST, 0), _Conversation)
        self._listener.target = (server.host, server.port)
        self.port: int = self._listener.server_address[1]
        self._thread = threading.Thread(
            target=self._listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def delivered(self, address: str) -> list[bytes]:
        return list(self._server.delivered(address))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()


class _Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    target: tuple[str, int]


class _Conversation(socketserver.StreamRequestHandler):
    """One line of the client, then one answer of the server; the body has no answers."""

    timeout = SECONDS
    disable_nagle_algorithm = True  # answers go out line by line
    server: _Listener

    def handle(self) -> None:
        with socket.create_connection(self.server.target, timeout=SECONDS) as upstream:
            upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answers = upstream.makefile("rb")
            try:
                self._answer(answers)
                self._relay(upstream, answers)
            except (OSError, _Broken):
                return

    def _relay(self, upstream: socket.socket, answers: Any) -> None:
        breaks, point = b"", b""
        while line := self.rfile.readline():
            if wanted := _WANTED.match(line):
                breaks, point = wanted.groups()
            data = line.upper().strip() == b"DATA"
            if data and (breaks, point) == (b"cut", b"before-data"):
                return
            upstream.sendall(line)
            mute = data and (breaks, point) == (b"mute", b"before-data")
            code = self._answer(answers, mute=mute)
            if data and code == b"354":
                self._body(upstream, cut=point == b"after-data")
                self._answer(answers, mute=breaks == b"mute", cut=point == b"after-dot")
                breaks, point = b"", b""

    def _body(self, upstream: socket.socket, *, cut: bool) -> None:
        while line := self.rfile.readline():
            if cut:
                raise _Broken
            upstream.sendall(line)
            if line == b".\r\n":
                return

    def _answer(self, answers: Any, *, mute: bool = False, cut: bool = False) -> bytes:
        """Hand on one reply (RFC 5321, 4.2.1: the last line has a space after its code)."""
        while line := answers.readline():
            if not mute and not cut:
                self.wfile.write(line)
            if line[3:4] != b"-":
                break
        if mute:
            self.rfile.readline()  # until the client gives up
        if mute or cut or not line:
            raise _Broken
        return bytes(line[:3])


class _Broken(Exception):
    """The conversation is over: both connections are closed as they are."""
