"""Somebody with a mailbox and a mail program: reads over IMAP, writes over SMTP."""

from __future__ import annotations

import email
import imaplib
import smtplib
import textwrap
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from backend.demo.servers import Account, MailServers

# Folding would turn a long Message-ID into encoded words, which no mail program does.
UNFOLDED = SMTP.clone(max_line_length=998)
SECONDS = 20


@dataclass(frozen=True, slots=True)
class File:
    """A file that goes with a mail."""

    name: str
    content_type: str
    content: bytes


class Correspondent:
    """The owner of an account on the embedded servers."""

    def __init__(self, servers: MailServers, account: Account, name: str) -> None:
        self._servers = servers
        self._account = account
        self.name = name
        self.address = account.address

    def read(self, folder: str = "INBOX") -> list[EmailMessage]:
        """The mails of a folder, oldest first. Nothing is marked as seen."""
        with self._open(folder) as connection:
            numbers = connection.search(None, "ALL")[1][0].split()
            fetched = [connection.fetch(number.decode(), "(BODY.PEEK[])") for number in numbers]
        return [_parsed(data[0][1]) for _, data in fetched]  # type: ignore[index, arg-type]

    def count(self, criterion: str = "ALL", folder: str = "INBOX") -> int:
        """How many mails of a folder an IMAP SEARCH finds: 'ALL', 'SEEN', ..."""
        with self._open(folder) as connection:
            return len(connection.search(None, criterion)[1][0].split())

    def _open(self, folder: str) -> imaplib.IMAP4:
        connection = imaplib.IMAP4(self._servers.host, self._servers.imap_port, SECONDS)
        connection.login(self._account.username, self._account.password)
        connection.select(folder, readonly=True)
        return connection

    def send(self, mail: EmailMessage) -> None:
        """Hand a mail to the server; it lies in its recipients' mailboxes on return."""
        with smtplib.SMTP(self._servers.host, self._servers.smtp_port, timeout=SECONDS) as server:
            server.login(self._account.username, self._account.password)
            server.send_message(mail)

    def write(self, to: str, subject: str, text: str, *, cc: str = "") -> EmailMessage:
        """A new mail, as Apple Mail makes it."""
        mail = self._mail(to, subject)
        if cc:
            mail["Cc"] = cc
        mail["X-Mailer"] = "Apple Mail (2.3826.300.87)"
        mail.set_content(text, cte="quoted-printable")
        return mail

    def answer(self, original: EmailMessage, text: str) -> EmailMessage:
        """A person's answer that quotes the original, as Thunderbird makes it."""
        mail = self._mail(original["From"], f"Re: {original['Subject']}")
        _refer(mail, original)
        mail["User-Agent"] = "Mozilla Thunderbird"
        mail["Content-Language"] = "fr"
        mail.set_content(f"{text.strip()}\n\n{_quoted(original)}", cte="8bit")
        mail.set_param("format", "flowed")
        return mail

    def out_of_office(self, original: EmailMessage, text: str) -> EmailMessage:
        """What Exchange answers by itself while its user is away."""
        mail = self._mail(original["From"], f"Réponse automatique : {original['Subject']}")
        _refer(mail, original)
        mail["Thread-Topic"] = str(original["Subject"])
        mail["Auto-Submitted"] = "auto-generated"
        mail["X-Auto-Response-Suppress"] = "All"
        mail["X-MS-Exchange-Inbox-Rules-Loop"] = self.address
        mail.set_content(text, cte="quoted-printable")
        return mail

    def _mail(self, to: str, subject: str) -> EmailMessage:
        mail = EmailMessage(UNFOLDED)
        mail["From"] = Address(self.name, addr_spec=self.address)
        mail["To"] = to
        mail["Subject"] = subject
        mail["Date"] = format_datetime(datetime.now(UTC))
        mail["Message-ID"] = f"<{uuid.uuid4()}@{self.address.rpartition('@')[2]}>"
        return mail


def attach(mail: EmailMessage, file: File) -> EmailMessage:
    """The same mail with a file; a name with accents is written as RFC 2231 says."""
    maintype, _, subtype = file.content_type.partition("/")
    mail.add_attachment(file.content, maintype, subtype, filename=file.name)
    return mail


def text_of(mail: EmailMessage) -> str:
    """The plain text of a mail, '' without one."""
    body = mail.get_body(("plain",))
    return str(body.get_content()) if body is not None else ""


def _parsed(raw: bytes) -> EmailMessage:
    return email.message_from_bytes(raw, policy=UNFOLDED)


def _refer(mail: EmailMessage, original: EmailMessage) -> None:
    """RFC 5322, 3.6.4."""
    earlier = original["References"] or ""
    mail["In-Reply-To"] = original["Message-ID"]
    mail["References"] = f"{earlier} {original['Message-ID']}".strip()


def _quoted(original: EmailMessage) -> str:
    sent = original["Date"].datetime.astimezone()
    writer = original["From"].addresses[0].display_name
    head = f"Le {sent:%d/%m/%Y} à {sent:%H:%M}, {writer} a écrit :"
    return f"{head}\n{textwrap.indent(text_of(original), '> ', lambda _: True)}"
