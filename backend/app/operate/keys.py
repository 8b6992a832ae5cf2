"""`manage.py key rotate`: every stored secret under the first key."""

from __future__ import annotations

from dataclasses import dataclass

from backend.app import db
from backend.app.credentials import Vault
from backend.app.errors import CredentialsUnreadable
from backend.app.store import admin_mailboxes, sms_accounts


@dataclass(frozen=True, slots=True)
class Rotation:
    """unreadable: mailboxes whose password fits none of the keys, left as they were.

    sms_accounts: of companies, for text messages; unreadable_sms: of which companies not.
    """

    secrets: int
    mailboxes: int
    unreadable: tuple[int, ...]
    sms_accounts: int = 0
    unreadable_sms: tuple[int, ...] = ()


def rotate_secrets(vault: Vault) -> Rotation:
    """One transaction for each account; one that cannot be read does not stop the others.

    Until it has gone through without an unreadable one, no key may be taken away.
    """
    secrets, mailboxes, unreadable = 0, 0, []
    accounts, unreadable_sms = 0, []
    for mailbox_id in db.read(admin_mailboxes.list_mailbox_ids):
        try:
            changed = db.write(admin_mailboxes.change_secrets, mailbox_id, vault.rotate)
        except CredentialsUnreadable:
            unreadable.append(mailbox_id)
            continue
        secrets += changed
        mailboxes += 1 if changed else 0
    for access in db.read(sms_accounts.list_accounts, None):
        try:
            accounts += db.write(sms_accounts.change_secret, access.company_id, vault.rotate)
        except CredentialsUnreadable:
            unreadable_sms.append(access.company_id)
    return Rotation(
        secrets + accounts, mailboxes, tuple(unreadable), accounts, tuple(unreadable_sms)
    )
