"""A run of the hourly job: what arrives, what is written down, and what one fault leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from backend.app import db
from backend.app.followups import draft, preview, send
from backend.app.models import (
    AutoState,
    Client,
    Conversation,
    Followup,
    FollowupHistory,
    InboxIntegration,
    InboxMessage,
    MailboxState,
    OutboxMail,
)
from backend.app.runtime import Report, Run
from backend.app.store import followups
from tests.followups.office import FaultyPost, Office, everything, open_office
from tests.installation import ALWAYS_OPEN, Installation
from tests.servers.faulty_smtp import FaultySmtpServer

PARIS = ZoneInfo("Europe/Paris")
SENT_ONCE = {"sent": 1}
BROKEN = {"followups": {"x": 1}}


def nine_in_paris(day: Any) -> datetime:
    return datetime.combine(day, time(9), PARIS).astimezone(UTC)


# The mail that arrives


def test_the_mail_that_arrives(served_office: Office) -> None:
    office = served_office
    followup = office.reminder()
    office.installation.set(
        Client, office.followup(followup).client_id, name="Élodie Œuvrard, née Dùpont"
    )
    before = db.utc_now().replace(microsecond=0)

    assert office.send().counts == SENT_ONCE

    (mail,) = office.delivered()
    assert mail.sender is not None
    assert (mail.sender.email, mail.sender.name) == (office.account.address, "Claire Dubois")
    assert [(to.email, to.name) for to in mail.to] == [
        (office.address(), "Élodie Œuvrard, née Dùpont")
    ]
    assert mail.cc == mail.bcc == mail.reply_to == ()
    assert mail.subject.split() == ["Facture", "F-2026-012", ":", "rappel", "d’échéance"]
    assert mail.date is not None
    assert before <= mail.date <= db.utc_now()
    assert mail.message_id == office.outbox(followup).message_id
    assert mail.message_id.endswith("@example.test")
    assert not mail.synthetic_id
    assert mail.header("Auto-Submitted") == "auto-generated"
    assert mail.header("Content-Language") == "fr"
    assert mail.in_reply_to == mail.references == ()
    assert "Bonjour Élodie Œuvrard, née Dùpont," in mail.text
    assert "1\u00a0234,50\u00a0€" in mail.text
    assert (mail.notes, mail.attachments) == ((), ())
    assert mail.html is not None
    assert "Élodie Œuvrard, née Dùpont" in mail.html


def test_what_is_settled_in_one_go(office: Office) -> None:
    followup = office.reminder()
    office.send()

    (mail,) = office.delivered()
    row, outbox = office.followup(followup), office.outbox(followup)
    (message,) = office.messages()
    (conversation,) = office.installation.rows(Conversation)
    (history,) = office.installation.rows(FollowupHistory)
    assert (outbox.state, outbox.owner, outbox.lease_until) == ("sent", None, None)
    assert outbox.sending_at <= outbox.sent_at
    assert (row.auto_state, row.auto_reason, row.steps_sent) == ("active", None, 1)
    assert (row.last_step_at, row.conversation_id) == (outbox.sending_at, conversation.id)
    assert (message.external_id, message.fingerprint) == (mail.message_id, mail.fingerprint)
    assert (message.kind, message.is_from_client, message.read) == ("own", False, True)
    assert (message.conversation_id, message.integration_id) == (conversation.id, office.mailbox)
    assert message.content.split() == mail.text.split()
    assert (conversation.client_id, conversation.status) == (row.client_id, "waiting")
    assert (conversation.unread_count, conversation.last_message_at) == (0, message.sent_at)
    assert (history.status, history.step, history.sent_by_name) == ("sent", 1, "Menuiserie Dubois")
    assert (history.conversation_id, history.sent_at) == (conversation.id, outbox.sending_at)
    assert history.message == outbox.content


def test_a_reminder_joins_the_clients_newest_open_conversation(office: Office) -> None:
    followup = office.reminder()
    client = office.followup(followup).client_id
    opened = [
        office.installation.add(
            Conversation(
                company_id=office.company,
                client_id=client,
                thread_key=f"mail:{number}",
                status=status,
                last_message_at=db.utc_now() - timedelta(days=9 - number),
            )
        )
        for number, status in enumerate(["open", "waiting", "closed"])
    ]

    office.send()

    assert office.followup(followup).conversation_id == opened[1]
    assert office.installation.count(Conversation) == 3


# Steps


def test_three_steps_at_their_times_in_one_thread_and_then_completed(office: Office) -> None:
    followup = office.reminder()
    due = office.followup(followup).due_date
    assert office.send().counts == SENT_ONCE
    looks = [office.followup(followup).next_action_at]
    for step in (2, 3):
        assert office.send(looks[-1] - timedelta(seconds=1)).counts == {}
        assert office.send(looks[-1]).counts == SENT_ONCE
        assert office.followup(followup).steps_sent == step
        looks.append(office.followup(followup).next_action_at)

    first_day = office.outbox(followup).sending_at.astimezone(PARIS).date()
    assert looks[0] == nine_in_paris(first_day + timedelta(days=5))  # the gap, since 1 was late
    assert looks[1] == nine_in_paris(due + timedelta(days=21))
    assert office.send(looks[2]).counts == {"stopped": 1}
    assert office.state(followup) == ("completed", "completed")
    assert office.history(followup) == ["sent", "sent", "sent", "completed"]
    assert office.send(looks[2] + timedelta(days=400)).counts == {}

    first, second, third = office.delivered()
    assert (second.in_reply_to, second.references) == ((first.message_id,), (first.message_id,))
    assert third.in_reply_to == (second.message_id,)
    assert third.references == (first.message_id, second.message_id)
    assert len({first.subject, second.subject, third.subject}) == 3
    assert {message.conversation_id for message in office.messages()} == {1}


def test_a_company_may_want_fewer_steps_at_other_times(office: Office) -> None:
    fewer = {"invoice_unpaid": {"delays_days": [2], "send_hour": 14}}
    office.installation.set_settings(office.company, {"followups": {**ALWAYS_OPEN, **fewer}})
    followup = office.reminder()

    assert office.send().counts == SENT_ONCE
    assert office.send(office.followup(followup).next_action_at).counts == {"stopped": 1}
    assert office.state(followup)[0] == "completed"


def test_one_named_followup_is_looked_at_before_its_time_and_the_rules_hold(office: Office) -> None:
    followup, other = office.reminder(), office.reminder("other")
    assert office.send(followup_id=followup).counts == SENT_ONCE
    assert office.send(followup_id=followup).counts == {"waiting": 1}
    assert office.state(followup) == ("active", "not_due")
    assert office.followup(other).steps_sent == 0


# Between the claim and the body


def paid(office: Office, followup: int) -> None:
    office.installation.set(Followup, followup, status="paid")


def switched_off(office: Office, followup: int) -> None:
    office.installation.set(Followup, followup, auto_enabled=False)


def stopped_by_hand(office: Office, followup: int) -> None:
    office.installation.set(
        Followup, followup, auto_state=AutoState.STOPPED.value, auto_reason="by_person"
    )


def address_gone(office: Office, followup: int) -> None:
    client = office.followup(followup).client_id
    office.installation.set(Client, client, email=None)


def written_to_us_by(office: Office, address: str, client: int) -> None:
    conversation = office.installation.add(
        Conversation(company_id=office.company, client_id=client, thread_key="mail:x")
    )
    office.installation.add(
        InboxMessage(
            company_id=office.company,
            conversation_id=conversation,
            external_id="a@client.test",
            fingerprint="f",
            from_key=address,
            is_from_client=True,
            kind="human",
            placement="new_thread",
            sent_at=db.utc_now(),
            arrived_at=db.utc_now(),
        )
    )


def written_to_us(office: Office, followup: int) -> None:
    written_to_us_by(office, office.address(), office.followup(followup).client_id)


LANDED: list[tuple[Callable[[Office, int], None], tuple[str, str], str, dict[str, int]]] = [
    (paid, ("stopped", "paid"), "paid", {"stopped": 1}),
    (written_to_us, ("stopped", "answered"), "answered", {"stopped": 1}),
    (switched_off, ("active", "disabled"), "disabled", {"stopped": 1}),
    (stopped_by_hand, ("stopped", "by_person"), "disabled", {"stopped": 1}),
    (address_gone, ("held", "no_address"), "no_address", {"held": 1}),
]


@pytest.mark.parametrize(("land", "state", "why", "counts"), LANDED)
def test_what_lands_between_claim_and_body_stops_the_reminder(
    faulty_office: Office,
    faulty_smtp: FaultySmtpServer,
    land: Callable[[Office, int], None],
    state: tuple[str, str],
    why: str,
    counts: dict[str, int],
) -> None:
    office = faulty_office
    followup = office.reminder()
    seen: list[str] = []

    def when_data_comes() -> None:
        seen.append(office.outbox(followup).state)
        land(office, followup)

    faulty_smtp.when_data_comes = when_data_comes

    report = office.send()

    assert seen == ["claimed"]
    assert (report.counts, report.failed) == (counts, False)
    assert faulty_smtp.accepted() == []
    row = office.outbox(followup)
    assert (row.state, row.error) == ("cancelled", f"stopped before the body: {why}")
    assert (row.owner, row.sending_at, row.attempts) == (None, None, 0)
    assert office.state(followup) == state
    assert office.followup(followup).steps_sent == 0
    assert "sent" not in office.history(followup)


def test_a_reminder_that_was_stopped_goes_out_when_it_is_set_going_again(
    faulty_office: Office, faulty_smtp: FaultySmtpServer
) -> None:
    office = faulty_office
    followup = office.reminder()
    faulty_smtp.when_data_comes = lambda: switched_off(office, followup)
    office.send()
    message_id = office.outbox(followup).message_id
    faulty_smtp.when_data_comes = lambda: None
    office.installation.set(Followup, followup, auto_enabled=True)

    assert office.send().counts == SENT_ONCE
    assert [mail.message_id for mail in office.delivered()] == [message_id]


def test_rules_that_break_between_claim_and_body_send_nothing(
    faulty_office: Office, faulty_smtp: FaultySmtpServer
) -> None:
    office = faulty_office
    followup = office.reminder()
    faulty_smtp.when_data_comes = lambda: office.installation.set_settings(office.company, BROKEN)

    report = office.send()

    assert (report.counts, report.failed) == ({"settings_invalid": 1}, True)
    assert faulty_smtp.accepted() == []
    assert office.outbox(followup).state == "claimed"  # until its lease ends


def test_a_claim_that_is_taken_over_before_the_body_sends_nothing(
    faulty_office: Office, faulty_smtp: FaultySmtpServer
) -> None:
    office = faulty_office
    followup = office.reminder()

    def take_over() -> None:
        row = office.outbox(followup)
        office.installation.set(OutboxMail, row.id, token=row.token + 1)

    faulty_smtp.when_data_comes = take_over

    assert office.send().counts == {"taken_over": 1}
    assert faulty_smtp.accepted() == []


def test_rules_that_break_while_the_mail_goes_out_leave_it_settled(
    faulty_office: Office, faulty_smtp: FaultySmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = faulty_office
    followup = office.reminder()
    accept = faulty_smtp.accept

    def accept_and_break(mail: Any) -> None:
        office.installation.set_settings(office.company, BROKEN)
        accept(mail)

    monkeypatch.setattr(faulty_smtp, "accept", accept_and_break)

    assert office.send().counts == SENT_ONCE
    assert (office.outbox(followup).state, office.followup(followup).steps_sent) == ("sent", 1)
    assert office.send(db.utc_now() + timedelta(seconds=1)).counts == {"settings_invalid": 1}


@pytest.mark.parametrize(
    ("name", "outbox", "steps_sent"), [("client", "sent", 1), ("5xx-at-dot", "failed", 0)]
)
def test_who_stops_it_while_the_mail_goes_out_keeps_the_last_word(
    faulty_office: Office,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    outbox: str,
    steps_sent: int,
) -> None:
    office = faulty_office
    followup = office.reminder(name)
    begin = send.begin_sending

    def begin_and_stop(*arguments: Any) -> Any:
        found = begin(*arguments)
        stop = sa.update(Followup).values(auto_state="stopped", auto_reason="by_person")
        arguments[0].execute(stop)
        return found

    monkeypatch.setattr(send, "begin_sending", begin_and_stop)

    office.send()

    assert office.state(followup) == ("stopped", "by_person")
    assert (office.outbox(followup).state, office.followup(followup).steps_sent) == (
        outbox,
        steps_sent,
    )


# One fault leaves the others alone


def test_each_followup_that_cannot_be_sent_says_why_and_the_others_go_out(office: Office) -> None:
    installation = office.installation
    no_address = office.installation.add_followup(
        office.company, installation.add_client(office.company, None)
    )
    unknown_type = office.reminder("b", type="birthday")
    missing = office.reminder("c", amount=None)
    wrong = open_office(installation, office.smtp)
    installation.set_settings(wrong.company, BROKEN)
    unruly = wrong.reminder()
    bare = installation.add_company("Sans boîte")
    unposted = installation.add_followup(bare, installation.add_client(bare, "x@client.test"))
    good = office.reminder("good")
    now = db.utc_now()

    report = office.send(now)

    assert report.counts == {"held": 4, "settings_invalid": 1, "sent": 1}
    assert report.failed
    assert {
        each: office.state(each) for each in (no_address, unknown_type, missing, unruly, unposted)
    } == {
        no_address: ("held", "no_address"),
        unknown_type: ("held", "unknown_type"),
        missing: ("held", "missing_variable: amount"),
        unruly: ("active", "settings_invalid"),
        unposted: ("held", "no_mailbox"),
    }
    assert office.followup(unruly).next_action_at == now + timedelta(hours=1)
    assert office.followup(good).steps_sent == 1
    assert len(office.delivered("good")) == 1


def test_one_broken_record_does_not_stop_the_others(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, good = office.reminder(), office.reminder("good")
    compose = draft.compose

    def fail_for_one(mail: Any) -> bytes:
        if mail.recipient.email == office.address():
            raise RuntimeError("no such thing should happen")
        return compose(mail)

    monkeypatch.setattr(draft, "compose", fail_for_one)
    now = db.utc_now()

    report = office.send(now)

    assert (report.counts, report.failed) == ({"failed": 1, "sent": 1}, True)
    assert office.state(broken) == ("active", "internal_error")
    assert office.followup(broken).next_action_at == now + timedelta(hours=1)
    assert office.followup(good).steps_sent == 1


def test_an_unusable_database_ends_the_run(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.reminder()

    def gone(*_: Any, **__: Any) -> Any:
        raise OperationalError("SELECT 1", {}, Exception("the server has gone away"))

    monkeypatch.setattr(send, "claim_followup", gone)
    with pytest.raises(OperationalError):
        office.send()


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"smtp_username": "us"}, "refused the user name or password: 535"),
        ({"smtp_port": 1}, "no connection with 127.0.0.1:1"),
        ({"secret": "not a token"}, ""),
        ({"email": "5xx-at-mail@example.test"}, "refused the sender: 554 5.7.1"),
    ],
)
def test_a_mailbox_that_cannot_send_stops_its_own_reminders_alone(
    faulty_office: Office, columns: dict[str, Any], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    good = faulty_office
    bad = open_office(good.installation, good.smtp)
    good.installation.set(InboxIntegration, bad.mailbox, **columns)
    stuck = [bad.reminder(f"client{number}") for number in range(3)]
    good.reminder()
    now = db.utc_now()

    report = good.send(now)

    assert (report.counts, report.failed) == ({"mailbox_down": 3, "sent": 1}, True)
    assert len(good.delivered()) == 1
    for each in stuck:
        row = bad.outbox(each)
        assert (row.state, row.attempts, row.owner) == ("planned", 0, None)
        assert words in row.error
        assert bad.state(each) == ("active", "retry_later")
        assert bad.followup(each).next_action_at == now + timedelta(minutes=20)
    assert caplog.text.count("cannot send") == 1


def test_reminders_of_a_mailbox_that_recovers_go_out(faulty_office: Office) -> None:
    office = faulty_office
    office.installation.set(InboxIntegration, office.mailbox, smtp_port=1)
    followup = office.reminder()
    office.send()
    office.installation.set(InboxIntegration, office.mailbox, smtp_port=office.smtp.port)

    later = office.followup(followup).next_action_at
    assert office.send(later).counts == SENT_ONCE
    assert len(office.delivered()) == 1


# Connections and limits


def test_one_connection_serves_all_reminders_of_a_mailbox(
    faulty_office: Office, faulty_smtp: FaultySmtpServer
) -> None:
    first, second = faulty_office, open_office(faulty_office.installation, faulty_office.smtp)
    for number in range(3):
        first.reminder(f"client{number}")
        second.reminder(f"client{number}")

    assert first.send().counts == {"sent": 6}
    assert faulty_smtp.connections == 2


def test_a_connection_that_the_server_closed_between_two_reminders_is_opened_again(
    faulty_office: Office, faulty_smtp: FaultySmtpServer
) -> None:
    faulty_office.reminder("bye-at-dot")
    faulty_office.reminder("client")

    assert faulty_office.send().counts == {"sent": 2}
    assert faulty_smtp.connections == 2


def test_a_limit_counts_what_went_out(office: Office) -> None:
    office.reminder("waits", due_date=db.utc_now().date())
    for number in range(3):
        office.reminder(f"client{number}")

    assert office.send(limit=2).counts == {"waiting": 1, "sent": 2}
    assert office.send(limit=2).counts == {"sent": 1}


def test_a_limit_counts_what_may_have_gone_out(faulty_office: Office) -> None:
    faulty_office.reminder("drop-at-dot")
    faulty_office.reminder()
    assert faulty_office.send(limit=1).counts == {"uncertain": 1}
    assert faulty_office.delivered() == []


def test_a_limit_does_not_count_what_was_refused(faulty_office: Office) -> None:
    faulty_office.reminder("5xx-at-rcpt")
    faulty_office.reminder()
    assert faulty_office.send(limit=1).counts == {"refused": 1, "sent": 1}


def test_the_longest_waiting_goes_first(office: Office) -> None:
    now = db.utc_now()
    for days in (1, 3, 2):
        office.reminder(f"waits{days}", next_action_at=now - timedelta(days=days))
    office.send(limit=1)
    assert len(office.delivered("waits3")) == 1


def test_companies_take_turns_so_that_a_flood_of_one_keeps_no_other_back(office: Office) -> None:
    now, other = db.utc_now(), open_office(office.installation, office.smtp)
    flood = [
        office.reminder(f"flood{number}", next_action_at=now - timedelta(days=9, hours=number))
        for number in range(4)
    ]
    others = [
        other.reminder(f"other{number}", next_action_at=now - timedelta(hours=number))
        for number in (1, 2)
    ]
    due = db.read(followups.list_due, now, 4, company_id=None, followup_id=None)
    assert [each.id for each in due] == [flood[3], others[1], flood[2], others[0]]

    assert office.send(limit=4).counts == {"sent": 4}

    assert [len(other.delivered(f"other{number}")) for number in (1, 2)] == [1, 1]


def test_a_run_for_one_company_leaves_the_others_alone(office: Office) -> None:
    other = open_office(office.installation, office.smtp)
    office.reminder()
    other.reminder()
    assert office.send(company_id=other.company).counts == SENT_ONCE
    assert (len(office.delivered()), len(other.delivered())) == (0, 1)


def test_a_run_that_is_asked_to_stop_ends_after_the_reminder_at_hand(
    faulty_office: Office, faulty_smtp: FaultySmtpServer
) -> None:
    office = faulty_office
    for number in range(3):
        office.reminder(f"client{number}")
    office.send(limit=0)
    stop: list[bool] = []
    faulty_smtp.when_data_comes = lambda: stop.append(True)
    installation, report = office.installation, Report()
    run = Run(installation.settings, installation.vault, "t", lambda: bool(stop))

    send.send_due_followups(run, report)

    assert report.counts == SENT_ONCE


def test_of_two_runs_over_the_same_list_each_reminder_goes_out_once(
    faulty_office: Office, faulty_smtp: FaultySmtpServer
) -> None:
    """The second run begins, and ends, while the first waits for an answer to its first DATA."""
    office = faulty_office
    office.installation.extra["SMTP_TIMEOUT_SECONDS"] = "60"  # the answer takes a whole run
    for number in range(3):
        office.reminder(f"client{number}")
    second: list[Report] = []

    def when_data_comes() -> None:
        faulty_smtp.when_data_comes = lambda: None
        second.append(office.installation.send())

    faulty_smtp.when_data_comes = when_data_comes

    first = office.send()

    assert second[0].counts == {"sent": 2}
    assert first.counts == {"sent": 1, "waiting": 2}
    assert [len(office.delivered(f"client{number}")) for number in range(3)] == [1, 1, 1]


# The dry run


def dry_run(office: Office, **selection: int) -> Report:
    installation, report = office.installation, Report()
    run = Run(installation.settings, installation.vault, "t", lambda: False)
    preview.show_due_followups(run, report, **selection)  # type: ignore[arg-type]
    return report


@pytest.fixture
def mixed_office(faulty_office: Office) -> Office:
    """With follow-ups of every kind, their mailbox fresh."""
    office = faulty_office
    office.reminder("held", type="birthday")
    office.reminder("missing", amount=None)
    office.reminder("stopped", status="paid")
    office.reminder("waits", due_date=db.utc_now().date())
    for number in range(3):
        office.reminder(f"client{number}")
    office.send(limit=0)
    return office


def test_a_dry_run_says_what_a_run_does_and_writes_and_sends_nothing(
    mixed_office: Office, faulty_smtp: FaultySmtpServer
) -> None:
    office = mixed_office
    before = everything(office.installation)

    report = dry_run(office)

    assert report.counts == {"held": 2, "stopped": 1, "waiting": 1, "would_send": 3}
    assert everything(office.installation) == before
    assert (faulty_smtp.connections, faulty_smtp.accepted()) == (0, [])
    done = office.send()
    assert done.counts == {"held": 2, "stopped": 1, "waiting": 1, "sent": 3}


def test_a_dry_run_stops_at_the_limit_where_a_run_does(mixed_office: Office) -> None:
    assert dry_run(mixed_office, limit=1).counts["would_send"] == 1
    assert mixed_office.send(limit=1).counts["sent"] == 1


@pytest.mark.parametrize("recipient", ["drop-at-dot", "5xx-at-rcpt", "4xx-at-rcpt"])
def test_a_dry_run_does_not_promise_what_the_outbox_forbids(
    faulty_office: Office, recipient: str
) -> None:
    followup = faulty_office.reminder(recipient)
    faulty_office.send()
    faulty_office.installation.set(Followup, followup, auto_state="active")

    assert "would_send" not in dry_run(faulty_office, followup_id=followup).counts


def test_one_broken_record_does_not_stop_a_dry_run(
    mixed_office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> bytes:
        raise RuntimeError("no such thing should happen")

    monkeypatch.setattr(draft, "compose", fail)
    report = dry_run(mixed_office)
    assert (report.counts["failed"], report.failed) == (3, True)


# Companies


def test_two_companies_whose_clients_share_an_address_never_mix(
    installation: Installation, faulty_smtp: FaultySmtpServer
) -> None:
    post = FaultyPost(faulty_smtp)
    offices = [open_office(installation, post) for _ in range(2)]
    address = "shared@client.test"
    clients = [installation.add_client(each.company, address) for each in offices]
    followups = [
        installation.add_followup(each.company, client, source_label=f"Facture {each.company}")
        for each, client in zip(offices, clients, strict=True)
    ]
    written_to_us_by(offices[0], address, clients[0])

    report = offices[0].send()

    assert report.counts == {"stopped": 1, "sent": 1}
    (mail,) = faulty_smtp.accepted()
    assert (mail.mail_from, mail.recipients) == (offices[1].account.address, (address,))
    assert f"Facture {offices[1].company}".encode() in mail.raw
    (message,) = offices[1].messages()
    (conversation,) = installation.rows(Conversation, Conversation.company_id == offices[1].company)
    assert message.conversation_id == conversation.id
    assert conversation.client_id == clients[1]
    assert offices[0].state(followups[0]) == ("stopped", "answered")


def test_a_reminder_waits_for_its_mailbox_to_be_read(office: Office) -> None:
    followup = office.reminder()
    assert office.installation.send().counts == {"waiting": 1}
    assert office.state(followup) == ("active", "mailbox_not_fresh")
    office.installation.set(MailboxState, office.mailbox, fresh_at=db.utc_now())
    assert office.send(db.utc_now() + timedelta(minutes=5)).counts == SENT_ONCE
