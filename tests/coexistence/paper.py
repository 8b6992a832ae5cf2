"""Mail servers that answer at once, for trials by the thousand: the network edge and nothing else.

The same scripts meet real servers in the other tests.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.parser import BytesHeaderParser
from typing import Any
from unittest import mock

from backend.app.followups import mail_outlet
from backend.app.inbox import sync
from backend.app.mail.endpoint import Endpoint
from backend.app.mail.folder import FetchedMail, FolderStatus, Role, ServerFolder
from tests.servers.faulty_smtp import AcceptedMail

FOLDERS = (ServerFolder("INBOX", Role.INBOX), ServerFolder("Sent", Role.SENT))


@dataclass
class PaperServers:
    """Mailboxes by user name and folder, and what the SMTP server took over.

    note: told when a body goes out.
    files_copies: whose Sent folder gets a copy of each mail that was taken over; None: nobody's.
    """

    host: str = "127.0.0.1"
    tls_port: int = 1
    port: int = 1
    note: Callable[[str], None] = lambda _: None
    files_copies: Any = None
    taken_over: list[AcceptedMail] = field(default_factory=list)
    boxes: dict[tuple[str, str], list[tuple[bytes, datetime]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def begin_again(self) -> PaperServers:
        """The same mailboxes as they are now, and nothing taken over."""
        boxes = defaultdict(list, {name: list(mails) for name, mails in self.boxes.items()})
        return replace(self, taken_over=[], boxes=boxes)

    def append(self, account: Any, raw: bytes, folder: str = "INBOX", seconds_ago: int = 0) -> None:
        """seconds_ago: when it arrived, as its INTERNALDATE says, which has whole seconds."""
        arrived = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=seconds_ago)
        self.boxes[account.username, folder].append((raw, arrived))

    def messages(self, account: Any, folder: str = "INBOX") -> list[bytes]:
        return [raw for raw, _ in self.boxes[account.username, folder]]

    def accepted(self) -> list[AcceptedMail]:
        return list(self.taken_over)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Both scripts of this process speak to these servers meanwhile."""

        @contextlib.contextmanager
        def open_mailbox(endpoint: Endpoint) -> Iterator[PaperMailbox]:
            yield PaperMailbox(self, endpoint.username)

        with (
            mock.patch.object(sync, "open_mailbox", open_mailbox),
            mock.patch.object(mail_outlet, "open_smtp", side_effect=lambda _: PaperSmtp(self)),
        ):
            yield


@dataclass
class PaperMailbox:
    """What sync asks of a MailboxConnection. UIDs count from 1."""

    servers: PaperServers
    username: str
    folder: str = "INBOX"

    def folders(self, _sent_folder: str | None = None) -> Sequence[ServerFolder]:
        return FOLDERS

    def _mails(self, folder: str) -> list[tuple[bytes, datetime]]:
        return self.servers.boxes[self.username, folder]

    def status(self, name: str) -> FolderStatus:
        number = len(self._mails(name))
        return FolderStatus(uidvalidity=1, uidnext=number + 1, messages=number)

    def examine(self, name: str) -> int:
        self.folder = name
        return 1

    def existing(self, first: int, last: int, _since: Any = None) -> list[int]:
        return [uid for uid in range(first, last + 1) if uid <= len(self._mails(self.folder))]

    uids = existing

    def sizes(self, uids: Sequence[int]) -> dict[int, int]:
        return {uid: len(self._mails(self.folder)[uid - 1][0]) for uid in uids}

    def identities(self, uids: Sequence[int]) -> dict[int, bytes]:
        mails = self._mails(self.folder)
        return {uid: mails[uid - 1][0].partition(b"\r\n\r\n")[0] for uid in uids}

    def mails(self, uids: Sequence[int]) -> list[FetchedMail]:
        return [FetchedMail(uid, *self._mails(self.folder)[uid - 1]) for uid in uids]


@dataclass
class PaperSmtp:
    """What the sender asks of an SmtpConnection: it takes over every mail."""

    servers: PaperServers
    usable: bool = True

    def answers(self) -> bool:
        return True

    def send(
        self,
        *,
        sender: str,
        recipient: str,
        raw: bytes,
        before_body: Callable[[], None],
        body_within: float,
    ) -> str:
        before_body()
        self.servers.note("body")
        name = BytesHeaderParser().parsebytes(raw)["Message-ID"]
        now = datetime.now(UTC)
        self.servers.taken_over.append(AcceptedMail(now, name, sender, (recipient,), raw, True))
        if self.servers.files_copies is not None:
            self.servers.append(self.servers.files_copies, raw, "Sent")
        return "2.0.0 Accepted"

    def close(self) -> None:
        self.usable = False
