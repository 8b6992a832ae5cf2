"""Whoever has answered gets no reminder (I7), on real mail that the sync script has read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from backend.app import db
from backend.app.models import Client, Followup, InboxMessage, OutboxMail
from tests.followups import letters
from tests.followups.office import FaultyPost, Office, open_office
from tests.installation import Installation, mail
from tests.servers.embedded_imap import EmbeddedImapServer
from tests.servers.faulty_smtp import FaultySmtpServer

ANSWERED = ("stopped", "answered")
BOUNCED = ("held", "bounced_hard")
GOES_ON = ("active", None)
Letter = Callable[[Office, Any], bytes]


def first_step(office: Office, **more: Any) -> int:
    followup = office.reminder(**more)
    assert office.send().counts == {"sent": 1}
    return followup


def receive(office: Office, raw: bytes, **more: Any) -> None:
    office.imap.append(office.account, raw, **more)
    office.installation.sync(company_id=office.company)


def second_look(office: Office, followup: int) -> None:
    office.send(office.followup(followup).next_action_at)


@pytest.mark.parametrize(
    ("letter", "state"),
    [
        (letters.reply, ANSWERED),
        (letters.another_matter, ANSWERED),
        (letters.out_of_office, GOES_ON),
        (letters.bounce, BOUNCED),
        (letters.newsletter, GOES_ON),
        (letters.stranger, GOES_ON),
        (letters.meddler, GOES_ON),
    ],
)
def test_what_counts_as_an_answer(
    read_office: Office, letter: Letter, state: tuple[str, str | None]
) -> None:
    office = read_office
    followup = first_step(office)
    receive(office, letter(office, office.outbox(followup)))
    assert len(office.messages()) == 2

    second_look(office, followup)

    assert office.state(followup) == state
    assert len(office.delivered()) == (2 if state == GOES_ON else 1)
    assert office.followup(followup).status == ("answered" if state == ANSWERED else "pending")


def test_a_reply_lies_in_the_reminders_conversation(read_office: Office) -> None:
    followup = first_step(read_office)
    receive(read_office, letters.reply(read_office, read_office.outbox(followup)))
    reminder, answer = read_office.messages()
    assert answer.conversation_id == reminder.conversation_id
    assert answer.conversation_id == read_office.followup(followup).conversation_id


def test_an_answer_goes_on_where_the_company_wants_it_so(read_office: Office) -> None:
    followup = first_step(read_office, auto_stop_on_response=False)
    receive(read_office, letters.reply(read_office, read_office.outbox(followup)))
    second_look(read_office, followup)
    assert read_office.state(followup) == GOES_ON
    assert len(read_office.delivered()) == 2


@pytest.mark.parametrize("before", [timedelta(minutes=1), timedelta(minutes=10), timedelta(days=2)])
def test_an_answer_that_was_read_after_the_step_counts_whenever_it_arrived(
    read_office: Office, before: timedelta
) -> None:
    """It crossed with the reminder, or lay in Spam: moving it to INBOX keeps its INTERNALDATE."""
    office = read_office
    followup = first_step(office, created_at=db.utc_now() - timedelta(days=20))
    arrived_at = office.followup(followup).last_step_at - before
    receive(office, letters.another_matter(office, office.outbox(followup)), when=arrived_at)
    second_look(office, followup)
    assert office.state(followup) == ANSWERED
    assert len(office.delivered()) == 1


def test_what_arrived_before_the_followup_was_made_is_no_answer_though_read_after_a_step(
    read_office: Office,
) -> None:
    office = read_office
    followup = first_step(office, created_at=db.utc_now() - timedelta(days=20))
    arrived_at = db.utc_now() - timedelta(days=25)
    receive(office, letters.another_matter(office, office.outbox(followup)), when=arrived_at)
    second_look(office, followup)
    assert office.state(followup) == GOES_ON


def test_what_was_in_the_inbox_before_the_last_step_is_no_answer_to_it(
    read_office: Office,
) -> None:
    office = read_office
    followup = first_step(office, created_at=db.utc_now() - timedelta(days=20))
    sent_at = office.followup(followup).last_step_at
    receive(
        office,
        letters.another_matter(office, office.outbox(followup)),
        when=sent_at - timedelta(days=2),
    )
    office.installation.change(
        lambda s: s.query(InboxMessage).update(
            {InboxMessage.created_at: sent_at - timedelta(days=1)}
        )
    )
    second_look(office, followup)
    assert office.state(followup) == GOES_ON


@pytest.mark.parametrize(
    ("age", "state"), [(timedelta(days=1), ANSWERED), (timedelta(days=30), GOES_ON)]
)
def test_before_the_first_step_what_came_since_the_followup_was_made_counts(
    read_office: Office, age: timedelta, state: tuple[str, str | None]
) -> None:
    office, now = read_office, db.utc_now()
    followup = office.reminder(created_at=now - timedelta(days=20))
    raw = mail(sender=office.address(), to=office.account.address)
    receive(office, raw, when=now - age)
    office.send()
    assert office.state(followup) == state


def test_who_calls_a_reminder_unwanted_gets_no_further_one_until_a_person_has_looked(
    read_office: Office,
) -> None:
    office = read_office
    followup = first_step(office)
    first = office.outbox(followup)
    receive(office, letters.complaint(office, first))
    [report] = office.messages(InboxMessage.kind == "complaint")
    assert report.conversation_id == office.followup(followup).conversation_id

    second_look(office, followup)

    assert office.state(followup) == ("held", "complained")
    assert len(office.delivered()) == 1


def test_the_mail_that_a_followup_is_made_from_is_no_answer_to_it(read_office: Office) -> None:
    """A client asks, somebody reads it and makes a follow-up within the minute."""
    office = read_office
    receive(office, mail(sender=office.address(), to=office.account.address))
    [client] = office.installation.rows(Client, Client.company_id == office.company)
    made_at = office.messages()[0].created_at + timedelta(seconds=2)
    followup = office.installation.add_followup(office.company, client.id, created_at=made_at)
    office.send(now=made_at + timedelta(minutes=1))
    assert office.state(followup) == GOES_ON


def test_a_mail_that_came_in_unread_while_the_followup_was_made_is_an_answer(
    read_office: Office,
) -> None:
    """It reached the server a minute before, and the inbox a second after."""
    office = read_office
    client, now = office.client(), db.utc_now()
    arrived_at = now - timedelta(minutes=1)
    followup = office.installation.add_followup(
        office.company, client, created_at=now - timedelta(seconds=5)
    )
    raw = mail(sender=office.address(), to=office.account.address)
    receive(office, raw, when=arrived_at)
    office.send()
    assert office.state(followup) == ANSWERED


def test_a_reply_that_lands_between_claim_and_body_stops_the_reminder(
    installation: Installation,
    faulty_smtp: FaultySmtpServer,
    embedded_imap: EmbeddedImapServer,
) -> None:
    """The whole way: the answer reaches the mailbox while SMTP is at DATA, and a sync reads it."""
    installation.ca_file = embedded_imap.ca_file
    office = open_office(installation, FaultyPost(faulty_smtp), embedded_imap)
    followup = first_step(office)
    first = office.outbox(followup)

    faulty_smtp.when_data_comes = lambda: receive(office, letters.reply(office, first))
    second_look(office, followup)

    assert office.state(followup) == ANSWERED
    assert office.outbox(followup, step=2).state == "cancelled"
    assert [each.message_id for each in office.delivered()] == [first.message_id]


def test_the_clients_answer_stops_all_of_his_followups_and_nobody_elses(
    read_office: Office,
) -> None:
    office = read_office
    followup = first_step(office)
    second = office.installation.add_followup(
        office.company, office.followup(followup).client_id, source_label="Facture F-2026-013"
    )
    other = office.reminder("other")
    receive(office, letters.reply(office, office.outbox(followup)))

    office.send(office.followup(followup).next_action_at)

    assert [office.state(each)[0] for each in (followup, second, other)] == [
        "stopped",
        "stopped",
        "active",
    ]


def test_an_answer_to_one_company_is_none_to_another(
    read_office: Office, embedded_imap: EmbeddedImapServer
) -> None:
    """The same person is a client of both, and writes to the first with the second's Message-ID."""
    ours = read_office
    theirs = open_office(ours.installation, ours.smtp, embedded_imap)
    client = theirs.installation.add_client(theirs.company, ours.address())
    other = theirs.installation.add_followup(theirs.company, client)
    followup = ours.reminder()
    assert ours.send().counts == {"sent": 2}
    reminder = ours.installation.rows(OutboxMail, OutboxMail.followup_id == other)[0]
    receive(ours, letters.reply(ours, reminder))

    ours.send(ours.followup(followup).next_action_at)

    assert ours.state(followup) == ANSWERED
    assert theirs.state(other) == GOES_ON
    assert {message.company_id for message in theirs.messages()} == {theirs.company}
    assert ours.installation.count(Followup) == 2
