"""One mail to the operator when a script keeps failing, one when it works again.

What was told is kept in a file of this host, since the database may be what fails. A run that
could not do its work at all (status 70 and more) is told at once; one in which some items failed
(status 1) when that has gone on for a quarter of an hour: most mail servers are back by then.
"""

from __future__ import annotations

import contextlib
import json
import logging
import smtplib
import socket
import ssl
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import unquote, urlsplit

log = logging.getLogger("relance.monitoring")

SECONDS = 10.0  # for each answer of the mail server
LOOPBACK = ("localhost", "127.0.0.1", "::1")
PATIENCE = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Standing:
    """since: when it began to fail (ISO 8601), None while it works. told: the operator knows."""

    since: str | None = None
    told: bool = False


def judge(before: Standing, exit_status: int, now: datetime) -> tuple[Standing, str | None]:
    """How it stands after this run, and what to tell: 'failing', 'recovered' or None."""
    if exit_status == 0:
        return Standing(), "recovered" if before.told else None
    since = before.since or now.isoformat(timespec="seconds")
    standing = replace(before, since=since)
    patient = exit_status == 1 and now - datetime.fromisoformat(since) < PATIENCE
    if before.told or patient:
        return standing, None
    return replace(standing, told=True), "failing"


def compose(
    news: str, script: str, exit_status: int, since: str | None, lines: Sequence[str]
) -> tuple[str, str]:
    """Subject and text. lines: what the run logged as warning or worse."""
    host = socket.gethostname()
    if news == "recovered":
        return f"Relance on {host}: {script} works again", f"It had failed since {since}.\n"
    text = "\n".join(
        [
            f"{script} on {host} ended with exit status {exit_status}, failing since {since}.",
            "",
            *(lines or ["It logged nothing about it."]),
            "",
            "What to do:  python backend/scripts/manage.py doctor",
            "You get no further mail about this until it works again.",
        ]
    )
    return f"Relance on {host}: {script} fails", text + "\n"


def load(file: Path) -> Standing:
    try:
        return Standing(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return Standing()


def save(file: Path, standing: Standing) -> None:
    """Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(standing)))
    fresh.replace(file)


def send(url: str, recipient: str, subject: str, text: str) -> None:
    """url: smtp://user:password@host:587?from=... (STARTTLS), smtps:// (TLS). Raises OSError."""
    parts = urlsplit(url)
    sender = dict(p.partition("=")[::2] for p in parts.query.split("&")).get("from") or recipient
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = unquote(sender), recipient, subject
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(text)
    with contextlib.closing(_connect(parts.scheme, parts.hostname or "", parts.port)) as client:
        if parts.username:
            _require_protection(client, parts.hostname)
            client.login(unquote(parts.username), unquote(parts.password or ""))
        client.send_message(mail)


def _require_protection(client: smtplib.SMTP, host: str | None) -> None:
    """No password in the clear, though somebody on the way hides STARTTLS. Raises OSError."""
    if not isinstance(client.sock, ssl.SSLSocket) and host not in LOOPBACK:
        raise ssl.SSLError("the server offers no STARTTLS: ALERT_SMTP_URL's password was not sent")


def _connect(scheme: str, host: str, port: int | None) -> smtplib.SMTP:
    if scheme == "smtps":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(host, port or 465, timeout=SECONDS, context=context)
    client = smtplib.SMTP(host, port or 25, timeout=SECONDS)
    client.ehlo()
    if client.has_extn("starttls") and host not in LOOPBACK:
        client.starttls(context=ssl.create_default_context())
        client.ehlo()
    return client
