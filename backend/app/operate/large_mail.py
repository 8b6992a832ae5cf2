"""`manage.py conversation fetch`: the files of mails that were too large to be fetched whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from backend.app import db
from backend.app.config import Settings
from backend.app.credentials import Vault
from backend.app.endpoints import imap_endpoint
from backend.app.errors import FolderGone, Refused
from backend.app.inbox.large import NOT_FETCHED, fetch_files
from backend.app.mail.imap import open_mailbox
from backend.app.store import admin_files, mailboxes
from backend.app.store.records import Place, StoredFile

FETCHED = "was too large to be fetched at once; its files were fetched later"


@dataclass(frozen=True, slots=True)
class FetchedFiles:
    message_id: int
    files: tuple[StoredFile, ...]


def fetch_conversation(
    settings: Settings, vault: Vault, company_id: int, conversation_id: int
) -> Iterator[FetchedFiles]:
    """Fetch what stayed behind, message by message.

    Raises Refused where a mail is not on the server any more, and what a mailbox raises.
    """
    for message_id in db.read(admin_files.list_marked, conversation_id, NOT_FETCHED):
        places = db.read(admin_files.list_places, message_id)
        files = _fetch(settings, vault, company_id, message_id, places)
        if db.write(admin_files.record_files, message_id, files, NOT_FETCHED, FETCHED):
            yield FetchedFiles(message_id, files)


def _fetch(
    settings: Settings, vault: Vault, company_id: int, message_id: int, places: list[Place]
) -> tuple[StoredFile, ...]:
    for place in places:
        account = db.read(mailboxes.load_account, place.integration_id)
        with open_mailbox(imap_endpoint(account, settings, vault)) as connection:
            try:
                known = connection.examine(place.folder) == place.uidvalidity
            except FolderGone:
                continue
            if known and connection.sizes([place.uid]):
                root = settings.attachments_dir
                return fetch_files(connection, place.uid, root, company_id)
    raise Refused(f"the mail of message {message_id} is on no server any more")
