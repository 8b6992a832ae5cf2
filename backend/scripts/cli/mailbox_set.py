"""manage.py mailbox set"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from backend.scripts.cli.commands import company_option, examples, id_argument
from backend.scripts.cli.mailbox_options import history_days, password_stdin, smtp_password
from backend.scripts.cli.signing_in import check_sign_in, no_check, say_found
from backend.scripts.cli.terminal import say

if TYPE_CHECKING:
    from backend.scripts.cli.installation import Installation


@click.command(
    "set",
    epilog=examples(
        "mailbox set 1 --inactive",
        "mailbox set 1 --ask-password",
        "mailbox set 1 --history-days 365",
        "mailbox set 1 --sent-folder 'INBOX.Sent'",
    ),
)
@id_argument("mailbox_id")
@company_option()
@click.option("--active/--inactive", default=None, help="Read it from now on, or no longer.")
@click.option("--ask-password", is_flag=True, help="Ask for a new password.")
@click.option("--sent-folder", help="Its name, where the server does not say which one it is.")
@history_days
@password_stdin
@smtp_password
@no_check
def set_mailbox(
    mailbox_id: int,
    company_id: int | None,
    active: bool | None,
    history_days: int | None,
    sent_folder: str | None,
    ask_password: bool,
    password_stdin: bool,
    own_smtp_password: bool,
    no_check: bool,
) -> None:
    """Switch a mailbox on or off, bring older mail, name its Sent folder, or store a new password.

    A folder or password is tried on the server before it is stored.
    """
    from backend.app import db
    from backend.app.store import admin_mailboxes
    from backend.scripts.cli.installation import opened

    new_password = ask_password or password_stdin
    if not new_password and active is None and history_days is None and sent_folder is None:
        raise click.UsageError("nothing to set; --help lists what can be set")
    with opened() as installation:
        db.read(admin_mailboxes.load_mailbox_row, company_id, mailbox_id)
        if new_password:
            _set_password(installation, mailbox_id, password_stdin, own_smtp_password, no_check)
            say(f"mailbox {mailbox_id}: the new password is stored")
        if sent_folder is not None:
            _set_sent_folder(installation, mailbox_id, sent_folder, no_check)
        if active is not None:
            db.write(admin_mailboxes.set_active, mailbox_id, active=active)
            say(f"mailbox {mailbox_id} is {'active' if active else 'inactive'}")
        if history_days is not None:
            db.write(admin_mailboxes.set_history_days, mailbox_id, history_days)
            say(f"mailbox {mailbox_id}: the next visits bring {history_days} days of older mail")


def _set_sent_folder(
    installation: Installation, mailbox_id: int, name: str, unchecked: bool
) -> None:
    """An empty name: the one that the server names, which needs no look at the server."""
    from backend.app import db
    from backend.app.store import admin_mailboxes, mailboxes

    if name and not unchecked:
        account = db.read(mailboxes.load_account, mailbox_id)
        check_sign_in(
            installation,
            replace(account, sent_folder=name, smtp_host=None),
            "the old one was kept. --no-check stores the name as it is",
            names_sent_folder=True,
        )
    db.write(admin_mailboxes.set_sent_folder, mailbox_id, name or None)
    say(f"mailbox {mailbox_id}: Sent is {name or 'the one that the server names'}")


def _set_password(
    installation: Installation, mailbox_id: int, from_stdin: bool, own_smtp: bool, unchecked: bool
) -> None:
    from backend.app import db
    from backend.app.store import admin_mailboxes, mailboxes
    from backend.scripts.cli.passwords import read_passwords

    account = db.read(mailboxes.load_account, mailbox_id)
    smtp_login = account.smtp_username or account.username
    secret, smtp_secret = read_passwords(
        from_stdin=from_stdin,
        username=account.username,
        smtp_username=smtp_login if own_smtp else None,
    )
    vault = installation.vault
    sealed = vault.encrypt(secret)
    smtp_sealed = None if smtp_secret is None else vault.encrypt(smtp_secret)
    changed = replace(account, secret=sealed, smtp_secret=smtp_sealed or account.smtp_secret)
    if not unchecked:
        say_found(
            check_sign_in(
                installation,
                changed,
                "the old password was kept. --no-check stores the new one as it is",
            )
        )
    db.write(admin_mailboxes.set_secret, mailbox_id, sealed, smtp_sealed)
