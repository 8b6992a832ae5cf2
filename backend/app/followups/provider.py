"""A company's stored account for text messages, opened with the installation's keys."""

from __future__ import annotations

from dataclasses import replace

from backend.app.config import Settings
from backend.app.credentials import Vault
from backend.app.mail.web import web_endpoint
from backend.app.sms.twilio import Twilio
from backend.app.store.records import SmsAccess


def sms_provider(access: SmsAccess, settings: Settings, vault: Vault) -> Twilio:
    """Raises CredentialsUnreadable, or MailboxMisconfigured for a URL that cannot be used."""
    seconds = settings.sms_timeout_seconds
    server = web_endpoint(
        settings.twilio_url,
        timeout=seconds,
        longest=2 * seconds,
        ca_file=settings.tls_ca_file,
        allow_plaintext_hosts=settings.allow_plaintext_hosts,
    )
    password = vault.decrypt(access.secret)
    return Twilio(access.account, replace(server, username=access.username, password=password))
