"""A mail server as far away as most are: a relay that hands on what it gets a moment later."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

CHUNK = 65_536


class Relay:
    """Hands on each piece `seconds` later, in both directions; connecting costs nothing."""

    def __init__(self, host: str, port: int, seconds: float) -> None:
        self._target = (host, port)
        self._seconds = seconds
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, host: str) -> asyncio.Server:
        return await asyncio.start_server(self._carry, host, 0, backlog=1000)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._target)
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        later = asyncio.get_running_loop().call_later
        try:
            while data := await source.read(CHUNK):
                later(self._seconds, sink.write, data)
        except ConnectionError:
            pass  # the other end has gone, and both are closed now
        later(self._seconds, sink.close)


@contextmanager
def relayed(host: str, port: int, seconds: float) -> Iterator[int]:
    """The port at which the server at host:port answers with a round trip of twice `seconds`."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(Relay(host, port, seconds).serve(host))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
