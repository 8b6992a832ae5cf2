"""A small mail provider on loopback: an IMAP and an SMTP server that carry mail to each other.

    with MailServers() as servers:
        account = servers.add_account("factures@atelier.example", "secret")
        ... servers.imap_port, servers.smtp_port ...

What is sent arrives: a mail from an account lies in the INBOX of every recipient who has an
account here and, as at Gmail, a copy in the sender's own Sent folder; for every recipient whom
nobody knows a delivery status notification comes back to the sender's INBOX. All of it has
happened when the SMTP client reads its 250. Nothing leaves this process, nothing is on disk.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from backend.demo import smtp_server
from backend.demo.imap_server import SENT, EmbeddedImap
from backend.demo.smtp_server import Accepted

T = TypeVar("T")
START_SECONDS = 20
CALL_SECONDS = 60


@dataclass(frozen=True)
class Account:
    """A mailbox of the embedded servers; the user name of both servers is the address."""

    address: str
    username: str
    password: str = field(repr=False)


class MailServers:
    """The pair, in a thread of its own. Every method may be called from any thread.

    tls: a server-side context; without it there is no STARTTLS and no TLS port.
    """

    host = "127.0.0.1"
    imap_port: int
    smtp_port: int
    imap_tls_port: int | None = None
    smtp_tls_port: int | None = None

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="mail servers", daemon=True)
        self._servers: list[asyncio.Server] = []
        self._imap: EmbeddedImap

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen on free ports; they accept connections when this returns."""
        self._thread.start()
        self._call(self._listen(), START_SECONDS)

    def stop(self) -> None:
        """Close the listeners and every connection, and end the thread."""
        self._call(self._close(), CALL_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def add_account(self, address: str, password: str) -> Account:
        """A mailbox with an empty INBOX and an empty Sent folder."""
        self._call(self._imap.add_user(address, password))
        return Account(address=address, username=address, password=password)

    def append(
        self,
        address: str,
        raw: bytes,
        folder: str = "INBOX",
        when: datetime | None = None,
        *,
        seen: bool = False,
    ) -> None:
        """Put the bytes into a folder as they are. when: aware, INTERNALDATE; None is now."""
        self._call(self._imap.append(address, raw, folder, when=when, seen=seen))

    def messages(self, address: str, folder: str = "INBOX") -> list[bytes]:
        """The raw mails of a folder in the order of their UIDs; no flag is changed."""
        return self._call(self._imap.messages(address, folder))

    def create_folder(self, address: str, folder: str) -> None:
        """An empty folder without SPECIAL-USE."""
        self._call(self._imap.create_folder(address, folder))

    def new_uidvalidity(self, address: str, folder: str = "INBOX") -> None:
        """Renumber the folder: the same mails under a new UIDVALIDITY and new UIDs."""
        self._call(self._imap.renumber(address, folder))

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, work: Coroutine[Any, Any, T], seconds: float = CALL_SECONDS) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    async def _listen(self) -> None:
        self._imap = EmbeddedImap()
        imap = await self._imap.listen(self._tls)
        smtp = await smtp_server.listen(self._imap.password_of, self._deliver, self._tls)
        self._servers = [*imap, *smtp]
        self.imap_port, self.smtp_port = _port(imap[0]), _port(smtp[0])
        if self._tls:
            self.imap_tls_port, self.smtp_tls_port = _port(imap[1]), _port(smtp[1])

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _deliver(self, accepted: Accepted) -> None:
        for recipient in accepted.recipients:
            if self._imap.password_of(recipient) is None:
                mail = smtp_server.bounce(accepted, recipient)
                await self._imap.append(accepted.sender, mail, "INBOX", when=None, seen=False)
            else:
                mail = smtp_server.received(accepted, recipient)
                await self._imap.append(recipient, mail, "INBOX", when=None, seen=False)
        await self._imap.append(accepted.sender, accepted.raw, SENT, when=None, seen=True)


def _port(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])
