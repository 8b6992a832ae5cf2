"""The cable between a host and a server: bytes go through it, until it is cut.

What is under way while it is cut arrives when it is mended, as with TCP; nobody is told.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

CHUNK = 65536
GATHERING_SECONDS = 60.0

Address = tuple[str, int] | str  # host and port, or the path of a Unix socket


class Link:
    """Listens on a port of its own before a server.

    gather(n)           the next n connections wait until all of them are there
    when_said(b, act)   act() once, before a client's bytes that contain b are handed on: cut() then
                        lets the server have them, and the client no answer; the event is set
                        after act()
    cut(), mend()       silence in both directions, closed connections included
    drop()              every connection is closed, and no further one is accepted
    """

    def __init__(self, target: Address, listen_on: str) -> None:
        self._target = target
        self._listener = socket.create_server((listen_on, 0), backlog=100)
        self.port: int = self._listener.getsockname()[1]
        self._whole = threading.Event()
        self._whole.set()
        self._gathering: threading.Barrier | None = None
        self._to_gather = 0
        self._watched: tuple[bytes, Callable[[], None], threading.Event] | None = None
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):  # dropped before
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._whole.set()
        self._thread.join()

    def gather(self, number: int) -> None:
        self._gathering, self._to_gather = threading.Barrier(number), number

    def when_said(self, words: bytes, act: Callable[[], None]) -> threading.Event:
        said = threading.Event()
        self._watched = (words, act, said)
        return said

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        self._whole.set()

    def drop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed: the end
            while True:
                client, _ = self._listener.accept()
                waits = self._to_gather > 0
                self._to_gather -= waits
                threading.Thread(target=self._carry, args=(client, waits), daemon=True).start()

    def _carry(self, client: socket.socket, waits: bool) -> None:
        if waits and self._gathering is not None:
            self._gathering.wait(GATHERING_SECONDS)
        no_server = contextlib.suppress(ConnectionError, FileNotFoundError)
        with client, no_server, self._connect() as server:
            self._open += (client, server)
            back = threading.Thread(target=self._pump, args=(server, client, False), daemon=True)
            back.start()
            self._pump(client, server, True)
            back.join()

    def _connect(self) -> socket.socket:
        if isinstance(self._target, str):
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._target)
            except OSError:
                server.close()
                raise
            return server
        return socket.create_connection(self._target)

    def _pump(self, source: socket.socket, sink: socket.socket, from_client: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                self._whole.wait()
                if from_client:
                    self._look_at(data)
                sink.sendall(data)
        self._whole.wait()
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _look_at(self, data: bytes) -> None:
        if self._watched is not None and self._watched[0] in data:
            (_, act, said), self._watched = self._watched, None
            act()
            said.set()
