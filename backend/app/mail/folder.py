"""What a mail server says of its folders and mails. Pure: no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from imapclient import imap_utf7

from backend.app.mail.structure import Leaf

# Attributes of LIST (RFC 3501, 7.2.2; RFC 5258, 3; RFC 6154, 2), lowered.
SENT = b"\\sent"
CANNOT_BE_OPENED = frozenset({b"\\noselect", b"\\nonexistent"})
# For servers without SPECIAL-USE (RFC 6154): the last part of the folder's name, lowered.
SENT_NAMES = (
    "sent",
    "sent items",
    "sent messages",
    "sent mail",
    "envoyés",
    "éléments envoyés",
    "messages envoyés",
    "courrier envoyé",
    "gesendet",
    "gesendete elemente",
    "gesendete objekte",
    "inviati",
    "posta inviata",
    "enviados",
    "verzonden",
)


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
    """What STATUS says. highestmodseq is None where the folder keeps none (RFC 7162)."""

    uidvalidity: int
    uidnext: int
    messages: int
    highestmodseq: int | None = None


@dataclass(frozen=True, slots=True)
class FetchedMail:
    """arrived_at is INTERNALDATE, aware; None when the server left it out.

    notes: what was not fetched, for people.
    """

    uid: int
    raw: bytes
    arrived_at: datetime | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MailOutline:
    """A mail without its body. header: the whole header block, bounded."""

    header: bytes
    leaves: tuple[Leaf, ...]
    arrived_at: datetime | None


def find_sent_folder(listed: Sequence[tuple[Sequence[object], object]]) -> str | None:
    """The Sent folder among the attributes and raw names of LIST: by SPECIAL-USE, else by name."""
    by_last_part: dict[str, str] = {}
    for attributes, name in _openable(listed):
        if SENT in attributes:
            return name
        last_part = name.replace(".", "/").rsplit("/", 1)[-1]
        by_last_part.setdefault(last_part.casefold(), name)
    return next((by_last_part[name] for name in SENT_NAMES if name in by_last_part), None)


def openable_names(listed: Sequence[tuple[Sequence[object], object]]) -> list[str]:
    """The names of LIST that can be opened, in the server's order."""
    return [name for _, name in _openable(listed)]


def _openable(
    listed: Sequence[tuple[Sequence[object], object]],
) -> Iterator[tuple[set[bytes], str]]:
    for flags, raw in listed:
        attributes = {flag.lower() for flag in flags if isinstance(flag, bytes)}
        name = _decode_name(raw)
        if name is not None and not attributes & CANNOT_BE_OPENED:
            yield attributes, name


def _decode_name(raw: object) -> str | None:
    """None for a name that is NIL, or a number, or outside modified UTF-7 (a bare `&`).

    Lax servers have such folders beside the good ones, which must be found all the same.
    """
    try:
        return imap_utf7.decode(raw) if isinstance(raw, bytes) else None
    except ValueError:
        return None
