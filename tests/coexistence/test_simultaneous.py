"""Both scripts at the same instant, as real processes, for some rounds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backend.app.models import (
    AutoState,
    Client,
    Conversation,
    CronRun,
    Followup,
    InboxMessage,
    LedgerEntry,
    LedgerState,
    OutboxMail,
)
from tests.coexistence.books import delivery_faults, imbalances, unaccounted
from tests.coexistence.extent import EVERY_DATABASE, ROUNDS
from tests.coexistence.launch import Ended, run_together
from tests.coexistence.scenes import Mailbox, due_reminders, fill, new_mailbox, threads
from tests.installation import Installation, mail
from tests.servers.faulty_smtp import AcceptedMail, FaultySmtpServer

pytestmark = EVERY_DATABASE

CLIENTS, REPLIES = 10, 2
OLD_CLIENT, OLD_ROOT = "jean@client.test", "<old@client.test>"
NEW_CLIENTS = 4
REMINDERS = 20


def complaints(*runs: Ended) -> list[str]:
    """What a healthy day never shows: an exit status but 0, a warning, what operators grep for."""
    return [
        f"{run.command} status={run.status} {run.conflicts} {run.warnings}"
        for run in runs
        if run.status or run.conflicts or run.warnings
    ]


@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_two_syncs_of_one_mailbox_store_each_mail_once(
    installation: Installation, embedded_imap: Any, round_number: int
) -> None:
    box = new_mailbox(installation, embedded_imap)
    number = fill(embedded_imap, box.account, threads(box.account.address, CLIENTS, REPLIES))

    runs = run_together(installation, ["sync"], ["sync"])

    assert complaints(*runs) == []
    assert imbalances(installation) == []
    assert unaccounted(installation, embedded_imap, box.id, box.account) == []
    assert installation.count(InboxMessage) == number
    assert installation.count(Conversation) == installation.count(Client) == CLIENTS


@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_two_syncs_of_two_mailboxes_with_the_same_mails_store_each_mail_once(
    installation: Installation, embedded_imap: Any, round_number: int
) -> None:
    first = new_mailbox(installation, embedded_imap)
    second = new_mailbox(installation, embedded_imap, company_id=first.company_id)
    to = f"{first.account.address}, {second.account.address}"
    mails = list(threads(to, CLIENTS, REPLIES))
    for box in (first, second):
        fill(embedded_imap, box.account, iter(mails))

    runs = run_together(installation, ["sync"], ["sync"])

    assert complaints(*runs) == []
    assert imbalances(installation) == []
    for box in (first, second):
        assert unaccounted(installation, embedded_imap, box.id, box.account) == []
    assert installation.count(InboxMessage) == len(mails)
    assert installation.count(Conversation) == installation.count(Client) == CLIENTS
    duplicate = LedgerEntry.state == LedgerState.DUPLICATE.value
    assert installation.count(LedgerEntry, duplicate) == len(mails)


@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_two_syncs_of_different_mails_of_the_same_clients_make_one_of_each(
    installation: Installation, embedded_imap: Any, round_number: int
) -> None:
    first = new_mailbox(installation, embedded_imap)
    second = new_mailbox(installation, embedded_imap, company_id=first.company_id)
    old = mail(sender=OLD_CLIENT, to=first.account.address, message_id=OLD_ROOT)
    embedded_imap.append(first.account, old)
    assert not installation.sync().failed
    number = sum(old_thread_and_new_clients(embedded_imap, box) for box in (first, second))

    runs = run_together(installation, ["sync"], ["sync"])

    assert complaints(*runs) == []
    assert imbalances(installation) == []
    assert installation.count(InboxMessage) == number + 1
    assert installation.count(Client) == CLIENTS + 1
    assert installation.count(Conversation) == 2 * CLIENTS + 1


def old_thread_and_new_clients(imap: Any, box: Mailbox) -> int:
    """In turn: a mail into the one old thread, arrived ever longer ago; one of a new client."""
    to, now = box.account.address, datetime.now(UTC)
    for number in range(CLIENTS):
        answer = mail(sender=OLD_CLIENT, to=to, In_Reply_To=OLD_ROOT)
        imap.append(box.account, answer, when=now - timedelta(minutes=number))
        question = mail(sender=f"new{number}@client.test", to=to, subject=f"Question {number}")
        imap.append(box.account, question)
    return 2 * CLIENTS


@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_mail_and_reminder_of_a_new_client_at_once_make_one_of_each(
    installation: Installation, embedded_imap: Any, faulty_smtp: FaultySmtpServer, round_number: int
) -> None:
    box = new_mailbox(installation, embedded_imap, faulty_smtp)
    followups = due_reminders(installation, box, NEW_CLIENTS)
    # Half of them go on whatever the client says, so that mail and reminder surely meet.
    for followup in followups[::2]:
        installation.set(Followup, followup, auto_stop_on_response=False)
    installation.sync()  # what comes from now on is new mail, and the mailbox stays fresh
    number = fill(embedded_imap, box.account, first_mails(installation, box))

    runs = run_together(installation, ["sync"], ["followups"])

    accepted = faulty_smtp.accepted()
    assert complaints(*runs) == []
    assert imbalances(installation) == []
    assert unaccounted(installation, embedded_imap, box.id, box.account) == []
    assert delivery_faults(installation, accepted) == []
    assert installation.count(Client) == NEW_CLIENTS
    assert installation.count(InboxMessage, InboxMessage.is_from_client) == number
    assert unreminded(installation, accepted) == []


def first_mails(installation: Installation, box: Mailbox) -> Iterator[bytes]:
    for client in installation.rows(Client, Client.company_id == box.company_id):
        yield mail(sender=client.email, to=box.account.address, subject="Une question")


def unreminded(installation: Installation, accepted: list[AcceptedMail]) -> list[int]:
    """Follow-ups that neither sent their reminder nor stopped because the client has answered."""
    delivered = {(mail.message_id or "").strip("<>") for mail in accepted}
    sent = {m.followup_id for m in installation.rows(OutboxMail) if m.message_id in delivered}
    return [
        followup.id
        for followup in installation.rows(Followup)
        if followup.id not in sent
        and not (followup.auto_stop_on_response and followup.auto_state == AutoState.STOPPED.value)
    ]


@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_three_senders_send_each_reminder_once(
    installation: Installation, embedded_imap: Any, faulty_smtp: FaultySmtpServer, round_number: int
) -> None:
    box = new_mailbox(installation, embedded_imap, faulty_smtp)
    due_reminders(installation, box, REMINDERS)

    runs = run_together(installation, ["followups"], ["followups"], ["followups"])

    assert complaints(*runs) == []
    assert imbalances(installation) == []
    assert delivery_faults(installation, faulty_smtp.accepted()) == []
    assert len(faulty_smtp.accepted()) == REMINDERS
    assert installation.count(OutboxMail, OutboxMail.state == "sent") == REMINDERS
    sent = [run.counts.get("sent", 0) for run in installation.rows(CronRun)]
    assert sum(sent) == REMINDERS
