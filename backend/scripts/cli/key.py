"""manage.py key"""

from __future__ import annotations

import click

from backend.scripts.cli.commands import examples, fail
from backend.scripts.cli.terminal import say


@click.group(epilog=examples("key new", "key rotate"))
def command() -> None:
    """Keys that encrypt the mailbox passwords (CREDENTIALS_KEYS)."""


@command.command("new", epilog=examples("key new"))
def new() -> None:
    """Print a fresh key, and change nothing.

    To replace a key: put the new one before the old one, separated by a comma, in
    CREDENTIALS_KEYS; run `key rotate`; then take the old one away.
    """
    from backend.app.credentials import new_key

    click.echo(new_key())


@command.command("rotate", epilog=examples("key rotate"))
def rotate() -> None:
    """Encrypt every stored password anew, with the first key."""
    from backend.app.operate.keys import rotate_secrets
    from backend.scripts.cli.installation import opened

    with opened() as installation:
        done = rotate_secrets(installation.vault)
    say(
        f"under the first key now: secrets {done.secrets}, mailboxes {done.mailboxes}, "
        f"accounts for text messages {done.sms_accounts}"
    )
    if done.unreadable_sms:
        numbers = ", ".join(str(number) for number in done.unreadable_sms)
        say(
            f"the secrets of text messages of these companies fit no key and were left alone: "
            f"{numbers}. Bring the old key back, or run:  "
            "manage.py sms set --company ID --token-stdin",
            err=True,
        )
    if done.unreadable:
        numbers = ", ".join(str(number) for number in done.unreadable)
        fail(
            f"the passwords of these mailboxes fit no key and were left alone: {numbers}. "
            "Bring the old key back, or run:  manage.py mailbox set ID --password-stdin"
        )
    if done.unreadable_sms:
        fail("not every secret is under the first key")
