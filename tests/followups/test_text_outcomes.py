"""Each way in which a request for a text message can end: the outbox, the follow-up, the client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from backend.app import db
from backend.app.followups import send
from backend.app.mail import web
from backend.app.models import Followup, OutboxMail, SmsAccount
from tests.followups.text_office import TextOffice, open_text_office
from tests.operate.conftest import Manage
from tests.servers.shared import free_ports
from tests.servers.twilio_server import Fault

HALF_HOUR = timedelta(minutes=30)
DAY = timedelta(hours=24)
INVALID = "The 'To' number is not a valid phone number."


# A date, which counts from the server's own clock.
IN_TWO_HOURS = (
    ("Date", "Tue, 24 Nov 2020 10:00:00 GMT"),
    ("Retry-After", "Tue, 24 Nov 2020 12:00:00 GMT"),
)


@dataclass(frozen=True)
class Outcome:
    """report: the run's one count besides the neighbour's; again: looked at next, after so long."""

    outbox: str
    report: str
    reason: str | None
    code: int | None = None
    delivered: int = 0
    again: timedelta | None = None
    words: str = ""


def put_off(code: int, again: timedelta = HALF_HOUR) -> Outcome:
    return Outcome("planned", "put_off", "retry_later", code, again=again, words=str(code))


def refused(code: int, words: str) -> Outcome:
    return Outcome("failed", "refused", f"refused_by_server: {words}", code, words=words)


def uncertain(delivered: int, words: str) -> Outcome:
    return Outcome(
        "uncertain", "uncertain", "uncertain", delivered=delivered, again=DAY, words=words
    )


TABLE: dict[str, tuple[Fault, Outcome]] = {
    "429": (Fault(429, 20429, "Too Many Requests"), put_off(429)),
    "429 with a delay": (
        Fault(429, 20429, "Too Many Requests", (("Retry-After", "120"),)),
        put_off(429, timedelta(minutes=2)),
    ),
    "503": (Fault(503, 20503, "Service unavailable"), put_off(503)),
    "503 with a date": (
        Fault(503, 20503, "Service unavailable", IN_TWO_HOURS),
        put_off(503, timedelta(hours=2)),
    ),
    "503 with nonsense": (Fault(503, headers=(("Retry-After", "soon"),)), put_off(503)),
    "no such number": (Fault(400, 21211, INVALID), refused(400, f"400 21211: {INVALID}")),
    "unsubscribed": (
        Fault(400, 21610, "Attempt to send to unsubscribed recipient"),
        refused(400, "400 21610: Attempt to send to unsubscribed recipient"),
    ),
    "refused without a word": (Fault(400, raw=b"<html>"), refused(400, "400")),
    "500": (Fault(500, 20500, "Internal Server Error"), uncertain(0, "500 20500")),
    "500, and taken": (
        Fault(500, 20500, "Internal Server Error", taken=True),
        uncertain(1, "500 20500"),
    ),
    "500 with a delay": (
        Fault(500, 20500, headers=(("Retry-After", "1"),)),
        uncertain(0, "500 20500"),
    ),
    "502": (Fault(502, raw=b"<html>"), uncertain(0, "502")),
    "504, and taken": (Fault(504, raw=b"<html>", taken=True), uncertain(1, "504")),
    "cut off": (Fault(0), uncertain(0, "no connection with")),
    "cut off, and taken": (Fault(0, taken=True), uncertain(1, "no connection with")),
    "silence, and taken": (Fault(None, taken=True), uncertain(1, "timeout: no answer")),
    "taken, nobody knows what": (
        Fault(201, raw=b"<html>", taken=True),
        uncertain(1, "201 without naming a message"),
    ),
}


def test_each_outcome_of_one_run(text_office: TextOffice) -> None:
    """All of the table in one run, each followed by a neighbour that goes out."""
    office, twilio = text_office.office, text_office.twilio
    twilio.lists_failing = True  # the witness has tests of its own
    followups, numbers = {}, {}
    for name, (fault, _) in TABLE.items():
        numbers[name] = text_office.number()
        twilio.fail(numbers[name], fault)
        followups[name] = text_office.reminder(numbers[name])
        text_office.reminder()

    report = text_office.send()

    said = Counter(expected.report for _, expected in TABLE.values())
    assert report.counts == {**said, "sent": len(TABLE)}
    for name, (_, expected) in TABLE.items():
        assert_outcome(text_office, followups[name], expected, name)
    # Nothing goes out twice, whatever the first attempt's end was, and looked at whenever.
    office.installation.change(
        lambda session: session.execute(sa.update(Followup).values(next_action_at=text_office.now))
    )
    text_office.send(text_office.now + timedelta(minutes=1))
    for name, (_, expected) in TABLE.items():
        assert len(twilio.to(numbers[name])) == expected.delivered, name
        assert office.outbox(followups[name]).attempts == 1, name


def assert_outcome(text_office: TextOffice, followup_id: int, expected: Outcome, name: str) -> None:
    row = text_office.office.followup(followup_id)
    outbox = text_office.office.outbox(followup_id)
    assert (outbox.state, outbox.smtp_code) == (expected.outbox, expected.code), name
    assert (outbox.channel, outbox.attempts, outbox.owner) == ("sms", 1, None), name
    assert expected.words in outbox.error, name
    assert (row.auto_reason or "").startswith(expected.reason or ""), name
    assert row.auto_state == ("held" if expected.outbox == "failed" else "active"), name
    assert row.steps_sent == 0, name
    if expected.again is not None:
        assert row.next_action_at == text_office.now + expected.again, name


def test_a_message_that_is_taken_is_sent(text_office: TextOffice) -> None:
    office = text_office.office
    followup = text_office.reminder()

    assert text_office.send().counts == {"sent": 1}

    (message,) = text_office.delivered(followup)
    row = office.outbox(followup)
    assert (row.state, row.provider_id, row.content) == ("sent", message.sid, message.text)
    assert row.error == f"queued as {message.sid}"
    assert message.sender == "Dubois"
    assert office.history(followup) == ["sent"]
    assert office.delivered(message.recipient.removeprefix("+")) == [], "no mail besides"


def in_doubt(text_office: TextOffice, fault: Fault) -> tuple[int, str]:
    """A follow-up whose text message is uncertain, and its number."""
    number = text_office.number()
    text_office.twilio.fail(number, fault)
    followup = text_office.reminder(number)
    assert text_office.send().counts == {"uncertain": 1}
    return followup, number


def test_the_providers_list_proves_that_an_uncertain_message_went_out(
    text_office: TextOffice,
) -> None:
    followup, number = in_doubt(text_office, Fault(0, taken=True))

    assert text_office.send().counts == {"proven_sent": 1}

    (message,) = text_office.twilio.to(number)
    row = text_office.office.outbox(followup)
    assert (row.state, row.provider_id) == ("sent", message.sid)
    assert text_office.office.followup(followup).steps_sent == 1
    assert text_office.office.history(followup) == ["uncertain", "sent"]


def test_what_another_step_is_known_by_proves_nothing(text_office: TextOffice) -> None:
    """Two invoices with the same words to one number: one was taken, and is known."""
    followup, number = in_doubt(text_office, Fault(0))
    text_office.twilio.heal(number)
    client = text_office.office.followup(followup).client_id
    other = text_office.office.installation.add_followup(text_office.office.company, client)
    text_office.send(followup_id=other)
    assert text_office.office.outbox(other).content == text_office.office.outbox(followup).content

    text_office.send(text_office.now + timedelta(hours=1))

    assert text_office.office.outbox(followup).state == "uncertain"
    assert len(text_office.twilio.to(number)) == 1


def test_another_message_to_the_same_number_proves_nothing(text_office: TextOffice) -> None:
    followup, number = in_doubt(text_office, Fault(0, taken=True))
    (message,) = text_office.twilio.to(number)
    text, created = message.text, message.created
    for message.text, message.created in (("Another", created), (text, created - DAY / 24)):
        text_office.send()
        assert text_office.office.outbox(followup).state == "uncertain"


def test_without_proof_a_person_is_asked_and_may_say_either(text_office: TextOffice) -> None:
    office = text_office.office
    followup, number = in_doubt(text_office, Fault(0))
    an_hour_over = db.utc_now() - timedelta(hours=25)
    office.installation.set(OutboxMail, office.outbox(followup).id, sending_at=an_hour_over)

    assert text_office.send().counts == {"for_a_person": 1}

    assert office.state(followup) == ("held", "uncertain")
    text_office.twilio.heal(number)
    Manage(office.installation)("outbox", "resend", office.outbox(followup).id)
    assert text_office.send(text_office.now + timedelta(hours=1)).counts == {"sent": 1}
    assert len(text_office.twilio.to(number)) == 1


def test_sending_is_committed_before_the_request_and_not_before_the_connection(
    text_office: TextOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[str] = []
    followup = text_office.reminder()
    while_connecting(monkeypatch, lambda: states.append(text_office.office.outbox(followup).state))
    text_office.twilio.on_request = lambda form: states.append(
        text_office.office.outbox(followup).state
    )
    text_office.send()
    assert states == ["claimed", "sending"]


def while_connecting(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Something happens when the connection stands, before its caller is told."""
    make = web._connection

    def made(endpoint: Any) -> Any:
        connection = make(endpoint)
        connect = connection.connect
        connection.connect = lambda: (connect(), do())  # type: ignore[method-assign]
        return connection

    monkeypatch.setattr(web, "_connection", made)


def test_a_payment_while_the_provider_is_being_connected_with_stops_the_message(
    text_office: TextOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    followup = text_office.reminder()
    pay = lambda: text_office.office.installation.set(Followup, followup, status="paid")  # noqa: E731
    while_connecting(monkeypatch, pay)

    assert text_office.send().counts == {"stopped": 1}

    assert text_office.twilio.asked == 0
    assert text_office.office.outbox(followup).state == "cancelled"


def test_a_process_that_was_held_up_before_the_request_does_not_send(
    text_office: TextOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send, "BODY_WITHIN_SECONDS", -1.0)
    followup = text_office.reminder()
    assert text_office.send().counts == {"put_off": 1}
    assert text_office.twilio.asked == 0
    assert text_office.office.outbox(followup).state == "planned"


def test_an_account_that_cannot_sign_in_stops_and_the_others_go_on(
    text_office: TextOffice,
) -> None:
    office = text_office.office
    wrong = open_text_office(office.installation, office.smtp, text_office.twilio)
    office.installation.change(
        lambda session: setattr(
            session.get(SmsAccount, wrong.office.company),
            "secret",
            office.installation.vault.encrypt("wrong"),
        )
    )
    stopped = [wrong.reminder() for _ in range(2)]
    good = text_office.reminder()

    assert text_office.send().counts == {"sms_account_down": 2, "sent": 1}

    assert office.followup(good).steps_sent == 1
    for followup in stopped:
        row = office.outbox(followup)
        assert (row.state, row.attempts) == ("planned", 0)
        assert "refused the user name or secret: 401" in row.error
    assert text_office.twilio.refused == 1, "one refusal, not one for each"


ACCOUNTS_FAULT = {
    "400 21660": Fault(400, 21660, "Mismatch between the 'From' number and the account"),
    "refused the user name or secret: 403": Fault(403, 20005, "Account not active"),
    "302": Fault(302, headers=(("Location", "https://elsewhere.example/"),)),
}


def test_what_is_the_accounts_fault_costs_no_attempt(text_office: TextOffice) -> None:
    for words, fault in ACCOUNTS_FAULT.items():
        number = text_office.number()
        text_office.twilio.fail(number, fault)
        followups = [text_office.reminder(number), text_office.reminder()]

        assert text_office.send().counts == {"sms_account_down": 2}

        for followup in followups:
            row = text_office.office.outbox(followup)
            assert (row.state, row.attempts, row.sending_at) == ("planned", 0, None)
            assert words in row.error
        text_office.twilio.heal(number)
        assert text_office.send(text_office.now + timedelta(hours=1)).counts == {"sent": 2}


def test_nobody_listens_there(text_office: TextOffice) -> None:
    [port] = free_ports(1)
    text_office.office.installation.extra["TWILIO_URL"] = f"https://localhost:{port}"
    followup = text_office.reminder()

    assert text_office.send().counts == {"sms_account_down": 1}

    row = text_office.office.outbox(followup)
    assert (row.state, row.attempts, row.sending_at) == ("planned", 0, None)
    text_office.office.installation.extra["TWILIO_URL"] = text_office.twilio.url
    assert text_office.send(text_office.now + timedelta(hours=1)).counts == {"sent": 1}


def test_a_certificate_that_nobody_vouches_for_gets_no_secret(text_office: TextOffice) -> None:
    text_office.office.installation.ca_file = None
    followup = text_office.reminder()
    assert text_office.send().counts == {"sms_account_down": 1}
    assert "not trusted" in text_office.office.outbox(followup).error
    assert text_office.twilio.asked == 0


def test_no_secret_in_the_clear(text_office: TextOffice) -> None:
    text_office.office.installation.extra["TWILIO_URL"] = "http://twilio.example"
    followup = text_office.reminder()
    assert text_office.send().counts == {"sms_account_down": 1}
    assert "unencrypted" in text_office.office.outbox(followup).error


def test_three_requests_without_an_answer_let_the_account_rest(text_office: TextOffice) -> None:
    numbers = [text_office.number() for _ in range(3)]
    for number in numbers:
        text_office.twilio.fail(number, Fault(500, 20500))
        text_office.reminder(number)
    behind = text_office.reminder()

    assert text_office.send().counts == {"uncertain": 3, "sms_account_down": 1}

    row = text_office.office.outbox(behind)
    assert (row.state, row.attempts) == ("planned", 0)
    assert "3 requests in a row had no answer" in row.error
