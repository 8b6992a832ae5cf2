"""The embedded SMTP server: aiosmtpd, which wants a sign-in, delivers, and sends real bounces."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime, make_msgid

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

HOST = "127.0.0.1"
HOST_NAME = "mail.example.test"
MAILER_DAEMON = f"MAILER-DAEMON@{HOST_NAME}"
SIZE_LIMIT = 35 * 1024 * 1024

PasswordOf = Callable[[str], str | None]
Deliver = Callable[["Accepted"], Awaitable[None]]


@dataclass(frozen=True)
class Accepted:
    """A mail that the server has taken over. sender: the account that signed in."""

    sender: str
    mail_from: str
    recipients: tuple[str, ...]
    raw: bytes


async def listen(
    password_of: PasswordOf, deliver: Deliver, tls: ssl.SSLContext | None
) -> list[asyncio.Server]:
    """Listen on a free port in plain (with STARTTLS if tls), and on a second one in TLS."""
    loop = asyncio.get_running_loop()
    # aiosmtpd warns here at every sign-in about a name that it uses itself.
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    submission = Submission(password_of, deliver)

    def protocol(starttls: ssl.SSLContext | None) -> SMTP:
        return SMTP(
            submission,
            hostname=HOST_NAME,
            ident="ESMTP",
            authenticator=submission.authenticate,
            auth_require_tls=False,  # loopback only
            tls_context=starttls,
            enable_SMTPUTF8=True,
            data_size_limit=SIZE_LIMIT,
            loop=loop,
        )

    servers = [await loop.create_server(lambda: protocol(tls), HOST, 0)]
    if tls:
        servers.append(await loop.create_server(lambda: protocol(None), HOST, 0, ssl=tls))
    return servers


class Submission:
    """The rules of a submission server (RFC 6409): sign in first, and send as yourself.

    aiosmtpd calls the handle_* methods by their names.
    """

    def __init__(self, password_of: PasswordOf, deliver: Deliver) -> None:
        self._password_of = password_of
        self._deliver = deliver

    def authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, mechanism: str, data: object
    ) -> AuthResult:
        """Compare the password of AUTH PLAIN or AUTH LOGIN with the account's."""
        if not isinstance(data, LoginPassword):
            return AuthResult(success=False, handled=False)
        username = data.login.decode(errors="replace")
        if self._password_of(username) != data.password.decode(errors="replace"):
            return AuthResult(success=False, handled=False)
        return AuthResult(success=True, auth_data=username)

    async def handle_MAIL(  # noqa: N802
        self,
        _server: SMTP,
        session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        """MAIL FROM: the account's own address."""
        if not session.authenticated:
            return "530 5.7.0 Authentication required"
        if address.lower() != str(session.auth_data).lower():
            return "553 5.7.1 Sender address is not yours"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_DATA(  # noqa: N802
        self, _server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """After the final dot: everything is delivered before the answer goes out."""
        assert isinstance(envelope.content, bytes)
        accepted = Accepted(
            sender=str(session.auth_data),
            mail_from=envelope.mail_from or "",
            recipients=tuple(envelope.rcpt_tos),
            raw=envelope.content,
        )
        await self._deliver(accepted)
        return "250 2.0.0 OK: delivered"


def received(accepted: Accepted, recipient: str) -> bytes:
    """The mail as it lies in the recipient's mailbox, with the trace of RFC 5321, 4.4, on top."""
    trace = (
        f"Return-Path: <{accepted.mail_from}>\r\n"
        f"Delivered-To: {recipient}\r\n"
        f"Received: from [{HOST}] by {HOST_NAME} with ESMTPA; {_now()}\r\n"
    )
    return trace.encode() + accepted.raw


def bounce(accepted: Accepted, unknown: str) -> bytes:
    """The delivery status notification (RFC 3464) for a recipient whom nobody knows here."""
    report = MIMEMultipart("report", report_type="delivery-status")
    report["Return-Path"] = "<>"
    report["From"] = f"Mail Delivery System <{MAILER_DAEMON}>"
    report["To"] = accepted.mail_from
    report["Subject"] = "Undelivered Mail Returned to Sender"
    report["Date"] = _now()
    report["Message-ID"] = make_msgid(domain=HOST_NAME)
    report["Auto-Submitted"] = "auto-replied"
    report.attach(MIMEText(_explanation(unknown), "plain", "us-ascii"))
    report.attach(_delivery_status(unknown))
    report.attach(_headers_of(accepted.raw))
    return report.as_bytes(policy=SMTP_POLICY)


def _explanation(unknown: str) -> str:
    return (
        f"This is the mail system at host {HOST_NAME}.\n\n"
        "Your message could not be delivered to the recipient below.\n\n"
        f"<{unknown}>: 550 5.1.1 User unknown\n"
    )


def _delivery_status(unknown: str) -> Message:
    of_message, of_recipient = Message(), Message()
    of_message["Reporting-MTA"] = f"dns; {HOST_NAME}"
    of_message["Arrival-Date"] = _now()
    of_recipient["Final-Recipient"] = f"rfc822; {unknown}"
    of_recipient["Action"] = "failed"
    of_recipient["Status"] = "5.1.1"
    of_recipient["Diagnostic-Code"] = "smtp; 550 5.1.1 User unknown"
    part = Message()
    part["Content-Type"] = "message/delivery-status"
    part.set_payload([of_message, of_recipient])
    return part


def _headers_of(raw: bytes) -> Message:
    header_lines = re.split(rb"\r?\n\r?\n", raw, maxsplit=1)[0] + b"\r\n"
    part = Message()
    part["Content-Type"] = "text/rfc822-headers"
    # surrogateescape: the generator turns what is not ASCII back into the very same bytes.
    part.set_payload(header_lines.decode("ascii", "surrogateescape"))
    return part


def _now() -> str:
    return format_datetime(datetime.now(UTC))
