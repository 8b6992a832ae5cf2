"""Mails that are too large to be fetched whole: their text now, their files when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from backend.app.errors import ServerFault
from backend.app.inbox.files import save_stream
from backend.app.mail.folder import FetchedMail, MailOutline
from backend.app.mail.imap import MailboxConnection
from backend.app.mail.structure import Leaf, decode_stream, text_of_mail
from backend.app.store.records import StoredFile

TEXT_BYTES = 1_000_000  # of one text part
TEXT_PARTS = 10
CHUNK_BYTES = 1_000_000  # of a file at once: the memory that it costs
NAMED_FILES = 10
NOT_FETCHED = "too large to be fetched whole"


def fetch_text(connection: MailboxConnection, uid: int, size: int) -> FetchedMail | None:
    """The header and the text parts, with a note on what stayed; None when it is not there."""
    outline = connection.outline(uid)
    if outline is None:
        return None
    texts = [leaf for leaf in outline.leaves if leaf.is_text][:TEXT_PARTS]
    parts = [(leaf, connection.part(uid, leaf.section, 0, TEXT_BYTES)) for leaf in texts]
    raw = text_of_mail(outline.header, parts)
    return FetchedMail(uid, raw, outline.arrived_at, (_note(outline, size, texts),))


def files_of(outline: MailOutline) -> list[Leaf]:
    return [leaf for leaf in outline.leaves if not leaf.is_text]


def _note(outline: MailOutline, size: int, texts: list[Leaf]) -> str:
    files = files_of(outline)
    named = [f"{leaf.filename or leaf.content_type} ({_mb(leaf.size)})" for leaf in files]
    names = ", ".join(named[:NAMED_FILES]) + (", ..." if len(named) > NAMED_FILES else "")
    cut = "; its text was cut" if any(leaf.size > TEXT_BYTES for leaf in texts) else ""
    return (
        f"{NOT_FETCHED} ({_mb(size)}){cut}; on the server: {names or 'no files'}. "
        "To fetch them: manage.py conversation fetch"
    )


def _mb(size: int) -> str:
    return f"{size / 1_000_000:.1f} MB"


def fetch_files(
    connection: MailboxConnection, uid: int, root: Path, company_id: int
) -> tuple[StoredFile, ...]:
    """Every file of a mail, streamed to disk: however large, it costs CHUNK_BYTES of memory.

    Raises ServerFault when the mail is gone, StorageFault when the disk is full.
    """
    outline = connection.outline(uid)
    if outline is None:
        raise ServerFault("the mail is no longer on the server")
    return tuple(
        save_stream(
            root, company_id, leaf, decode_stream(leaf.encoding, _chunks(connection, uid, leaf))
        )
        for leaf in files_of(outline)
    )


def _chunks(connection: MailboxConnection, uid: int, leaf: Leaf) -> Iterator[bytes]:
    first = 0
    while chunk := connection.part(uid, leaf.section, first, CHUNK_BYTES):
        yield chunk
        first += len(chunk)
        if len(chunk) < CHUNK_BYTES:
            return
