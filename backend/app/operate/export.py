"""`manage.py client export`: one client's data as a directory that a person can read."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from backend.app import db
from backend.app.errors import Refused, StorageFault
from backend.app.inbox.files import attachment_path
from backend.app.mail.filenames import safe_filename
from backend.app.operate.rebuilt import rebuild_mail
from backend.app.store import belongings, client_export
from backend.app.store.belongings import ClientFound
from backend.app.store.client_export import Row

LARGEST_WITHIN = 25_000_000  # bytes of a file that goes into its mail as well
READ_ME = """\
What Relance holds of one client: {name}, as of {at}.

client.json          the client's row.
conversations.json   conversations and messages; `placement` says why a mail stands where it does.
followups.json       follow-ups, their history, and each reminder.
mails/               the messages, one file each, REBUILT from the shared inbox: sender, recipients,
                     date, subject, text, sanitised HTML and files are as received; other header
                     lines are not kept. The originals are at the mail server.
files/               attachments, ORIGINAL, byte for byte. Those up to {largest} bytes are in
                     their mails too.
reminders/           the reminders, ORIGINAL, byte for byte, as they went out or were to go out.
quarantine/          mails that could not be handled, ORIGINAL, byte for byte.

Not here: what others wrote about the client in conversations with somebody else, the log files
(they hold identifiers only), backups, and the host application's own tables.
"""


@dataclass(slots=True)
class Exported:
    mails: int = 0
    files: int = 0
    reminders: int = 0
    quarantined: int = 0
    followups: int = 0
    files_missing: int = 0
    missing: list[str] = field(default_factory=list)


def export_client(root: Path, client: ClientFound, target: Path) -> Exported:
    """root: ATTACHMENTS_DIR. The target appears when it is complete.

    Raises Refused when it is there already, StorageFault when it cannot be written.
    """
    if target.exists() or target.is_symlink():
        raise Refused(f"{target} is there already; name a directory that is not")
    try:
        draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        try:
            exported = _Export(root, client, draft).write()
            draft.rename(target)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    except OSError as error:
        raise StorageFault(f"{target} cannot be written: {error.strerror}") from error
    return exported


class _Export:
    """One row, one mail at a time, so that a client of any size costs little memory."""

    def __init__(self, root: Path, client: ClientFound, draft: Path) -> None:
        self.root, self.client, self.draft = root, client, draft
        self.done = Exported()

    def write(self) -> Exported:
        for name in ("mails", "files", "reminders", "quarantine"):
            (self.draft / name).mkdir()
        self._json("client.json", db.read(client_export.load_client, self.client))
        self._conversations()
        self._followups()
        for quarantine_id in db.read(belongings.list_quarantined, self.client):
            if raw := db.read(client_export.load_quarantined, quarantine_id):
                self._bytes(f"quarantine/{quarantine_id}.eml", raw)
                self.done.quarantined += 1
        self._read_me()
        self.done.files_missing = len(self.done.missing)
        return self.done

    def _conversations(self) -> None:
        messages = []
        for message_id in db.read(belongings.list_messages, self.client):
            found = db.read(client_export.load_message, message_id)
            if found is not None:
                messages.append(self._message(*found))
        conversations = db.read(client_export.list_conversations, self.client)
        self._json("conversations.json", {"conversations": conversations, "messages": messages})

    def _message(self, message: Row, files: list[Row]) -> Row:
        self.done.mails += 1
        stem = f"{message['id']:08}"
        within = []
        for file in files:
            path = f"files/{stem}-{file['position']}-{named(file['filename'])}"
            content = self._file(file, path)
            file["path"] = path if content is not None else None
            if content is not None and len(content) <= LARGEST_WITHIN:
                within.append((file, content))
        path = f"mails/{stem}-{message['sent_at']:%Y-%m-%d}-{slug(message['subject'])}.eml"
        self._bytes(path, rebuild_mail(message, within))
        return {**message, "path": path, "files": files}

    def _file(self, file: Row, path: str) -> bytes | None:
        try:
            source = attachment_path(self.root, self.client.company_id, file["sha256"])
            content = source.read_bytes()
        except FileNotFoundError:
            self.done.missing.append(path)
            return None
        self._bytes(path, content)
        self.done.files += 1
        return content

    def _followups(self) -> None:
        followups = db.read(client_export.list_followups, self.client)
        for reminder in (each for row in followups for each in row["reminders"]):
            found = db.read(client_export.load_reminder, reminder["id"])
            if found is not None:
                raw, channel = found
                kind = "eml" if channel == "email" else "txt"
                reminder["path"] = f"reminders/{reminder['id']}.{kind}"
                self._bytes(reminder["path"], raw)
                self.done.reminders += 1
        self.done.followups = len(followups)
        self._json("followups.json", followups)

    def _read_me(self) -> None:
        text = READ_ME.format(
            name=self.client.name or self.client.email,
            at=f"{db.utc_now():%Y-%m-%d %H:%M} UTC",
            largest=LARGEST_WITHIN,
        )
        if self.done.missing:
            lines = "\n".join(f"  {path}" for path in self.done.missing)
            text += f"\nMISSING: not on the disk of the host that wrote this:\n{lines}\n"
        self._bytes("READ-ME.txt", text.encode("utf-8", "replace"))

    def _json(self, name: str, value: object) -> None:
        text = json.dumps(value, indent=2, ensure_ascii=True, default=_plain)
        self._bytes(name, text.encode())

    def _bytes(self, path: str, content: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(self.draft / path, flags, 0o600), "wb") as file:
            file.write(content)


def named(claimed: str) -> str:
    """A file's name for the disk: at most 150 bytes, never empty."""
    name = safe_filename(claimed) or "file"
    while len(name.encode("utf-8", "replace")) > 150:
        name = name[1:]
    return name.encode("utf-8", "replace").decode("utf-8")


def slug(subject: str) -> str:
    """A few letters of a subject, for a file's name: ASCII only, without accents."""
    plain = unicodedata.normalize("NFKD", subject).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower())[:40].strip("-") or "mail"


def _plain(value: object) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"no JSON for {type(value).__name__}")
