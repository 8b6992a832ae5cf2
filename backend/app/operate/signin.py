"""Sign in once to a mailbox's two servers, read-only, and say what is there."""

from __future__ import annotations

from dataclasses import dataclass

from backend.app.config import Settings
from backend.app.credentials import Vault
from backend.app.endpoints import imap_endpoint, smtp_endpoint
from backend.app.errors import FolderGone, MailboxError
from backend.app.mail.endpoint import Endpoint, TokenSource
from backend.app.mail.folder import Role
from backend.app.mail.imap import MailboxConnection, open_mailbox
from backend.app.mail.smtp import open_smtp
from backend.app.store.records import MailboxAccount

MOST_NAMES = 30


@dataclass(frozen=True, slots=True)
class ImapFound:
    """sent_folder: its name on the server, None when there is none that we can tell.

    sent_fault: why it cannot be opened, and which folders there are; None when it can.

    change_numbers: the server numbers changes (CONDSTORE, RFC 7162), which makes idle runs cheap.
    """

    server: str
    inbox_messages: int
    sent_folder: str | None
    sent_messages: int | None
    change_numbers: bool
    sent_fault: str | None = None


@dataclass(frozen=True, slots=True)
class SignIn:
    """What both servers said. smtp is the server, None without one, or when it failed.

    smtp_signed_in: False where the mailbox has no user name there.
    """

    imap: ImapFound | None
    smtp: str | None
    smtp_signed_in: bool
    failures: tuple[str, ...]

    @property
    def sent_fault(self) -> str | None:
        return self.imap.sent_fault if self.imap else None


def sign_in(
    account: MailboxAccount, settings: Settings, vault: Vault, tokens: TokenSource | None = None
) -> SignIn:
    """Try IMAP and, where the mailbox has one, SMTP. Raises CredentialsUnreadable.

    tokens: for a mailbox that signs in by OAuth2 and is not stored yet.
    """
    failures: list[str] = []
    imap = smtp = None
    signed_in = False
    try:
        imap = look_into(imap_endpoint(account, settings, vault, tokens), account.sent_folder)
    except MailboxError as error:
        failures.append(f"IMAP: {error}")
    if account.smtp_host:
        try:
            endpoint = smtp_endpoint(account, settings, vault, tokens)
            open_smtp(endpoint).close()
            smtp, signed_in = str(endpoint), bool(endpoint.username)
        except MailboxError as error:
            failures.append(f"SMTP: {error}")
    return SignIn(imap, smtp, signed_in, tuple(failures))


def look_into(endpoint: Endpoint, sent_folder: str | None) -> ImapFound:
    """Counts of INBOX and the Sent folder, which may be a wrong name. Raises MailboxError."""
    with open_mailbox(endpoint) as connection:
        folders = {folder.role: folder.name for folder in connection.folders(sent_folder)}
        inbox = connection.status(folders[Role.INBOX])
        sent = folders.get(Role.SENT)
        messages, fault = _count(connection, sent) if sent else (None, None)
        return ImapFound(
            server=str(endpoint),
            inbox_messages=inbox.messages,
            sent_folder=sent,
            sent_messages=messages,
            change_numbers=inbox.highestmodseq is not None,
            sent_fault=fault,
        )


def _count(connection: MailboxConnection, sent_folder: str) -> tuple[int | None, str | None]:
    """How many mails are in it, or what is wrong with it."""
    try:
        return connection.status(sent_folder).messages, None
    except FolderGone as error:
        names = ", ".join(map(repr, connection.folder_names()[:MOST_NAMES]))
        return None, f"{error}; there are {names}"
