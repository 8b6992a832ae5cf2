"""A stored mailbox account, opened with the installation's keys: its IMAP and SMTP endpoints."""

from __future__ import annotations

from backend.app.config import Settings
from backend.app.credentials import Vault
from backend.app.errors import MailboxMisconfigured
from backend.app.mail.endpoint import Endpoint, TokenSource
from backend.app.store.records import MailboxAccount


def imap_endpoint(
    account: MailboxAccount, settings: Settings, vault: Vault, tokens: TokenSource | None = None
) -> Endpoint:
    """An empty secret means OAuth2, with the mailbox's stored grant or with `tokens`.

    Raises CredentialsUnreadable.
    """
    by_token = not account.secret
    return Endpoint(
        host=account.imap_host,
        port=account.imap_port,
        security=account.imap_security,
        username=account.username,
        password="" if by_token else vault.decrypt(account.secret),
        tokens=(tokens or _stored_tokens(account, settings, vault)) if by_token else None,
        timeout=settings.imap_timeout_seconds,
        longest=settings.sync_lease_seconds,
        ca_file=settings.tls_ca_file,
        allow_plaintext_hosts=settings.allow_plaintext_hosts,
    )


def smtp_endpoint(
    account: MailboxAccount, settings: Settings, vault: Vault, tokens: TokenSource | None = None
) -> Endpoint:
    """The SMTP user name and secret fall back to IMAP's. An empty user name: no sign-in.

    Raises CredentialsUnreadable, or MailboxMisconfigured without an SMTP host.
    """
    if not account.smtp_host:
        raise MailboxMisconfigured(f"mailbox {account.id} has no SMTP host")
    username = account.username if account.smtp_username is None else account.smtp_username
    secret = account.smtp_secret or account.secret
    by_token = not secret and bool(username)
    return Endpoint(
        host=account.smtp_host,
        port=account.smtp_port,
        security=account.smtp_security,
        username=username,
        password=vault.decrypt(secret) if secret else "",
        tokens=(tokens or _stored_tokens(account, settings, vault)) if by_token else None,
        timeout=settings.smtp_timeout_seconds,
        ca_file=settings.tls_ca_file,
        allow_plaintext_hosts=settings.allow_plaintext_hosts,
    )


def _stored_tokens(account: MailboxAccount, settings: Settings, vault: Vault) -> TokenSource:
    from backend.app.tokens import StoredTokens  # with HTTP and OAuth2, which passwords need not

    return StoredTokens(account.id, settings, vault)
