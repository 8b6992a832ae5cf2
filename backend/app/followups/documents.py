"""The file that goes with a reminder: an invoice's PDF that the host application has put there.

It lies below DOCUMENTS_DIR/<company id>/ and is named from there, so that no row can name a file
of another company or of the machine, be it by `..`, an absolute path or a symbolic link.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable
from pathlib import Path

from backend.app.errors import RelanceError
from backend.app.mail.message import Attachment

# Servers take 10 MB as a rule, and base64 makes four bytes of three.
MOST_BYTES = 7 * 1024 * 1024


class DocumentUnusable(RelanceError):
    """The file cannot go with the reminder, which must be held. The message says why."""


class DocumentsUnread(RelanceError):
    """Files that were not read before the transaction that needs them. names: which ones."""

    def __init__(self, company_id: int, names: tuple[str, ...]) -> None:
        super().__init__(f"not read yet: {', '.join(names)}")
        self.company_id = company_id
        self.names = names


class Documents:
    """The files that go with reminders. root: DOCUMENTS_DIR.

    beforehand: no file is read while it is asked for, since a transaction is open then; what is
    missing raises DocumentsUnread, and who began the transaction reads it and begins anew.
    """

    def __init__(self, root: Path | None, *, beforehand: bool = False) -> None:
        self._root = root
        self._beforehand = beforehand
        self._read: dict[tuple[int, str], Attachment | DocumentUnusable] = {}

    def read(self, company_id: int, names: Iterable[str]) -> None:
        """Read them from the disk, and keep what was found."""
        for name in names:
            try:
                found: Attachment | DocumentUnusable = load_document(self._root, company_id, name)
            except DocumentUnusable as unusable:
                found = unusable
            self._read[company_id, name] = found

    def require(self, company_id: int, names: Iterable[str | None]) -> None:
        """Have these at hand; None stands for no file. Raises DocumentsUnread."""
        unread = [name for name in names if name and (company_id, name) not in self._read]
        if unread and self._beforehand:
            raise DocumentsUnread(company_id, tuple(unread))
        self.read(company_id, unread)

    def get(self, company_id: int, name: str) -> Attachment:
        """Raises DocumentUnusable, and DocumentsUnread."""
        self.require(company_id, [name])
        found = self._read[company_id, name]
        if isinstance(found, DocumentUnusable):
            raise found
        return found


def load_document(root: Path | None, company_id: int, name: str) -> Attachment:
    """Read `name` below the company's directory. Raises DocumentUnusable."""
    if root is None:
        raise DocumentUnusable(f"no directory for documents is set: {name}")
    directory = (root / str(company_id)).resolve()
    try:
        path = (directory / name).resolve()
        if not path.is_relative_to(directory):
            raise DocumentUnusable(f"not below the company's directory: {name}")
        if not path.is_file():
            raise DocumentUnusable(f"there is no such file: {name}")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise DocumentUnusable(f"cannot be read ({reason}): {name}") from error
    if not content:
        raise DocumentUnusable(f"the file is empty: {name}")
    if len(content) > MOST_BYTES:
        raise DocumentUnusable(f"larger than {MOST_BYTES // 1024**2} MB: {name}")
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Attachment(path.name, kind, content)
