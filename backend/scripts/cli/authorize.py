"""manage.py mailbox authorize"""

from __future__ import annotations

from dataclasses import replace

import click

from backend.scripts.cli.commands import company_option, examples, id_argument
from backend.scripts.cli.granting import PROVIDERS, read_grant, refresh_token_stdin
from backend.scripts.cli.signing_in import check_sign_in, no_check, say_found
from backend.scripts.cli.terminal import say


@click.command(
    "authorize",
    epilog=examples(
        "mailbox authorize 1",
        "mailbox authorize 1 --oauth custom --refresh-token-stdin < token",
    ),
)
@id_argument("mailbox_id")
@company_option()
@click.option("--oauth", type=click.Choice(PROVIDERS), help="[default: as it was]")
@refresh_token_stdin
@no_check
def authorize(
    mailbox_id: int,
    company_id: int | None,
    oauth: str | None,
    refresh_token_stdin: bool,
    no_check: bool,
) -> None:
    """Sign a mailbox in by OAuth2: again, or from now on instead of by password."""
    from backend.app import db
    from backend.app.store import admin_mailboxes, mailboxes
    from backend.app.store.oauth import load_grant
    from backend.scripts.cli.installation import opened

    with opened() as installation:
        db.read(admin_mailboxes.load_mailbox_row, company_id, mailbox_id)
        old = db.read(load_grant, mailbox_id)
        provider = oauth or (old.provider if old else None)
        if provider is None:
            raise click.UsageError("it signs in by password until now; name --oauth")
        tokens = read_grant(installation, provider, from_stdin=refresh_token_stdin)
        if not no_check:
            account = replace(db.read(mailboxes.load_account, mailbox_id), secret="")
            say_found(
                check_sign_in(
                    installation,
                    account,
                    "nothing was changed. --no-check stores it as it is",
                    tokens,
                )
            )
        sealed = installation.vault.encrypt(tokens.refresh_token)
        db.write(admin_mailboxes.set_grant, mailbox_id, provider, sealed)
    say(f"mailbox {mailbox_id} signs in by OAuth2 ({provider})")
