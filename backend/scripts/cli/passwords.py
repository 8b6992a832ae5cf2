"""Passwords from a person: from a hidden prompt or standard input, never from an argument."""

from __future__ import annotations

import sys

import click

from backend.app.errors import BadInput

LONGEST = 4096


def read_passwords(
    *, from_stdin: bool, username: str, smtp_username: str | None
) -> tuple[str, str | None]:
    """IMAP's and, where smtp_username is given, SMTP's own: two prompts, or two lines.

    Raises BadInput for an empty one, and click.UsageError without a terminal to ask on.
    """
    if from_stdin:
        imap = read_line("the password")
        return imap, None if smtp_username is None else read_line("the SMTP password")
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask on; use --password-stdin")
    imap = click.prompt(f"Password of {username}", hide_input=True, err=True)
    if smtp_username is None:
        return imap, None
    return imap, click.prompt(f"SMTP password of {smtp_username}", hide_input=True, err=True)


def read_line(what: str) -> str:
    """The next line of standard input. Raises BadInput for one that is empty or too long."""
    line = sys.stdin.buffer.readline(LONGEST + 1)
    if len(line) > LONGEST:
        raise BadInput(f"{what} on standard input is longer than {LONGEST} bytes")
    try:
        password = line.rstrip(b"\r\n").decode("utf-8")
    except UnicodeDecodeError:
        raise BadInput(f"{what} on standard input is not UTF-8") from None
    if not password:
        raise BadInput(f"{what} on standard input is empty")
    return password
