"""The embedded IMAP server: pymap in memory, with a Sent folder that LIST marks (RFC 6154)."""

from __future__ import annotations

import asyncio
import ssl
from argparse import Namespace
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from proxyprotocol.reader import ProxyProtocolReader
from pymap.backend.dict import Config, Login
from pymap.backend.dict.filter import FilterSet
from pymap.backend.dict.mailbox import MailboxSet
from pymap.concurrent import Subsystem
from pymap.config import BackendCapability
from pymap.imap import IMAPServer
from pymap.listtree import ListEntry, ListTree
from pymap.parsing.message import AppendMessage
from pymap.parsing.specials import FetchRequirement
from pymap.parsing.specials.flag import Flag, Seen
from pymap.user import UserMetadata
from pysasl.hashing import Cleartext

HOST = "127.0.0.1"
SENT = "Sent"


class EmbeddedImap:
    """Mailboxes in memory, and the listeners that serve them. For one event loop, not a thread."""

    def __init__(self) -> None:
        self._config = _config(starttls=None)
        self._config.apply_context()
        self._login = Login(self._config)

    async def listen(self, tls: ssl.SSLContext | None) -> list[asyncio.Server]:
        """Listen on a free port in plain (with STARTTLS if tls), and on a second one in TLS."""
        plain = IMAPServer(self._login, _config(starttls=tls))
        reader = ProxyProtocolReader(self._config.proxy_protocol)
        servers = [await asyncio.start_server(reader.get_callback(plain), HOST, 0)]
        if tls:
            inside = IMAPServer(self._login, self._config)
            servers.append(
                await asyncio.start_server(reader.get_callback(inside), HOST, 0, ssl=tls)
            )
        return servers

    async def add_user(self, username: str, password: str) -> None:
        """A user with an empty INBOX and an empty Sent folder."""
        folders = _Folders()
        await folders.add_mailbox(SENT)
        self._config.set_cache[username] = (folders, FilterSet())
        self._login.users_dict[username] = UserMetadata(self._config, username, password=password)

    def password_of(self, username: str) -> str | None:
        """The password, None for an unknown user."""
        user = self._login.users_dict.get(username)
        return user.password if user else None

    async def append(
        self, username: str, raw: bytes, folder: str, *, when: datetime | None, seen: bool
    ) -> None:
        """Put the bytes into the folder as they are. when: INTERNALDATE, now if None."""
        mailbox = await self._folders(username).get_mailbox(folder)
        flags: frozenset[Flag] = frozenset({Seen} if seen else ())
        # An aware time: pymap writes a naive one with the machine's zone, which INTERNALDATE lacks.
        await mailbox.append(AppendMessage(raw, when or datetime.now(UTC), flags), recent=True)

    async def messages(self, username: str, folder: str) -> list[bytes]:
        """The raw mails of the folder, in the order of their UIDs."""
        mailbox = await self._folders(username).get_mailbox(folder)
        found = []
        async for message in mailbox.messages():
            loaded = await message.load_content(FetchRequirement.CONTENT)
            found.append((message.uid, bytes(loaded.get_body(binary=True))))
        return [raw for _, raw in sorted(found)]

    async def create_folder(self, username: str, folder: str) -> None:
        """An empty folder. Raises ValueError if there is one of that name."""
        await self._folders(username).add_mailbox(folder)

    async def renumber(self, username: str, folder: str) -> None:
        """Move the mails into a new folder of the same name: new UIDVALIDITY, new UIDs."""
        folders = self._folders(username)
        await folders.rename_mailbox(folder, "being renumbered")
        if folder != "INBOX":  # renaming INBOX leaves a fresh one behind (RFC 3501, 6.3.5)
            await folders.add_mailbox(folder)
        old = await folders.get_mailbox("being renumbered")
        new = await folders.get_mailbox(folder)
        for uid in sorted([message.uid async for message in old.messages()]):
            await old.copy(uid, new)
        await folders.delete_mailbox("being renumbered")

    def _folders(self, username: str) -> MailboxSet:
        return self._config.set_cache[username][0]


class _Config(Config):
    """Passwords are demo data in memory: they are compared as they are."""

    @property
    def backend_capability(self) -> BackendCapability:
        return BackendCapability(
            idle=True, object_id=True, multi_append=True, custom=[b"SPECIAL-USE"]
        )

    @property
    def greeting(self) -> bytes:
        return b"Relance demo server ready"  # pymap's own asks the DNS for this machine's name


def _config(starttls: ssl.SSLContext | None) -> _Config:
    return _Config(
        Namespace(passlib_cfg=None, proxy_protocol=None),
        demo_data=False,
        demo_user="",
        demo_password="",
        host=HOST,
        port=0,
        tls_enabled=starttls is not None,
        ssl_context=starttls,
        reject_dnsbl=False,
        invalid_user_sleep=0.0,
        hash_context=Cleartext(),
        cpu_subsystem=Subsystem.for_asyncio(),
    )


class _Folders(MailboxSet):
    async def list_mailboxes(self) -> ListTree:
        plain = await super().list_mailboxes()
        names = [entry.name for entry in plain.list() if entry.exists]
        return _SpecialUseTree(self.delimiter).update(*names)


class _SpecialUseTree(ListTree):
    def list_matching(self, ref_name: str, filter_: str) -> Iterable[ListEntry]:
        for entry in super().list_matching(ref_name, filter_):
            yield _SentEntry(*_fields(entry)) if entry.name == SENT else entry


class _SentEntry(ListEntry):
    @property
    def attributes(self) -> Sequence[bytes]:
        return [*super().attributes, b"Sent"]


def _fields(entry: ListEntry) -> tuple[str, bool, bool | None, bool]:
    return entry.name, entry.exists, entry.marked, entry.has_children
