"""One company's shared inbox on test servers, as the tests of the minute job look at it."""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from imapclient import IMAPClient

from backend.app import db
from backend.app.inbox.sync import sync_due_mailboxes
from backend.app.mail.folder import FetchedMail
from backend.app.mail.imap import MailboxConnection
from backend.app.models import Conversation, InboxMessage, LedgerEntry, MailboxState
from backend.app.runtime import Progress, Report, Run
from backend.app.store import reminders
from backend.demo.servers import Account
from tests.installation import Installation, mail

CLIENT = "Jean Petit <jean@client.test>"


class Killed(BaseException):
    """What a process that is killed looks like from inside: nothing after it runs."""


@dataclass
class Desk:
    """A company with one mailbox on an IMAP server, read by in-process runs."""

    installation: Installation
    server: Any
    account: Account
    company: int
    mailbox: int
    accounts: dict[int, Account] = field(default_factory=dict)
    progress: Any = field(default_factory=Progress)

    # -- the server ------------------------------------------------------------------------

    def add_mailbox(self, **more: Any) -> int:
        """Another mailbox of the same company."""
        account = self.server.add_user()
        mailbox = self.installation.add_mailbox(self.company, account, self.server, **more)
        self.accounts[mailbox] = account
        return mailbox

    def receive(
        self,
        raw: bytes,
        folder: str = "INBOX",
        *,
        mailbox: int | None = None,
        when: datetime | None = None,
    ) -> None:
        """Put a mail into a folder on the server; in the first mailbox if none is named."""
        self.server.append(self.accounts[mailbox or self.mailbox], raw, folder, when)

    def mail(self, subject: str = "Bonjour", *, sender: str = CLIENT, **more: str) -> bytes:
        """A mail from the client to the company's first mailbox."""
        return mail(sender=sender, to=self.account.address, subject=subject, **more)

    def reply(self, to: str, subject: str = "Re: Bonjour", **more: str) -> bytes:
        """A mail that refers to the Message-ID `to`, given without `<>`."""
        return self.mail(subject, In_Reply_To=f"<{to}>", References=f"<{to}>", **more)

    def sent(self, to: str, subject: str = "Bonjour", **more: str) -> bytes:
        """A mail from the company's first mailbox."""
        return mail(sender=self.account.address, to=to, subject=subject, **more)

    @contextmanager
    def client(self, mailbox: int | None = None) -> Iterator[IMAPClient]:
        """Somebody else's connection to the mailbox: a mail program."""
        account = self.accounts[mailbox or self.mailbox]
        context = ssl.create_default_context(cafile=str(self.server.ca_file))
        client = IMAPClient(self.server.host, self.server.tls_port, ssl_context=context, timeout=20)
        with client:
            client.login(account.username, account.password)
            yield client

    def expunge(self, *uids: int) -> None:
        """Delete mails of INBOX for good, as a mail program would."""
        with self.client() as client:
            client.select_folder("INBOX")
            client.delete_messages(uids)
            client.expunge()

    def uids(self, folder: str = "INBOX") -> list[int]:
        with self.client() as client:
            client.select_folder(folder, readonly=True)
            return sorted(client.search("ALL"))

    # -- runs ------------------------------------------------------------------------------

    def sync(
        self, stopping: Callable[[], bool] = lambda: False, **selection: int
    ) -> dict[str, int]:
        """The minute job in this process: the counts of its report."""
        return self.run(stopping, **selection).counts

    def run(self, stopping: Callable[[], bool] = lambda: False, **selection: int) -> Report:
        self.installation.open()
        report = Report()
        settings, vault = self.installation.settings, self.installation.vault
        run = Run(settings, vault, "desk:1:1", stopping, progress=self.progress)
        sync_due_mailboxes(run, report, **selection)
        return report

    def kill(self) -> None:
        """Run until something raises Killed; then the lease ends, as it does with time."""
        with pytest.raises(Killed):
            self.run()
        self.end_leases()

    def end_leases(self) -> None:
        self._set_states(lease_until=_long_ago())

    def end_pauses(self) -> None:
        """As if every back-off were over."""
        self._set_states(next_sync_at=_long_ago())

    def _set_states(self, **values: Any) -> None:
        self.installation.change(lambda s: s.execute(sa.update(MailboxState).values(**values)))

    # -- what is stored --------------------------------------------------------------------

    def ledger(self, mailbox: int | None = None) -> Counter[str]:
        """How many UIDs of the mailbox are in each state."""
        entries = self.installation.rows(
            LedgerEntry, LedgerEntry.integration_id == (mailbox or self.mailbox)
        )
        return Counter(entry.state for entry in entries)

    def messages(self) -> list[InboxMessage]:
        return self.installation.rows(InboxMessage)

    def message(self, subject: str) -> InboxMessage:
        (found,) = self.installation.rows(InboxMessage, InboxMessage.subject == subject)
        assert isinstance(found, InboxMessage)
        return found

    def subjects(self) -> list[str]:
        return sorted(message.subject for message in self.messages())

    def has_in_quarantine(self, sender_key: str) -> bool:
        """As the sender of reminders asks: it may be an answer (I7)."""
        given = {"company_id": self.company, "client_key": sender_key}
        return bool(db.read(lambda s: s.scalar(sa.select(reminders.IN_QUARANTINE), given)))

    def conversations(self) -> list[Conversation]:
        return self.installation.rows(Conversation)

    def conversation(self) -> Conversation:
        """The only one that there is."""
        (found,) = self.conversations()
        return found

    def state(self, mailbox: int | None = None) -> MailboxState:
        wanted = MailboxState.integration_id == (mailbox or self.mailbox)
        (found,) = self.installation.rows(MailboxState, wanted)
        assert isinstance(found, MailboxState)
        return found


def open_desk(installation: Installation, server: Any) -> Desk:
    installation.ca_file = server.ca_file
    # One mailbox after the other, so that a test can say which was first; see test_workers.py.
    installation.extra.setdefault("SYNC_WORKERS", "1")
    account = server.add_user()
    company = installation.add_company()
    mailbox = installation.add_mailbox(company, account, server)
    return Desk(installation, server, account, company, mailbox, {mailbox: account})


@dataclass
class Fetches:
    """Which UIDs were asked for their bodies, watched at the network's edge."""

    uids: list[int] = field(default_factory=list)
    before: Callable[[list[int]], None] = lambda uids: None

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        original = MailboxConnection.mails

        def mails(connection: MailboxConnection, uids: list[int]) -> list[FetchedMail]:
            self.before(list(uids))
            self.uids.extend(uids)
            return original(connection, uids)

        monkeypatch.setattr(MailboxConnection, "mails", mails)


def ago(**duration: float) -> datetime:
    return datetime.now(UTC) - timedelta(**duration)


def date_header(moment: datetime) -> str:
    return moment.strftime("%a, %d %b %Y %H:%M:%S +0000")


def _long_ago() -> sa.ColumnElement[datetime]:
    return db.database_now(-3600)
