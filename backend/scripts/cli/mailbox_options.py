"""What `mailbox add` and `mailbox set` both take."""

from __future__ import annotations

import click

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
