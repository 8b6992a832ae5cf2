"""`manage.py key rotate`: every stored secret under the first key."""

from __future__ import annotations

from dataclasses import dataclass

from backend.app import db
from backend.app.credentials import Vault
from backend.app.errors import CredentialsUnreadable
from backend.app.store import admin_mailboxes


@dataclass(frozen=True, slots=True)
class Rotation:
    """unreadable: mailboxes whose password fits none of the keys, left as they were."""

    secrets: int
    mailboxes: int
    unreadable: tuple[int, ...]


def rotate_secrets(vault: Vault) -> Rotation:
    """One transaction for each mailbox; one that cannot be read does not stop the others.

    Until it has gone through without an unreadable one, no key may be taken away.
    """
    secrets, mailboxes, unreadable = 0, 0, []
    for mailbox_id in db.read(admin_mailboxes.list_mailbox_ids):
        try:
            changed = db.write(admin_mailboxes.change_secrets, mailbox_id, vault.rotate)
        except CredentialsUnreadable:
            unreadable.append(mailbox_id)
            continue
        secrets += changed
        mailboxes += 1 if changed else 0
    return Rotation(secrets, mailboxes, tuple(unreadable))
