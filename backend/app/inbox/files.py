"""Attachments on disk, under ATTACHMENTS_DIR/<company>/<2 hex>/<sha256>: one file per content.

Each company has its own directory, so that nothing is shared between tenants and one company can
be handed over or erased by itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from backend.app.errors import StorageFault
from backend.app.mail.message import Attachment
from backend.app.mail.structure import Leaf
from backend.app.store.records import StoredFile


def attachment_path(root: Path, company_id: int, sha256: str) -> Path:
    return root / str(company_id) / sha256[:2] / sha256


def save_attachments(
    root: Path, company_id: int, attachments: Sequence[Attachment]
) -> tuple[StoredFile, ...]:
    """Write what is not there yet, so that it is on disk before a row speaks of it.

    Raises StorageFault (a full disk, no permission). A file without a row, left by a crash in
    between, is found again by its content.
    """
    return tuple(_save(root, company_id, attachment) for attachment in attachments)


def _save(root: Path, company_id: int, attachment: Attachment) -> StoredFile:
    content = attachment.content
    sha256 = hashlib.sha256(content).hexdigest()
    path = attachment_path(root, company_id, sha256)
    try:
        if not _is_there(path, len(content)):
            _write(path, content)
    except OSError as error:
        raise StorageFault(f"{path.parent} cannot be written: {error.strerror}") from error
    return StoredFile(
        filename=attachment.filename,
        content_type=attachment.content_type,
        content_id=attachment.content_id,
        inline=attachment.inline,
        size=len(content),
        sha256=sha256,
    )


def save_stream(root: Path, company_id: int, leaf: Leaf, content: Iterable[bytes]) -> StoredFile:
    """Write a file as it comes, whose name is known when all of it is here. Raises StorageFault."""
    directory = root / str(company_id)
    digest, size = hashlib.sha256(), 0
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o750)
        with _temporary(directory) as (file, name):
            for chunk in content:
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            _sync(file)
            path = attachment_path(root, company_id, digest.hexdigest())
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            name.replace(path)
    except OSError as error:
        raise StorageFault(f"{directory} cannot be written: {error.strerror}") from error
    return StoredFile(
        filename=leaf.filename,
        content_type=leaf.content_type,
        content_id=leaf.content_id,
        inline=leaf.disposition == "inline",
        size=size,
        sha256=digest.hexdigest(),
    )


def remove_unless_wanted(
    path: Path, is_wanted: Callable[[], bool], untouched_seconds: float, now: float
) -> bool:
    """Remove a file that nobody wants; False when it has to stay for now.

    A worker may have found the file a moment ago and be about to record it. So it is moved aside
    first: who looks for it then writes it anew. Whoever found it before has marked it as touched,
    and records it within `untouched_seconds` or never (the lease). A killed run leaves the file
    aside, and the next one finds it there. now: seconds since 1970. Raises StorageFault.
    """
    aside = path.with_name(f".erased-{path.name}")
    try:
        with contextlib.suppress(FileNotFoundError):
            path.rename(aside)
        touched = aside.stat().st_mtime
        if now - touched < untouched_seconds or is_wanted():
            with contextlib.suppress(FileExistsError):
                os.link(aside, path)
            aside.unlink()
            return False
        aside.unlink()
    except FileNotFoundError:
        return not path.exists()  # somebody else looked at it too, and may have put it back
    except OSError as error:
        raise StorageFault(f"{path} cannot be removed: {error.strerror}") from error
    return True


def _is_there(path: Path, size: int) -> bool:
    """Marks it as touched, see remove_unless_wanted."""
    try:
        os.utime(path)
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    with _temporary(path.parent) as (file, name):
        file.write(content)
        _sync(file)
        name.replace(path)


@contextlib.contextmanager
def _temporary(directory: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """All or nothing: a crash leaves a temporary file at most, never half an attachment."""
    descriptor, text = tempfile.mkstemp(dir=directory, prefix=".part-")
    name = Path(text)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file, name
    except BaseException:
        with contextlib.suppress(OSError):
            name.unlink()
        raise


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
