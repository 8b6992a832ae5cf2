"""A mailbox account from the options of `mailbox add`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from backend.app.store.records import MailboxAccount
    from backend.scripts.cli.installation import Installation

IMAP_PORTS = {"tls": 993, "starttls": 143, "plain": 143}
SMTP_PORTS = {"tls": 465, "starttls": 587, "plain": 25}
KNOWN_HOSTS = {
    "google": {"imap_host": "imap.gmail.com", "smtp_host": "smtp.gmail.com"},
    "microsoft": {
        "imap_host": "outlook.office365.com",
        "smtp_host": "smtp.office365.com",
        "smtp_security": "starttls",
    },
}


def fill_in_hosts(options: dict[str, Any], oauth: str | None) -> None:
    known = KNOWN_HOSTS.get(oauth or "", {})
    for name, value in known.items():
        options[name] = options[name] or value
    options["smtp_security"] = options["smtp_security"] or "tls"
    if not options["imap_host"]:
        raise click.UsageError("Missing option '--imap-host'.")


def read_sealed_passwords(
    installation: Installation, options: dict[str, Any], from_stdin: bool, own_smtp: bool
) -> tuple[str, str | None]:
    from backend.scripts.cli.passwords import read_passwords

    secret, smtp_secret = read_passwords(
        from_stdin=from_stdin,
        username=options["username"],
        smtp_username=_smtp_login(options) if own_smtp else None,
    )
    seal = installation.vault.encrypt
    return seal(secret), None if smtp_secret is None else seal(smtp_secret)


def _smtp_login(options: dict[str, Any]) -> str:
    return str(options["smtp_username"] or options["username"])


def account_from(
    company_id: int, email: str, options: dict[str, Any], secret: str, smtp_secret: str | None
) -> MailboxAccount:
    from backend.app.operate.fields import read_line
    from backend.app.store.records import MailboxAccount

    return MailboxAccount(
        id=0,  # the database gives it one
        company_id=company_id,
        email=email,
        from_name=read_line(options["from_name"], "--from-name", 200),
        imap_host=read_line(options["imap_host"], "--imap-host", 255),
        imap_port=options["imap_port"] or IMAP_PORTS[options["imap_security"]],
        imap_security=options["imap_security"],
        username=read_line(options["username"], "--username", 320),
        secret=secret,
        sent_folder=options["sent_folder"] or None,
        smtp_host=read_line(options["smtp_host"] or "", "--smtp-host", 255) or None,
        smtp_port=options["smtp_port"] or SMTP_PORTS[options["smtp_security"]],
        smtp_security=options["smtp_security"],
        smtp_username=options["smtp_username"],
        smtp_secret=smtp_secret,
        is_active=True,
        history_days=options["history_days"],
    )
