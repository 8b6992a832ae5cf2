"""An IMAP server that answers by the book, but for the commands that a test scripts.

    with ScriptedImapServer() as server:
        server.folders["INBOX"].mails[7] = raw
        server.script["LOGIN"] = lambda command: Reply(b"* BYE too many connections", close=True)

A script gets the command and returns its Reply, or None for the answer by the book. A line of a
Reply may hold {tag}. What clients said stands in `commands`, literals and sign-ins included.
It listens in plain text on loopback.
"""

from __future__ import annotations

import base64
import contextlib
import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from types import TracebackType
from typing import Self

from tests.servers.shared import HOST

CAPABILITIES = b"IMAP4rev1 AUTH=PLAIN SPECIAL-USE"
DATE_TIME = "%d-%b-%Y %H:%M:%S +0000"
INTERNALDATE = (datetime.now(UTC) - timedelta(hours=1)).strftime(DATE_TIME).encode()
HEADER_FIELDS = re.compile(rb"BODY\.PEEK(\[HEADER\.FIELDS \([^)]*\)\])", re.IGNORECASE)


@dataclass(frozen=True)
class Command:
    """One command of a client. name: in capitals, such as `UID FETCH`."""

    tag: str
    name: str
    arguments: bytes
    folder: Folder | None  # the open one


@dataclass(frozen=True)
class Reply:
    """What is sent, line by line; then the connection is closed if `close`. raw: no line ends.

    drip: a byte now and then, until the client goes away or the server's `drip` is set.
    """

    text: bytes = b""
    close: bool = False
    raw: bool = False
    drip: bool = False


Script = Callable[[Command], Reply | None]


@dataclass
class Folder:
    """Mails by UID. sizes: what RFC822.SIZE says, where it is not the truth.

    dates: when they arrived (aware UTC); an hour ago where it does not say.
    """

    uidvalidity: int = 1
    mails: dict[int, bytes] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)
    flags: bytes = b""
    dates: dict[int, datetime] = field(default_factory=dict)

    def internaldate(self, uid: int) -> bytes:
        moment = self.dates.get(uid)
        return moment.strftime(DATE_TIME).encode() if moment else INTERNALDATE

    @property
    def uidnext(self) -> int:
        return max(self.mails, default=0) + 1


class ScriptedImapServer:
    """The server in a thread; any user name and password will do."""

    def __init__(self) -> None:
        self.folders = {"INBOX": Folder(), "Sent": Folder(flags=b"\\Sent")}
        self.script: dict[str, Script] = {}
        self.greeting = Reply(b"* OK ready")
        self.commands: list[str] = []
        self.drip = threading.Event()
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            disable_nagle_algorithm = True  # answers go out line by line

            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):
                    _Session(outer, self.rfile, self.wfile).serve()

        self._server = socketserver.ThreadingTCPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        self.host = HOST
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
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
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def rows(self, folder: Folder, uids: bytes, items: bytes) -> Iterator[bytes]:
        """The FETCH rows of an answer by the book."""
        for uid in _chosen(folder, uids):
            yield fetch_row(folder, uid, items)

    def asked(self, name: str) -> list[str]:
        """The commands of this name that came, without their tags."""
        return [command for command in self.commands if command.startswith(name)]


class _Session:
    """One connection."""

    def __init__(self, server: ScriptedImapServer, rfile: object, wfile: object) -> None:
        self._server, self._in, self._out = server, rfile, wfile
        self._folder: Folder | None = None
        self._open = True

    def serve(self) -> None:
        self._send(self._server.greeting, "*")
        while self._open and (line := self._in.readline()):  # type: ignore[attr-defined]
            self._answer(*_split(line))

    def _answer(self, tag: str, name: str, arguments: bytes) -> None:
        self._server.commands.append(f"{name} {arguments.decode('utf-8', 'replace')}".strip())
        script = self._server.script.get(name)
        reply = script(Command(tag, name, arguments, self._folder)) if script else None
        self._send(reply or self._by_the_book(tag, name, arguments), tag)

    def _send(self, reply: Reply, tag: str) -> None:
        text = reply.text.replace(b"{tag}", tag.encode())
        if text and not reply.raw:
            text += b"\r\n"
        if reply.drip:
            while text and not self._server.drip.wait(0.2):
                self._out.write(text[:1])  # type: ignore[attr-defined]
                text = text[1:]
        self._out.write(text)  # type: ignore[attr-defined]
        self._out.flush()  # type: ignore[attr-defined]
        self._open = self._open and not reply.close

    def _by_the_book(self, tag: str, name: str, arguments: bytes) -> Reply:
        if name == "LOGOUT":
            return Reply(b"* BYE\r\n{tag} OK bye", close=True)
        if name == "AUTHENTICATE":
            return self._authenticate(tag)
        answers: dict[str, Callable[[bytes], Iterator[bytes]]] = {
            "CAPABILITY": lambda _: iter([b"* CAPABILITY " + CAPABILITIES]),
            "LIST": self._list,
            "STATUS": self._status,
            "EXAMINE": self._examine,
            "UID SEARCH": self._search,
            "UID FETCH": self._fetch,
        }
        lines = answers[name](arguments) if name in answers else iter(())
        return Reply(b"\r\n".join([*lines, b"{tag} OK done"]))

    def _authenticate(self, tag: str) -> Reply:
        self._send(Reply(b"+ "), tag)
        answer = self._in.readline()  # type: ignore[attr-defined]
        self._server.commands.append("+ " + base64.b64decode(answer).decode())
        return Reply(b"{tag} OK done")

    def _list(self, _: bytes) -> Iterator[bytes]:
        for name, folder in self._server.folders.items():
            yield b'* LIST (%s) "/" "%s"' % (folder.flags, name.encode())

    def _status(self, arguments: bytes) -> Iterator[bytes]:
        name = _name(arguments)
        folder = self._server.folders[name]
        yield b'* STATUS "%s" (MESSAGES %d UIDNEXT %d UIDVALIDITY %d)' % (
            name.encode(),
            len(folder.mails),
            folder.uidnext,
            folder.uidvalidity,
        )

    def _examine(self, arguments: bytes) -> Iterator[bytes]:
        self._folder = self._server.folders[_name(arguments)]
        yield b"* %d EXISTS" % len(self._folder.mails)
        yield b"* OK [UIDVALIDITY %d] fine" % self._folder.uidvalidity

    def _search(self, arguments: bytes) -> Iterator[bytes]:
        assert self._folder is not None
        words = arguments.split()
        found = _chosen(self._folder, words[words.index(b"UID") + 1])
        if b"SINCE" in words:
            since = _date(words[words.index(b"SINCE") + 1])
            found = [uid for uid in found if _date(self._folder.internaldate(uid)) >= since]
        yield b" ".join([b"* SEARCH", *(b"%d" % uid for uid in found)])

    def _fetch(self, arguments: bytes) -> Iterator[bytes]:
        assert self._folder is not None
        uids, _, items = arguments.partition(b" ")
        yield from self._server.rows(self._folder, uids, items)


def fetch_row(folder: Folder, uid: int, items: bytes) -> bytes:
    """A whole FETCH row with the items that were asked for."""
    raw = folder.mails[uid]
    row = [b"UID %d" % uid]
    if b"RFC822.SIZE" in items:
        row.append(b"RFC822.SIZE %d" % folder.sizes.get(uid, len(raw)))
    if b"INTERNALDATE" in items:
        row.append(b'INTERNALDATE "%s"' % folder.internaldate(uid))
    if match := HEADER_FIELDS.search(items):
        head = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        row.append(b"BODY%s {%d}\r\n%s" % (match[1], len(head), head))
    if b"BODY.PEEK[]" in items:
        row.append(b"BODY[] {%d}\r\n%s" % (len(raw), raw))
    return b"* %d FETCH (%s)" % (sorted(folder.mails).index(uid) + 1, b" ".join(row))


def _split(line: bytes) -> tuple[str, str, bytes]:
    tag, _, rest = line.rstrip(b"\r\n").partition(b" ")
    name, _, arguments = rest.partition(b" ")
    if name.upper() == b"UID":
        second, _, arguments = arguments.partition(b" ")
        name += b" " + second
    return tag.decode(), name.decode().upper(), arguments


def _name(arguments: bytes) -> str:
    quoted = re.match(rb'"([^"]*)"|(\S+)', arguments)
    assert quoted is not None
    return (quoted[1] or quoted[2]).decode()


def _date(text: bytes) -> date:
    if not text:
        return datetime.now(UTC).date()
    return datetime.strptime(text.decode().strip('"')[:11], "%d-%b-%Y").date()  # noqa: DTZ007


def _chosen(folder: Folder, uids: bytes) -> list[int]:
    wanted: set[int] = set()
    for part in uids.decode().split(","):
        low, _, high = part.partition(":")
        wanted |= {uid for uid in folder.mails if int(low) <= uid <= int(high or low)}
    return sorted(wanted)
