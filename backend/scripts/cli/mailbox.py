"""manage.py mailbox"""

from __future__ import annotations

from typing import Any

import click

from backend.scripts.cli.authorize import authorize
from backend.scripts.cli.commands import company_option, examples, fail, id_argument, json_option
from backend.scripts.cli.granting import PROVIDERS, read_grant, refresh_token_stdin
from backend.scripts.cli.mailbox_options import history_days, password_stdin, smtp_password
from backend.scripts.cli.mailbox_set import set_mailbox
from backend.scripts.cli.new_account import account_from, fill_in_hosts, read_sealed_passwords
from backend.scripts.cli.signing_in import check_sign_in, no_check, say_found
from backend.scripts.cli.terminal import say, show_json, show_table

SECURITIES = ("tls", "starttls", "plain")
PORT = click.IntRange(1, 65_535)


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
                installation,
                account,
                "nothing was stored. --no-check stores it as it is",
                tokens,
                names_sent_folder=bool(account.sent_folder),
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
    if found.sent_fault:
        fail(f"name the Sent folder: manage.py mailbox set {mailbox_id} --sent-folder NAME")


command.add_command(set_mailbox)
command.add_command(authorize)
