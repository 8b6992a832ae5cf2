"""What a mail server says of its folders and mails. Frozen values, no network."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Role(StrEnum):
    """What a folder is for. Only these two are read."""

    INBOX = "inbox"
    SENT = "sent"


@dataclass(frozen=True, slots=True)
class ServerFolder:
    """A folder on the server; `name` is decoded from modified UTF-7."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class FolderStatus:
    """What STATUS says. highestmodseq is None without CONDSTORE (RFC 7162)."""

    uidvalidity: int
    uidnext: int
    messages: int
    highestmodseq: int | None = None


@dataclass(frozen=True, slots=True)
class FetchedMail:
    """arrived_at is INTERNALDATE, aware; None when the server left it out."""

    uid: int
    raw: bytes
    arrived_at: datetime | None
