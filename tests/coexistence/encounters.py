"""Two actors that meet in the same rows: how each encounter begins, and what each of them does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.followups.send import send_due_followups
from backend.app.inbox.sync import sync_due_mailboxes
from backend.app.models import (
    Client,
    Conversation,
    FolderCheckpoint,
    Followup,
    InboxMessage,
    MailboxState,
)
from backend.app.runtime import Report, Run
from tests.coexistence.paper import FOLDERS, PaperServers
from tests.coexistence.scheduler import Ran
from tests.installation import ALWAYS_OPEN, Installation, mail
from tests.servers.accounts import new_account

CLIENT = "jean@client.test"
ROOT, REPLY = "<root@client.test>", "<reply@client.test>"

# In the same second as a reminder it would come before or after it as the clock has it, and two
# trials of one order would differ.
SECONDS_AGO = 10

Work = Mapping[str, Callable[[], object]]


@dataclass
class Stage:
    """A company with a mailbox that has just been read, and its servers."""

    installation: Installation
    servers: PaperServers = field(default_factory=PaperServers)
    lease_seconds: int | None = None

    def __post_init__(self) -> None:
        self.company = self.installation.add_company()
        self.accounts: dict[int, Any] = {}
        self.mailbox = self.add_mailbox()

    def add_mailbox(self) -> int:
        account = new_account("a secret")
        made = self.installation.add_mailbox(self.company, account, self.servers, self.servers)
        self.accounts[made] = account
        now = datetime.now(UTC)
        state = {"fresh_at": now, "audited_at": now, "connected_at": now - timedelta(days=9)}

        def read_before(session: Session) -> None:
            session.add(MailboxState(integration_id=made, company_id=self.company, **state))
            for folder in FOLDERS:
                session.add(FolderCheckpoint(integration_id=made, name=folder.name, uidvalidity=1))

        self.installation.change(read_before)
        return made

    def receive(self, mailbox: int | None = None, **headers: str) -> None:
        account = self.accounts[mailbox or self.mailbox]
        given = {"sender": CLIENT, "to": self.accounts[self.mailbox].address, **headers}
        raw = mail(**given)  # type: ignore[arg-type]
        self.servers.append(account, raw, seconds_ago=SECONDS_AGO)

    def have_a_conversation(self) -> None:
        """The client has written before: that was read yesterday, and is no answer to anything."""
        self.receive(subject="Devis", message_id=ROOT)
        self.sync()
        at = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
        message = sa.update(InboxMessage).values(sent_at=at, arrived_at=at, created_at=at)
        conversation = sa.update(Conversation).values(last_message_at=at)
        self.installation.change(partial(execute_all, [message, conversation]))

    def reminder(self, **more: Any) -> int:
        (client,) = self.installation.rows(Client) or [None]
        known = client.id if client else self.installation.add_client(self.company, CLIENT)
        return self.installation.add_followup(self.company, known, **more)

    # -- what actors do --------------------------------------------------------------------

    def sync(self) -> None:
        self._job(sync_due_mailboxes)

    def send(self) -> None:
        self._job(send_due_followups)

    def _job(self, job: Callable[..., None]) -> None:
        settings = replace(self.installation.settings, sync_workers=1)  # the actor's own thread
        if self.lease_seconds is not None:
            settings = replace(settings, sync_lease_seconds=self.lease_seconds)
        report = Report()
        job(Run(settings, self.installation.vault, "w", lambda: False), report)
        assert not report.failed, report.counts

    def read_and_close(self) -> None:
        """A person reads the conversation and closes it: its row first, as everybody does."""
        closed = sa.update(Conversation).values(unread_count=0, status="closed")
        read = sa.update(InboxMessage).values(read=True)
        renamed = sa.update(Client).values(name="Jean Petit-Roy")
        for transaction in ([closed, read], [renamed]):
            self.installation.change(partial(execute_all, transaction))

    def note_the_payment(self) -> None:
        self.installation.change(partial(execute_all, [sa.update(Followup).values(status="paid")]))


def execute_all(statements: Sequence[sa.Update], session: Session) -> None:
    for statement in statements:
        session.execute(statement)


def new_client_and_reminder(stage: Stage) -> Work:
    """It goes on whatever the client says, so that mail and reminder surely meet."""
    stage.reminder(auto_stop_on_response=False)
    stage.receive(subject="Une question", message_id=ROOT)
    return {"sync": stage.sync, "sender": stage.send}


def unknown_client_in_two_mailboxes(stage: Stage) -> Work:
    """Two mails of somebody whom nobody knows, and one mail that went to both mailboxes."""
    for name, mailbox in (("first", stage.mailbox), ("second", stage.add_mailbox())):
        stage.receive(mailbox, subject="A tous", message_id=ROOT)
        stage.receive(mailbox, subject=f"Question {name}", message_id=f"<{name}@client.test>")
    return {"sync": stage.sync, "other sync": stage.sync}


def written_to_from_two_mailboxes(stage: Stage) -> Work:
    """The company wrote to somebody whom nobody knows, twice; nobody counts its own mails."""
    for name, mailbox in (("first", stage.mailbox), ("second", stage.add_mailbox())):
        account = stage.accounts[mailbox]
        letter = mail(sender=account.address, to=CLIENT, message_id=f"<{name}@example.test>")
        stage.servers.append(account, letter, "Sent")
    return {"sync": stage.sync, "other sync": stage.sync}


def reply_and_reminder(stage: Stage) -> Work:
    stage.have_a_conversation()
    stage.reminder()
    stage.receive(subject="Re: Devis", message_id=REPLY, In_Reply_To=ROOT)
    return {"sync": stage.sync, "sender": stage.send}


def mail_and_reminder_in_one_conversation(stage: Stage) -> Work:
    stage.have_a_conversation()
    stage.reminder(auto_stop_on_response=False)
    stage.receive(subject="Re: Devis", message_id=REPLY, In_Reply_To=ROOT)
    return {"sync": stage.sync, "sender": stage.send}


def copy_in_sent_and_settlement(stage: Stage) -> Work:
    stage.servers.files_copies = stage.accounts[stage.mailbox]
    stage.reminder()
    return {"sync": stage.sync, "sender": stage.send}


def two_syncs_of_one_mailbox(stage: Stage) -> Work:
    """Leases of no length: each may take the mailbox from the other at any time."""
    stage.lease_seconds = 0
    stage.receive(subject="Devis", message_id=ROOT)
    stage.receive(subject="Re: Devis", message_id=REPLY, In_Reply_To=ROOT)
    return {"sync": stage.sync, "other sync": stage.sync}


def two_senders(stage: Stage) -> Work:
    """Two reminders to one client, who gets one mail in two days."""
    rules = {"client_gap_days": 2}
    stage.installation.set_settings(stage.company, gap_of(rules))
    stage.reminder()
    stage.reminder()
    return {"sender": stage.send, "other sender": stage.send}


def gap_of(budgets: dict[str, int]) -> dict[str, Any]:
    return {"followups": {**ALWAYS_OPEN, "budgets": {**ALWAYS_OPEN["budgets"], **budgets}}}


def sync_and_company(stage: Stage) -> Work:
    stage.have_a_conversation()
    stage.receive(subject="Re: Devis", message_id=REPLY, In_Reply_To=ROOT)
    return {"sync": stage.sync, "company": stage.read_and_close}


def sender_and_company(stage: Stage) -> Work:
    stage.have_a_conversation()
    stage.reminder(auto_stop_on_response=False)
    return {"sender": stage.send, "company": stage.note_the_payment}


def no_body_after(ran: Ran, actor: str, what: str) -> list[str]:
    """A body that went out though the other had committed `what` before `sending` was committed."""
    bodies, written = ran.where("sender", "body"), ran.where(actor, what)
    commits = [n for n in ran.where(actor, "COMMIT") if written and n > written[0]]
    sending = [n for n in ran.where("sender", "COMMIT") if bodies and n < bodies[0]]
    if sending and commits and commits[0] < sending[-1]:
        return [f"a body went out after {actor} had committed {what}"]
    return []


def only_what_happened(_ran: Ran) -> list[str]:
    return []


@dataclass(frozen=True)
class Encounter:
    """mails: how many may have been delivered when both have ended; each number does happen.

    passes_by: a sender passes by a follow-up whose row is held, and leaves it to its next run. No
    order of whole transactions holds a row, so what that leaves is compared with none of them.
    """

    name: str
    begin: Callable[[Stage], Work]
    mails: tuple[int, ...]
    wrong: Callable[[Ran], list[str]] = only_what_happened
    passes_by: bool = False


ENCOUNTERS = (
    Encounter("new mail from a new client, reminder to that client", new_client_and_reminder, (1,)),
    Encounter("unknown client in two mailboxes, two syncs", unknown_client_in_two_mailboxes, (0,)),
    Encounter("mails to an unknown client, two syncs", written_to_from_two_mailboxes, (0,)),
    Encounter(
        "reply, reminder",
        reply_and_reminder,
        (0, 1),
        lambda ran: no_body_after(ran, "sync", "INSERT INTO inbox_messages"),
    ),
    Encounter("mail, reminder in one conversation", mail_and_reminder_in_one_conversation, (1,)),
    Encounter("copy in Sent, settlement", copy_in_sent_and_settlement, (1,)),
    Encounter("two syncs of one mailbox", two_syncs_of_one_mailbox, (0,)),
    Encounter("two senders", two_senders, (1,), passes_by=True),
    Encounter("sync, company", sync_and_company, (0,)),
    Encounter(
        "sender, company",
        sender_and_company,
        (0, 1),
        lambda ran: no_body_after(ran, "company", "UPDATE followups"),
        passes_by=True,
    ),
)
