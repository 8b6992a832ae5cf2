"""The owner's first scenario, instant by instant: both scripts meet one new client.

sender                                    sync
------                                    ----
claims the reminder: no conversation yet
'sending' is committed, the body is out
                                          the client's mail: locks the client, opens its
                                          conversation, has not committed yet
reads its 250 and settles: waits for the
client's row
                                          commits
finds the conversation and joins it
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from backend.app import db
from backend.app.models import Conversation, Followup, InboxMessage, OutboxMail
from tests.coexistence.books import delivery_faults, imbalances
from tests.coexistence.launch import at_the_start
from tests.coexistence.scenes import Mailbox, due_reminders, new_mailbox
from tests.coexistence.waiting import wait_until_blocked
from tests.installation import Installation, mail
from tests.servers.databases import Database
from tests.servers.faulty_smtp import AcceptedMail, FaultySmtpServer

PATIENCE_SECONDS = 20.0


class HoldingSmtpServer(FaultySmtpServer):
    """Takes a mail over at once, and answers when it is told to."""

    def __init__(self, record: Path) -> None:
        super().__init__(record)
        self.arrived = threading.Event()
        self.may_answer = threading.Event()

    def accept(self, mail: AcceptedMail) -> None:
        super().accept(mail)
        self.arrived.set()
        self.may_answer.wait(PATIENCE_SECONDS)


@pytest.fixture
def holding_smtp(tmp_path: Path) -> Iterator[HoldingSmtpServer]:
    with HoldingSmtpServer(tmp_path / "accepted.jsonl") as server:
        yield server
        server.may_answer.set()


@pytest.fixture
def box(installation: Installation, embedded_imap: Any, holding_smtp: HoldingSmtpServer) -> Mailbox:
    """A mailbox whose one client is new; a reminder to that client is due."""
    made = new_mailbox(installation, embedded_imap, holding_smtp)
    due_reminders(installation, made, 1)
    return made


def write_to(imap: Any, box: Mailbox, client_email: str, **headers: str) -> None:
    raw = mail(sender=client_email, to=box.account.address, subject="Une question", **headers)
    imap.append(box.account, raw)


def client_email(installation: Installation) -> str:
    (reminder,) = installation.rows(OutboxMail)
    return str(reminder.recipient)


def test_reminder_joins_the_conversation_that_a_mail_opens_at_that_instant(
    installation: Installation,
    database: Database,
    embedded_imap: Any,
    holding_smtp: HoldingSmtpServer,
    box: Mailbox,
) -> None:
    with at_the_start(installation, ["followups"]) as (sender,):
        sender.go()
        assert holding_smtp.arrived.wait(PATIENCE_SECONDS)
        write_to(embedded_imap, box, client_email(installation))

        def let_the_sender_settle(*statement: Any) -> None:
            if holding_smtp.may_answer.is_set():
                return
            if "INSERT INTO inbox_messages" in statement[2]:
                holding_smtp.may_answer.set()
                wait_until_blocked(database, lambda: sender.has_ended)

        engine = db.SessionLocal.kw["bind"]
        event.listen(engine, "before_cursor_execute", let_the_sender_settle)
        installation.sync()
        event.remove(engine, "before_cursor_execute", let_the_sender_settle)
        ended = sender.end()

    assert (ended.status, ended.conflicts) == (0, [])
    (conversation,) = installation.rows(Conversation)
    assert conversation.thread_key.startswith("mail:")
    assert installation.count(InboxMessage) == 2
    assert imbalances(installation) == []
    assert delivery_faults(installation, holding_smtp.accepted()) == []


def test_answer_finds_the_reminder_that_joined_another_conversation(
    installation: Installation, embedded_imap: Any, holding_smtp: HoldingSmtpServer, box: Mailbox
) -> None:
    with at_the_start(installation, ["followups"]) as (sender,):
        sender.go()
        assert holding_smtp.arrived.wait(PATIENCE_SECONDS)
        email = client_email(installation)
        write_to(embedded_imap, box, email)
        installation.sync()
        holding_smtp.may_answer.set()
        assert sender.end().status == 0

    (reminder,) = installation.rows(OutboxMail)
    write_to(embedded_imap, box, email, In_Reply_To=f"<{reminder.message_id}>")
    installation.sync()

    (conversation,) = installation.rows(Conversation)
    assert installation.count(InboxMessage) == 3
    assert installation.rows(Followup)[0].conversation_id == conversation.id
    assert imbalances(installation) == []


def test_copy_in_sent_and_settlement_agree_on_the_conversation(
    installation: Installation, embedded_imap: Any, holding_smtp: HoldingSmtpServer, box: Mailbox
) -> None:
    with at_the_start(installation, ["followups"]) as (sender,):
        sender.go()
        assert holding_smtp.arrived.wait(PATIENCE_SECONDS)
        write_to(embedded_imap, box, client_email(installation))
        embedded_imap.append(box.account, holding_smtp.accepted()[0].raw, "Sent")
        installation.sync()
        holding_smtp.may_answer.set()
        assert sender.end().status == 0

    (conversation,) = installation.rows(Conversation)
    assert installation.rows(Followup)[0].conversation_id == conversation.id
    assert installation.count(InboxMessage) == 2
    assert imbalances(installation) == []
