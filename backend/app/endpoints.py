"""A stored mailbox account, opened with the installation's keys: its IMAP and SMTP endpoints."""

from __future__ import annotations

from backend.app.config import Settings
from backend.app.credentials import Vault
from backend.app.errors import MailboxMisconfigured
from backend.app.mail.endpoint import Endpoint
from backend.app.store.records import MailboxAccount


def imap_endpoint(account: MailboxAccount, settings: Settings, vault: Vault) -> Endpoint:
    """Raises CredentialsUnreadable."""
    return Endpoint(
        host=account.imap_host,
        port=account.imap_port,
        security=account.imap_security,
        username=account.username,
        password=vault.decrypt(account.secret),
        timeout=settings.imap_timeout_seconds,
        ca_file=settings.tls_ca_file,
        allow_plaintext_hosts=settings.allow_plaintext_hosts,
    )


def smtp_endpoint(account: MailboxAccount, settings: Settings, vault: Vault) -> Endpoint:
    """The SMTP user name and password fall back to IMAP's. An empty user name: no sign-in.

    Raises CredentialsUnreadable, or MailboxMisconfigured without an SMTP host.
    """
    if not account.smtp_host:
        raise MailboxMisconfigured(f"mailbox {account.id} has no SMTP host")
    username = account.username if account.smtp_username is None else account.smtp_username
    return Endpoint(
        host=account.smtp_host,
        port=account.smtp_port,
        security=account.smtp_security,
        username=username,
        password=vault.decrypt(account.smtp_secret or account.secret),
        timeout=settings.smtp_timeout_seconds,
        ca_file=settings.tls_ca_file,
        allow_plaintext_hosts=settings.allow_plaintext_hosts,
    )
