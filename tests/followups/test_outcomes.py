"""Each way in which SMTP can end: the outbox, the follow-up, what was delivered, the next run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from backend.app import db
from backend.app.followups.settle import MAX_ATTEMPTS, retry_pause
from backend.app.models import Client, Followup, OutboxMail
from tests.followups.office import Office, open_office


@dataclass(frozen=True)
class Outcome:
    """report: the run's one count; goes_on: the follow-up stays active; again: looked at next."""

    outbox: str
    report: str
    reason: str | None
    goes_on: bool
    code: int | None = None
    delivered: int = 0
    again: timedelta | None = None
    words: str = ""


HALF_HOUR = timedelta(minutes=30)
MINUTE = timedelta(minutes=1)
DAY = timedelta(hours=24)


def sent() -> Outcome:
    return Outcome("sent", "sent", None, True, delivered=1)


def put_off(code: int | None, words: str, again: timedelta = HALF_HOUR) -> Outcome:
    return Outcome("planned", "put_off", "retry_later", True, code, again=again, words=words)


def refused(code: int, words: str) -> Outcome:
    return Outcome("failed", "refused", f"refused_by_server: {code} 5.", False, code, words=words)


def uncertain(delivered: int, words: str) -> Outcome:
    return Outcome(
        "uncertain", "uncertain", "uncertain", True, None, delivered, again=DAY, words=words
    )


# On real servers
SERVED = {
    "client": sent(),
    "deferred": put_off(450, "450 4.2.0"),
    "greylisted": put_off(450, "try again in 300 seconds", 5 * MINUTE),
    "refused": refused(550, "5.1.1"),
    "rejected": refused(550, "5.7.1 Content refused"),
    "spam": refused(554, "This looks like spam"),
    "later": put_off(451, "come back in 00:10:00", 10 * MINUTE),
}
# On Postfix alone: it says 421 and hangs up, and a relay in between cuts the connection, or lets
# no answer through, at a chosen point
POSTFIX = {
    "shutdown": put_off(421, "421 4.3.2"),
    "closing": put_off(421, "421 4.3.2"),
    "cut-before-data": put_off(None, "went away"),
    "mute-before-data": put_off(None, "timeout: no answer"),
    "cut-after-dot": uncertain(1, "went away"),
    "mute-after-dot": uncertain(1, "timeout: no answer"),
}
# On the one that fails on demand
FAULTY = {
    "client": sent(),
    "wait-at-rcpt": put_off(450, "450 4.2.1 Greylisted for 10", 10 * MINUTE),
    "wait-at-data": put_off(450, "450 4.2.1 Greylisted for 10", 10 * MINUTE),
    "wait-at-dot": put_off(450, "450 4.2.1 Greylisted for 10", 10 * MINUTE),
    "4xx-at-rcpt": put_off(451, "451 4.3.0 Try again later"),
    "5xx-at-rcpt": refused(554, "5.7.1 Refused"),
    "421-at-rcpt": put_off(421, "421 4.3.2 Service shutting down"),
    "drop-at-rcpt": put_off(None, "went away"),
    "silence-at-rcpt": put_off(None, "timeout: no answer"),
    "4xx-at-data": put_off(451, "451"),
    "5xx-at-data": refused(554, "5.7.1 Refused"),
    "421-at-data": put_off(421, "421"),
    "drop-at-data": put_off(None, "went away"),
    "silence-at-data": put_off(None, "timeout: no answer"),
    "4xx-at-dot": put_off(451, "451"),
    "5xx-at-dot": refused(554, "5.7.1 Refused"),
    "odd-at-dot": refused(554, "5.7.1 Not [31mtoday"),
    "421-at-dot": put_off(421, "421"),
    "drop-at-dot": uncertain(1, "went away"),
    "silence-at-dot": uncertain(1, "timeout: no answer"),
    "lost-at-dot": uncertain(0, "went away"),
    "354-at-dot": uncertain(0, "does not allow: 354"),
    "bye-at-dot": sent(),
}


def assert_outcome(office: Office, name: str, expected: Outcome) -> None:
    followup, neighbour = office.reminder(name), office.reminder("neighbour")
    now = db.utc_now()

    report = office.send(now)

    row, outbox = office.followup(followup), office.outbox(followup)
    counts = {"sent": 2} if expected.report == "sent" else {expected.report: 1, "sent": 1}
    assert report.counts == counts
    assert report.failed == (expected.report != "sent")
    assert (outbox.state, outbox.smtp_code, outbox.owner) == (expected.outbox, expected.code, None)
    assert expected.words in (outbox.error or "")
    assert outbox.attempts == 1
    assert row.auto_state == ("active" if expected.goes_on else "held")
    assert (row.auto_reason is None) == (expected.reason is None)
    assert (row.auto_reason or "").startswith(expected.reason or "")
    assert expected.goes_on or expected.words in row.auto_reason
    assert row.steps_sent == (1 if expected.outbox == "sent" else 0)
    assert expected.again is None or row.next_action_at == now + expected.again
    assert len(office.delivered(name)) == expected.delivered
    assert office.followup(neighbour).steps_sent == 1
    # Nothing goes out twice, whatever the first attempt's end was.
    later = now + timedelta(minutes=1)
    assert office.send(later).counts == {}
    office.send(later, followup_id=followup)
    assert office.outbox(followup).attempts == 1
    assert len(office.delivered(name)) == expected.delivered


@pytest.mark.parametrize("name", SERVED)
def test_each_outcome_on_real_servers(served_office: Office, name: str) -> None:
    assert_outcome(served_office, name, SERVED[name])


@pytest.mark.parametrize("name", POSTFIX)
def test_each_outcome_on_postfix_behind_a_relay_that_cuts(cut_office: Office, name: str) -> None:
    assert_outcome(cut_office, name, POSTFIX[name])


@pytest.mark.parametrize("name", FAULTY)
def test_each_outcome_on_a_server_that_fails(faulty_office: Office, name: str) -> None:
    assert_outcome(faulty_office, name, FAULTY[name])


@pytest.mark.parametrize("name", ["drop-at-body", "cut-at-body"])
def test_a_connection_that_breaks_in_a_short_body(faulty_office: Office, name: str) -> None:
    """Before or after the dot, as the network has it; but never sent, and never sent again."""
    office = faulty_office
    followup = office.reminder(name)
    report = office.send()
    assert report.counts in ({"put_off": 1}, {"uncertain": 1})
    assert office.outbox(followup).state in ("planned", "uncertain")
    assert office.delivered(name) == []


@pytest.mark.parametrize(
    ("greeting", "words"),
    [("421", "421 4.3.2"), ("drop", "no connection"), ("silence", "timeout: no answer")],
)
def test_a_server_that_greets_nobody_is_the_mailboxs_trouble(
    faulty_office: Office, faulty_smtp: Any, greeting: str, words: str
) -> None:
    faulty_smtp.at_connect = greeting
    followup = faulty_office.reminder()
    now = db.utc_now()
    assert faulty_office.send(now).counts == {"mailbox_down": 1}
    row = faulty_office.outbox(followup)
    assert (row.state, row.attempts) == ("planned", 0)
    assert words in row.error


def test_pauses_double_up_to_half_a_day() -> None:
    pauses = [retry_pause(attempt) for attempt in range(1, 12)]
    assert pauses[:6] == [HALF_HOUR * factor for factor in (1, 2, 4, 8, 16, 24)]
    assert all(earlier <= later for earlier, later in pairwise(pauses))
    assert max(pauses) == timedelta(hours=12)


@pytest.mark.parametrize(
    ("attempt", "stated", "pause"),
    [
        (1, timedelta(minutes=5), timedelta(minutes=5)),
        (1, timedelta(hours=3), timedelta(hours=3)),
        (1, timedelta(0), MINUTE),
        (1, timedelta(days=9), DAY),
        (2, timedelta(minutes=5), 2 * HALF_HOUR),
        (2, timedelta(hours=3), timedelta(hours=3)),
    ],
)
def test_a_stated_delay_is_kept_the_first_time_and_never_shortens_later_ones(
    attempt: int, stated: timedelta, pause: timedelta
) -> None:
    assert retry_pause(attempt, stated) == pause


@pytest.mark.parametrize("name", ["421-at-rcpt", "silence-at-data", "drop-at-dot"])
def test_a_mailbox_that_loses_three_connections_in_a_row_rests_for_this_run(
    faulty_office: Office, name: str
) -> None:
    """The ones behind cost no attempt and no time-out, and go out in the next run."""
    office = faulty_office
    lost = [office.reminder(f"{name}.{number}") for number in range(3)]
    behind = [office.reminder(f"client{number}") for number in range(2)]
    other = open_office(office.installation, office.smtp)
    another = other.reminder()

    report = office.send()

    assert report.counts["mailbox_down"] == 2
    assert report.counts["sent"] == 1
    assert office.followup(another).steps_sent == 1
    assert [office.outbox(each).attempts for each in lost] == [1, 1, 1]
    for each in behind:
        row = office.outbox(each)
        assert (row.state, row.attempts) == ("planned", 0)
        assert "3 connections in a row were lost" in row.error
    later = office.followup(lost[0]).next_action_at  # they do not come before the others
    assert office.send(later, limit=2).counts == {"sent": 2}


def test_two_lost_connections_leave_the_mailbox_at_work(faulty_office: Office) -> None:
    office = faulty_office
    for name in ("421-at-rcpt.1", "421-at-rcpt.2", "client1", "421-at-rcpt.3", "client2"):
        office.reminder(name)
    assert office.send().counts == {"put_off": 3, "sent": 2}


def test_a_step_that_is_put_off_time_and_again_is_given_up_and_shown(faulty_office: Office) -> None:
    office = faulty_office
    followup = office.reminder("4xx-at-rcpt")
    now, looks = db.utc_now(), []
    for attempt in range(1, MAX_ATTEMPTS):
        assert office.send(now).counts == {"put_off": 1}
        assert office.outbox(followup).attempts == attempt
        looks.append(office.followup(followup).next_action_at - now)
        assert office.send(office.followup(followup).next_action_at - HALF_HOUR / 2).counts == {}
        now = office.followup(followup).next_action_at

    assert looks == [retry_pause(attempt) for attempt in range(1, MAX_ATTEMPTS)]
    assert office.send(now).counts == {"refused": 1}
    assert office.outbox(followup).state == "failed"
    assert office.state(followup) == ("held", "given_up: 451 4.3.0 Try again later")
    assert office.history(followup) == ["held"]


def test_the_message_id_stays_over_all_attempts(faulty_office: Office) -> None:
    office = faulty_office
    followup = office.reminder("4xx-at-dot")
    office.send()
    first = office.outbox(followup)
    client = office.followup(followup).client_id
    office.installation.set(Client, client, email=office.address("client"))

    office.send(office.followup(followup).next_action_at)

    (mail,) = office.delivered("client")
    assert mail.message_id == first.message_id
    assert office.outbox(followup).recipient == office.address("client")


def still_refused(office: Office, followup: int) -> None:
    office.installation.set(Followup, followup, auto_state="active", next_action_at=db.utc_now())


def its_outbox_says_sent(office: Office, followup: int) -> None:
    office.installation.set(Followup, followup, auto_state="active", next_action_at=db.utc_now())
    office.installation.set(OutboxMail, office.outbox(followup).id, state="sent")


@pytest.mark.parametrize(
    ("meddle", "reason"),
    [(still_refused, "refused_by_server"), (its_outbox_says_sent, "already_sent")],
)
def test_a_step_that_cannot_go_out_is_not_passed_over_in_silence(
    faulty_office: Office, meddle: Callable[[Office, int], None], reason: str
) -> None:
    office = faulty_office
    followup = office.reminder("5xx-at-rcpt")
    office.send()
    meddle(office, followup)

    assert office.send().counts == {"held": 1}
    assert office.state(followup) == ("held", reason)
