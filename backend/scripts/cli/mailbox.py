"""manage.py mailbox"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from backend.scripts.cli.authorize import authorize
from backend.scripts.cli.commands import company_option, examples, fail, id_argument, json_option
from backend.scripts.cli.granting import PROVIDERS, read_grant, refresh_token_stdin
from backend.scripts.cli.new_account import account_from, fill_in_hosts, read_sealed_passwords
from backend.scripts.cli.signing_in import check_sign_in, no_check, say_found
from backend.scripts.cli.terminal import say, show_json, show_table

if TYPE_CHECKING:
    from backend.scripts.cli.installation import Installation

SECURITIES = ("tls", "starttls", "plain")
PORT = click.IntRange(1, 65_535)
password_stdin = click.option(
    "--password-stdin",
    is_flag=True,
    help="Read the password from the first line of standard input instead of asking.",
)
smtp_password = click.option(
    "--smtp-password",
    "own_smtp_password",
    is_flag=True,
    help="SMTP has a password of its own: asked next, or the second line of standard input.",
)
history_days = click.option(
    "--history-days",
    type=click.IntRange(1, 36_500),
    metavar="N",
    help="How many days of older mail to bring.  [default: SYNC_HISTORY_DAYS]",
)


@click.group(epilog=examples("mailbox list", "mailbox check 1"))
def command() -> None:
    """Mailboxes: where mail is read, and where reminders go out from."""


@command.command(
    "add",
    epilog=examples(
        "mailbox add --company 1 --email contact@atelier.example \\\n"
        "    --imap-host imap.atelier.example --smtp-host smtp.atelier.example",
        "mailbox add --company 1 --email contact@atelier.example \\\n"
        "    --imap-host imap.atelier.example --password-stdin < password.txt",
        "mailbox add --company 1 --email contact@atelier.example \\\n    --oauth microsoft",
    ),
)
@company_option(required=True)
@click.option("--email", required=True, help="The mailbox's address.")
@click.option("--from-name", default="", help="The name that clients read.")
@click.option("--alias", "aliases", multiple=True, help="A further address of it; repeatable.")
@click.option("--imap-host", help="Required, but for --oauth google and microsoft.")
@click.option("--imap-port", type=PORT, help="[default: 993, or 143 without tls]")
@click.option("--imap-security", type=click.Choice(SECURITIES), default="tls", show_default=True)
@click.option("--username", help="For IMAP.  [default: the address]")
@click.option("--sent-folder", help="Where the server does not say which folder it is.")
@click.option("--smtp-host", help="Without one, no reminder goes out from here.")
@click.option("--smtp-port", type=PORT, help="[default: 465; 587 with starttls, 25 with plain]")
@click.option(
    "--smtp-security",
    type=click.Choice(SECURITIES),
    help="[default: tls; starttls with --oauth microsoft]",
)
@click.option("--smtp-username", help="'' for no sign-in.  [default: IMAP's]")
@history_days
@smtp_password
@password_stdin
@click.option("--oauth", type=click.Choice(PROVIDERS), help="Sign in by OAuth2 instead.")
@refresh_token_stdin
@no_check
@json_option
def add(
    company_id: int,
    email: str,
    own_smtp_password: bool,
    password_stdin: bool,
    oauth: str | None,
    refresh_token_stdin: bool,
    no_check: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Add a mailbox: sign in once to both servers, and store it if that went well.

    The password is asked for without being shown. With --oauth a browser on any machine is needed
    once, or a refresh token. Either is stored encrypted.
    """
    from backend.app import db
    from backend.app.operate import fields
    from backend.app.store import admin_mailboxes
    from backend.scripts.cli.installation import opened

    _require_one_sign_in(oauth, own_smtp_password, password_stdin, refresh_token_stdin)
    fill_in_hosts(options, oauth)
    email = fields.parse_email(email)
    aliases = [fields.parse_email(alias) for alias in options["aliases"]]
    options["username"] = options["username"] or email
    with opened() as installation:
        db.read(admin_mailboxes.require_new, company_id, email)
        tokens = None
        secret, smtp_secret = "", None
        if oauth:
            tokens = read_grant(installation, oauth, from_stdin=refresh_token_stdin)
        else:
            secret, smtp_secret = read_sealed_passwords(
                installation, options, password_stdin, own_smtp_password
            )
        account = account_from(company_id, email, options, secret, smtp_secret)
        found = (
            None
            if no_check
            else check_sign_in(
                installation, account, "nothing was stored. --no-check stores it as it is", tokens
            )
        )
        grant = None
        if oauth and tokens:
            grant = (oauth, installation.vault.encrypt(tokens.refresh_token))
        mailbox_id = db.write(admin_mailboxes.add_mailbox, account, aliases, grant)
        row = db.read(admin_mailboxes.load_mailbox_row, company_id, mailbox_id)
    if as_json:
        show_json({"mailbox": row, "sign_in": found})
        return
    if found is not None:
        say_found(found)
    say(f"mailbox {mailbox_id} added: {email}")
    if not row.smtp_host:
        say("it has no SMTP host, so no reminder goes out from it")


def _require_one_sign_in(
    oauth: str | None, own_smtp_password: bool, password_stdin: bool, refresh_token_stdin: bool
) -> None:
    if oauth and (own_smtp_password or password_stdin):
        raise click.UsageError("--oauth takes no password")
    if refresh_token_stdin and not oauth:
        raise click.UsageError("--refresh-token-stdin needs --oauth")


@command.command("list", epilog=examples("mailbox list", "mailbox list --company 1 --json"))
@company_option()
@json_option
def list_(company_id: int | None, as_json: bool) -> None:
    """List mailboxes. How they do is said by `status`."""
    from backend.app import db
    from backend.app.store import admin_mailboxes
    from backend.scripts.cli.installation import opened

    with opened():
        rows = db.read(admin_mailboxes.list_mailboxes, company_id)
    if as_json:
        show_json(rows)
        return
    show_table(
        ("ID", "COMPANY", "ACTIVE", "ADDRESS", "IMAP", "SMTP"),
        [
            (
                row.id,
                row.company_id,
                "yes" if row.is_active else "no",
                row.email,
                f"{row.imap_host}:{row.imap_port}",
                f"{row.smtp_host}:{row.smtp_port}" if row.smtp_host else "-",
            )
            for row in rows
        ],
    )


@command.command(
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
def set_(
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
    """Switch a mailbox on or off, bring older mail, or store a new password (tried before)."""
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
        if active is not None:
            db.write(admin_mailboxes.set_active, mailbox_id, active=active)
            say(f"mailbox {mailbox_id} is {'active' if active else 'inactive'}")
        if sent_folder is not None:
            db.write(admin_mailboxes.set_sent_folder, mailbox_id, sent_folder or None)
            say(f"mailbox {mailbox_id}: Sent is {sent_folder or 'the one that the server names'}")
        if history_days is not None:
            db.write(admin_mailboxes.set_history_days, mailbox_id, history_days)
            say(f"mailbox {mailbox_id}: the next visits bring {history_days} days of older mail")


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


@command.command("check", epilog=examples("mailbox check 1"))
@id_argument("mailbox_id")
@company_option()
@json_option
def check(mailbox_id: int, company_id: int | None, as_json: bool) -> None:
    """Sign in to both servers with what is stored, and say what is there. Changes nothing."""
    from backend.app import db
    from backend.app.operate.signin import sign_in
    from backend.app.store import admin_mailboxes, mailboxes
    from backend.scripts.cli.installation import opened

    with opened() as installation:
        db.read(admin_mailboxes.load_mailbox_row, company_id, mailbox_id)
        account = db.read(mailboxes.load_account, mailbox_id)
        found = sign_in(account, installation.settings, installation.vault)
    if as_json:
        show_json(found)
    else:
        say_found(found)
    for failure in found.failures:
        say(failure, err=True)
    if found.failures:
        fail("the sign-in failed")


command.add_command(authorize)
