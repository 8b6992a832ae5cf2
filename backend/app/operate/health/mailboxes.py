"""Each mailbox's sign-in to IMAP and SMTP, and how long its certificates last. Read-only.

An OAuth2 mailbox is tried with the access token at hand: asking for another one would write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from backend.app import db
from backend.app.config import Settings
from backend.app.credentials import Vault
from backend.app.endpoints import imap_endpoint, smtp_endpoint
from backend.app.errors import CredentialsUnreadable, FolderGone, MailboxError, RelanceError
from backend.app.mail.endpoint import Endpoint
from backend.app.mail.folder import Role
from backend.app.mail.imap import MailboxConnection, open_mailbox
from backend.app.mail.smtp import open_smtp
from backend.app.operate.health.finding import Finding, Level
from backend.app.store import mailboxes, oauth
from backend.app.store.records import MailboxAccount

TIMEOUT_SECONDS = 8
LONGEST_SECONDS = 20
CERTIFICATE_WARNING = timedelta(days=14)
CERTIFICATE_FAULT = timedelta(days=3)


class NoTokenAtHand(RelanceError):
    """The stored access token has ended; the next run asks for another one."""


@dataclass(frozen=True, slots=True)
class TokenAtHand:
    """A TokenSource that never asks the token server."""

    access_token: str

    def token(self) -> str:
        return self.access_token

    def renew(self, refused: str) -> str:
        return self.access_token  # refused again: it says what is wrong


def check_mailbox(
    account: MailboxAccount, settings: Settings, vault: Vault, now: datetime
) -> list[Finding]:
    """Both sign-ins. now: for the certificates, aware UTC."""
    name = f"mailbox {account.id}"
    try:
        tokens = None if account.secret else _token_at_hand(account.id, vault)
        imap = imap_endpoint(account, settings, vault, tokens)
        found = list(_check_imap(account, _quick(imap), now))
        if not account.smtp_host:
            words = f"{account.email} has no SMTP server: no reminder goes out from it"
            return [*found, Finding("smtp_sign_in", Level.NOTICE, words, subject=name)]
        smtp = smtp_endpoint(account, settings, vault, tokens)
        return [*found, *_check_smtp(account, _quick(smtp), now)]
    except CredentialsUnreadable:
        return []  # check_secrets tells
    except MailboxError as error:
        fix = f"manage.py mailbox check {account.id}"
        return [Finding("mailbox", Level.FAULT, str(error), fix, name)]
    except NoTokenAtHand as error:
        fix = f"manage.py mailbox check {account.id}"
        return [Finding("oauth", Level.NOTICE, str(error), fix, name)]


def _quick(endpoint: Endpoint) -> Endpoint:
    timeout = min(endpoint.timeout, TIMEOUT_SECONDS)
    return replace(endpoint, timeout=timeout, longest=LONGEST_SECONDS)


def _token_at_hand(mailbox_id: int, vault: Vault) -> TokenAtHand:
    grant = db.read(oauth.load_grant, mailbox_id)
    if grant is None:
        raise MailboxError(
            "it has neither a password nor an OAuth2 grant: "
            f"manage.py mailbox authorize {mailbox_id} --oauth NAME"
        )
    if not grant.valid or grant.access_token is None:
        raise NoTokenAtHand(
            "its OAuth2 access token has ended, so the sign-in was not tried: the next run renews "
            "it; `mailbox check` does so at once"
        )
    return TokenAtHand(vault.decrypt(grant.access_token))


def _check_imap(account: MailboxAccount, endpoint: Endpoint, now: datetime) -> Iterator[Finding]:
    name, ends, sent = f"mailbox {account.id}", None, ""

    def sign_in() -> None:
        nonlocal ends, sent
        with open_mailbox(endpoint) as connection:
            ends = connection.certificate_end()
            sent = _fault_of_sent(connection, account.sent_folder)

    yield _tried("imap_sign_in", account, endpoint, sign_in)
    yield from judge_certificate(str(endpoint), ends, now)
    if sent:
        words = f"{account.email}: {sent}, so no copy of a reminder is filed"
        fix = f"manage.py mailbox set {account.id} --sent-folder NAME"
        yield Finding("sent_folder", Level.WARNING, words, fix, name)


def _fault_of_sent(connection: MailboxConnection, named: str | None) -> str:
    """Empty when the Sent folder is there."""
    sent = [each.name for each in connection.folders(named) if each.role is Role.SENT]
    try:
        for name in sent:
            connection.status(name)
    except FolderGone as error:
        return str(error)
    return "" if sent else "no Sent folder is known"


def _check_smtp(account: MailboxAccount, endpoint: Endpoint, now: datetime) -> Iterator[Finding]:
    ends = None

    def sign_in() -> None:
        nonlocal ends
        connection = open_smtp(endpoint)
        ends = connection.certificate_end()
        connection.close()

    yield _tried("smtp_sign_in", account, endpoint, sign_in)
    yield from judge_certificate(str(endpoint), ends, now)


def _tried(
    check: str, account: MailboxAccount, endpoint: Endpoint, sign_in: Callable[[], None]
) -> Finding:
    name = f"mailbox {account.id}"
    try:
        sign_in()
    except MailboxError as error:
        return Finding(check, Level.FAULT, str(error), fix_of(error, account.id, endpoint), name)
    return Finding(check, Level.OK, f"{account.email} at {endpoint}", subject=name)


def fix_of(error: MailboxError, mailbox_id: int, endpoint: Endpoint) -> str:
    """The command for what a server, or the way to it, said."""
    if error.kind == "credentials":
        by_token = endpoint.tokens is not None
        return (
            f"manage.py mailbox authorize {mailbox_id}"
            if by_token
            else f"manage.py mailbox set {mailbox_id} --ask-password"
        )
    words = str(error)
    if "certificate" in words:
        return (
            "renew it on the mail server"
            if "expired" in words
            else "TLS_CA_FILE=/path/to/authority.pem in .env, or the host's right name"
        )
    if "resolved" in words:
        return f"getent hosts {endpoint.host}; then the mailbox's host name"
    if error.kind == "network":
        return f"nc -vz {endpoint.host} {endpoint.port}"
    return f"manage.py mailbox check {mailbox_id}"


def judge_certificate(server: str, ends: datetime | None, now: datetime) -> Iterator[Finding]:
    """ends: None without TLS, or when there was no sign-in. An expired one refuses the sign-in."""
    if ends is None:
        return
    days = (ends - now) // timedelta(days=1)
    left, level = ends - now, Level.OK
    if left < CERTIFICATE_WARNING:
        level = Level.WARNING
    if left < CERTIFICATE_FAULT:
        level = Level.FAULT
    words = f"the certificate of {server} is valid for {days} day{'' if days == 1 else 's'}"
    fix = "" if level is Level.OK else "renew it on the mail server"
    yield Finding("certificate", level, words, fix, server)


def load_accounts(company_id: int | None, mailbox_id: int | None) -> list[MailboxAccount]:
    """The active ones."""
    ids = db.read(mailboxes.list_active, company_id, mailbox_id)
    return [db.read(mailboxes.load_account, each) for each in ids]
