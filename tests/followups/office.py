"""A company whose reminders are due: its mailbox, its clients, and the clock of its runs."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app import db
from backend.app.followups.claim import claim_followup
from backend.app.followups.policy import Decision
from backend.app.mail.message import ParsedMail
from backend.app.mail.parse import parse_mail
from backend.app.models import (
    Base,
    Followup,
    FollowupHistory,
    InboxMessage,
    MailboxState,
    OutboxMail,
)
from backend.app.runtime import Report
from backend.app.store.records import OutboxClaim
from tests.installation import Installation
from tests.servers.accounts import new_account

LEASE_SECONDS = 300


@dataclass(frozen=True)
class NoImap:
    """For a mailbox that no test of this directory reads."""

    host: str = "127.0.0.1"
    tls_port: int = 1


@dataclass
class Office:
    """A company with one mailbox. Its clients' addresses are its own on every test server."""

    installation: Installation
    smtp: Any
    imap: Any
    account: Any
    company: int
    mailbox: int
    tag: str = field(default_factory=lambda: secrets.token_hex(4))

    def address(self, name: str = "client") -> str:
        return f"{name}.{self.tag}@client.test"

    def client(self, name: str = "client", **more: Any) -> int:
        return self.installation.add_client(self.company, self.address(name), **more)

    def reminder(self, name: str = "client", **more: Any) -> int:
        """A follow-up to a new client, its first step due."""
        return self.installation.add_followup(self.company, self.client(name), **more)

    def send(self, now: datetime | None = None, **selection: int) -> Report:
        """The hourly job at `now`, every mailbox just synchronised."""
        freshen(self.installation, now or db.utc_now())
        return self.installation.send(now, **selection)

    def claim(
        self, followup_id: int, owner: str = "a", now: datetime | None = None
    ) -> tuple[Decision, OutboxClaim | None] | None:
        """Decide and claim, as a run would, every mailbox just synchronised."""
        now = now or db.utc_now()
        freshen(self.installation, now)
        return db.write(claim_followup, followup_id, owner, LEASE_SECONDS, now)

    def claimed(self, followup_id: int, owner: str = "a") -> OutboxClaim:
        """A claim that is known to succeed."""
        result = self.claim(followup_id, owner)
        assert result is not None
        assert result[1] is not None, result[0]
        return result[1]

    def delivered(self, name: str = "client") -> list[ParsedMail]:
        return [parse_mail(raw) for raw in self.smtp.delivered(self.address(name))]

    def followup(self, followup_id: int) -> Any:
        return self.installation.rows(Followup, Followup.id == followup_id)[0]

    def outbox(self, followup_id: int, step: int = 1) -> Any:
        found = self.installation.rows(
            OutboxMail, OutboxMail.followup_id == followup_id, OutboxMail.step == step
        )
        assert len(found) == 1
        return found[0]

    def history(self, followup_id: int) -> list[str]:
        rows = self.installation.rows(FollowupHistory, FollowupHistory.followup_id == followup_id)
        return [row.status for row in rows]

    def messages(self, *conditions: Any) -> list[Any]:
        return self.installation.rows(
            InboxMessage, InboxMessage.company_id == self.company, *conditions
        )

    def state(self, followup_id: int) -> tuple[str, str | None]:
        row = self.followup(followup_id)
        return row.auto_state, row.auto_reason


def open_office(
    installation: Installation, smtp: Any, imap: Any = None, company: int | None = None, **more: Any
) -> Office:
    """more: columns of the mailbox. Without imap, nobody reads it."""
    account = new_account("a secret") if imap is None else imap.add_user()
    company = installation.add_company() if company is None else company
    mailbox = installation.add_mailbox(company, account, imap or NoImap(), smtp, **more)
    return Office(installation, smtp, imap, account, company, mailbox)


def freshen(installation: Installation, at: datetime) -> None:
    """As if every mailbox had been read completely at this instant."""

    def write(session: Session) -> None:
        mailboxes = sa.text("SELECT id, company_id FROM inbox_integrations")
        for mailbox_id, company_id in session.execute(mailboxes).all():
            session.merge(
                MailboxState(integration_id=mailbox_id, company_id=company_id, fresh_at=at)
            )

    installation.change(write)


def everything(installation: Installation) -> dict[str, list[Any]]:
    """Every row of every table, to compare before and after."""

    def read(session: Session) -> dict[str, list[Any]]:
        return {
            table.name: [tuple(row) for row in session.execute(_in_order(table))]
            for table in Base.metadata.sorted_tables
        }

    return dict(installation.change(read))


def _in_order(table: sa.Table) -> sa.Select[Any]:
    return sa.select(table).order_by(*table.primary_key.columns)


class FaultyPost:
    """The faulty server with the same way to ask what it took as the others."""

    sign_in = False

    def __init__(self, server: Any) -> None:
        self.server = server
        self.host: str = server.host
        self.port: int = server.port
        self.record: Path = server.record

    def delivered(self, address: str) -> list[bytes]:
        return [mail.raw for mail in self.server.accepted() if address in mail.recipients]
