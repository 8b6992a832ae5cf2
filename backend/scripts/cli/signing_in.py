"""The sign-in that tries a mailbox, and what it found, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from backend.scripts.cli.commands import fail
from backend.scripts.cli.terminal import say

if TYPE_CHECKING:
    from backend.app.mail.endpoint import TokenSource
    from backend.app.operate.signin import SignIn
    from backend.app.store.records import MailboxAccount
    from backend.scripts.cli.installation import Installation

no_check = click.option("--no-check", is_flag=True, help="Store it without signing in.")


def check_sign_in(
    installation: Installation,
    account: MailboxAccount,
    otherwise: str,
    tokens: TokenSource | None = None,
    *,
    names_sent_folder: bool = False,
) -> SignIn:
    """End the command when a server refuses; `otherwise` says what that means for the mailbox.

    names_sent_folder: the command names it, so that a wrong name ends it too.
    """
    from backend.app.operate.signin import sign_in

    found = sign_in(account, installation.settings, installation.vault, tokens)
    if names_sent_folder and found.sent_fault:
        fail(f"{found.sent_fault}; {otherwise}")
    if found.failures:
        say_found(found)
        for failure in found.failures:
            say(failure, err=True)
        fail(f"the sign-in failed; {otherwise}")
    return found


def say_found(found: SignIn) -> None:
    """What the servers that let us in hold."""
    imap = found.imap
    if imap is not None:
        say(f"IMAP {imap.server}: signed in; mails in INBOX: {imap.inbox_messages}")
        if imap.sent_folder is None:
            say("  no Sent folder was found; if there is one, name it with --sent-folder")
        elif imap.sent_fault is not None:
            say(f"  Sent folder: {imap.sent_fault}")
        else:
            say(f"  Sent folder: {imap.sent_folder}, mails in it: {imap.sent_messages}")
        numbered = "yes" if imap.change_numbers else "no"
        say(f"  the server numbers changes (CONDSTORE): {numbered}")
    if found.smtp is not None:
        said = "signed in" if found.smtp_signed_in else "answers; no sign-in was asked for"
        say(f"SMTP {found.smtp}: {said}")
