"""The rows and mails with which the tests begin."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any

from tests.installation import ALWAYS_OPEN, Installation, mail


@dataclass(frozen=True)
class Mailbox:
    """A company's mailbox and the account behind it."""

    id: int
    company_id: int
    account: Any


def new_mailbox(
    installation: Installation, imap: Any, smtp: Any = None, company_id: int | None = None
) -> Mailbox:
    """An empty mailbox of a company, of a new one unless one is given."""
    account = imap.add_user()
    if company_id is None:
        company_id = installation.add_company()
    mailbox_id = installation.add_mailbox(company_id, account, imap, smtp)
    return Mailbox(mailbox_id, company_id, account)


def threads(to: str, clients: int, replies: int) -> Iterator[bytes]:
    """Mails of new clients, each of whom opens a thread and then writes into it again."""
    batch = secrets.token_hex(4)
    for number in range(clients):
        sender = f"Client {number} <c{number}-{batch}@client.test>"
        root = f"<{number}.{batch}@client.test>"
        yield mail(sender=sender, to=to, subject=f"Devis {number}", message_id=root)
        for _ in range(replies):
            yield mail(sender=sender, to=to, subject=f"Re: Devis {number}", In_Reply_To=root)


def fill(imap: Any, account: Any, mails: Iterator[bytes]) -> int:
    """Put the mails into the INBOX; returns how many."""
    return sum(1 for raw in mails if imap.append(account, raw) is None)


def due_reminders(installation: Installation, mailbox: Mailbox, number: int) -> list[int]:
    """Follow-ups whose first reminder is due, each to a new client, in a fresh mailbox."""
    batch = secrets.token_hex(4)
    clients = [
        installation.add_client(mailbox.company_id, f"r{n}-{batch}@client.test")
        for n in range(number)
    ]
    ids = [installation.add_followup(mailbox.company_id, client) for client in clients]
    installation.make_fresh(mailbox.id, mailbox.company_id)
    return ids


def grouped_reminders(installation: Installation, mailbox: Mailbox, number: int) -> list[int]:
    """Follow-ups of one new client that are due and, by the company's wish, go in one mail."""
    rules = {**ALWAYS_OPEN, "invoice_unpaid": {"group": True}}
    installation.set_settings(mailbox.company_id, {"followups": rules})
    address = f"g-{secrets.token_hex(4)}@client.test"
    client = installation.add_client(mailbox.company_id, address)
    ids = [installation.add_followup(mailbox.company_id, client) for _ in range(number)]
    installation.make_fresh(mailbox.id, mailbox.company_id)
    return ids


def mail_with_file(*, sender: str, to: str, message_id: str | None = None) -> bytes:
    """A mail with a text and an attached file; no two files are alike."""
    made = EmailMessage(policy=SMTP)
    made["From"], made["To"], made["Subject"] = sender, to, "Plan"
    made["Message-ID"] = message_id or f"<{secrets.token_hex(8)}@client.test>"
    made["Date"] = format_datetime(datetime.now(UTC))
    made.set_content("Bonjour,\n\nLe plan est joint.\n")
    made.add_attachment(
        secrets.token_bytes(64), maintype="application", subtype="pdf", filename="plan.pdf"
    )
    return made.as_bytes()
