"""A promise noted by hand, and the way back from an answer: what is said is what happens."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from backend.app import db
from backend.app.models import Conversation, Followup, InboxMessage, OutboxMail
from tests.followups.office import Office, open_office
from tests.installation import ALWAYS_OPEN as OPEN
from tests.installation import Installation, today
from tests.operate.conftest import Manage

NINE = time(9, tzinfo=UTC)


@pytest.fixture
def office(installation: Installation, embedded_smtp: Any) -> Office:
    return open_office(installation, embedded_smtp)


def answer(office: Office, at: datetime, name: str = "client") -> None:
    """A mail of the client that was read at this instant."""
    address = office.address(name)

    def write(session: Session) -> None:
        conversation = Conversation(company_id=office.company, thread_key=f"mail:{at}", subject="x")
        session.add(conversation)
        session.flush()
        session.add(
            InboxMessage(
                company_id=office.company,
                conversation_id=conversation.id,
                external_id=f"{at}@client.test",
                fingerprint=f"{at}",
                from_email=address,
                from_key=address,
                is_from_client=True,
                kind="human",
                placement="new",
                sent_at=at,
                arrived_at=at,
                created_at=at,
            )
        )

    office.installation.change(write)


def second_step_due(office: Office, followup: int) -> datetime:
    """The first step went out six days ago; the second is due."""
    sent = db.utc_now() - timedelta(days=6)
    begun = {"created_at": sent - timedelta(days=20), "due_date": today() - timedelta(days=15)}
    office.installation.set(Followup, followup, steps_sent=1, last_step_at=sent, **begun)
    return sent


def test_a_restart_goes_on_after_an_answer_that_a_person_has_read(
    office: Office, manage: Manage
) -> None:
    followup = office.reminder()
    sent = second_step_due(office, followup)
    answer(office, sent + timedelta(days=1))
    assert office.send().counts == {"stopped": 1}
    assert office.state(followup) == ("stopped", "answered")

    said = manage("followup", "release", followup, status=1).output
    assert f"to open it again: manage.py followup restart {followup}" in said
    manage("followup", "restart", followup, "--by", "Léa")

    assert office.followup(followup).status == "pending"
    assert office.send().counts == {"sent": 1}
    assert office.followup(followup).steps_sent == 2, "not the first step again"
    assert office.history(followup) == ["stopped", "released", "sent"]


def test_a_further_answer_stops_it_again(office: Office, manage: Manage) -> None:
    """I7: the restart acknowledges what had come before, and nothing else."""
    followup = office.reminder()
    sent = second_step_due(office, followup)
    answer(office, sent + timedelta(days=1))
    office.send()
    manage("followup", "restart", followup)

    answer(office, db.utc_now())

    assert office.send().counts == {"stopped": 1}
    assert office.state(followup) == ("stopped", "answered")


def test_an_answer_of_before_that_is_read_only_now_stops_it_again(
    office: Office, manage: Manage
) -> None:
    followup = office.reminder()
    sent = second_step_due(office, followup)
    answer(office, sent + timedelta(days=1))
    office.send()
    manage("followup", "restart", followup)

    late = sent + timedelta(days=2)
    answer(office, late)
    message = office.messages(InboxMessage.fingerprint == f"{late}")[0]
    office.installation.set(InboxMessage, message.id, created_at=db.utc_now())

    assert office.send().counts == {"stopped": 1}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"auto_state": "active"}, "has not stopped, it is active"),
        ({"auto_state": "completed", "auto_reason": "completed"}, "has not stopped"),
        ({"auto_state": "stopped", "auto_reason": "paid", "status": "paid"}, "status of follow-up"),
        ({"auto_state": "stopped", "auto_enabled": False}, "switched off"),
    ],
)
def test_what_cannot_be_restarted_says_why(
    office: Office, manage: Manage, change: Any, words: str
) -> None:
    followup = office.reminder()
    office.installation.set(Followup, followup, **change)
    assert words in manage("followup", "restart", followup, status=1).output
    assert office.history(followup) == []


def test_what_was_stopped_by_hand_goes_on(office: Office, manage: Manage) -> None:
    followup = office.reminder()
    manage("followup", "stop", followup)
    manage("followup", "restart", followup)
    assert office.send().counts == {"sent": 1}


def test_a_promise_puts_reminders_off_until_its_day_is_over(office: Office, manage: Manage) -> None:
    followup = office.reminder()
    day = today() + timedelta(days=3)
    manage("followup", "promise", followup, "--until", day.isoformat())
    assert office.send().counts == {"waiting": 1}
    assert office.state(followup) == (
        "active",
        f"promised: asked again on {day + timedelta(days=1)}",
    )
    assert office.history(followup) == ["postponed", "waiting"]
    later = datetime.combine(day + timedelta(days=1), NINE)
    assert office.send(later).counts == {"sent": 1}


def test_a_promise_releases_nothing(office: Office, manage: Manage) -> None:
    followup = office.reminder()
    held = {"auto_state": "held", "auto_reason": "disputed"}
    office.installation.set(Followup, followup, **held)
    day = today() + timedelta(days=60)
    said = manage("followup", "promise", followup, "--until", day.isoformat()).output
    assert "it stays held: disputed" in said
    assert office.state(followup) == ("held", "disputed")
    assert office.followup(followup).promised_until == day
    office.installation.set(Followup, followup, auto_state="stopped")
    manage("followup", "promise", followup, "--until", day.isoformat(), status=1)


@pytest.mark.parametrize("command", ["promise", "postpone"])
def test_a_day_that_is_over_is_a_slip(command: str, office: Office, manage: Manage) -> None:
    followup = office.reminder()
    day = today() - timedelta(days=300)
    refused = manage("followup", command, followup, "--until", day.isoformat(), status=2)
    assert f"'{day}' is over already" in refused.stderr
    assert office.history(followup) == []


def test_resend_on_a_stopped_follow_up_says_that_nothing_is_sent(
    office: Office, manage: Manage
) -> None:
    followup = office.reminder()
    office.send()
    outbox = office.outbox(followup)
    office.installation.set(OutboxMail, outbox.id, state="uncertain")
    office.installation.set(Followup, followup, auto_state="stopped", auto_reason="answered")

    said = manage("outbox", "resend", outbox.id).stdout

    assert "nothing is sent" in said
    assert f"follow-up {followup} is stopped: answered" in said
    assert f"manage.py followup restart {followup}" in said
    assert "next run" not in said
    assert office.send().counts == {}


def test_a_held_follow_up_is_explained_as_if_it_were_released(
    office: Office, manage: Manage
) -> None:
    old = office.reminder(due_date=today() - timedelta(days=90))
    assert office.send().counts == {"held": 1}

    explained = manage.json("followup", "explain", old)
    assert (explained["followup"]["auto_state"], explained["verdict"]["decision"]) == (
        "held",
        "send",
    )
    assert "once released, a run would send step" in manage("followup", "explain", old).stdout
    assert "approved" not in explained["facts"]

    manage("followup", "release", old)
    assert office.send().counts == {"sent": 1}


def test_a_wait_for_other_reminders_to_the_client_is_not_counted_as_age(office: Office) -> None:
    """Its turn came, and others to the same client went first for longer than old ones are held."""
    client = office.client()
    add = office.installation.add_followup
    long_due = {"due_date": today() - timedelta(days=50)}
    waited, forgotten = (add(office.company, client, **long_due) for _ in range(2))
    recently = db.utc_now() - timedelta(days=1)
    office.installation.set(Followup, waited, client_gap_until=recently)

    assert office.send().counts == {"sent": 1, "held": 1}

    assert office.followup(waited).steps_sent == 1
    assert (office.state(forgotten)[1] or "").startswith("too_old")


def test_a_wait_for_the_client_gap_is_remembered(office: Office) -> None:
    office.installation.set_settings(
        office.company,
        {"followups": {**OPEN, "budgets": {**OPEN["budgets"], "client_gap_days": 2}}},
    )
    client = office.client()
    first, second = (office.installation.add_followup(office.company, client) for _ in range(2))
    now = db.utc_now()
    office.send(now)
    waits = office.followup(second)
    assert (waits.auto_reason or "").startswith("client_gap")
    assert waits.client_gap_until == waits.next_action_at
    assert office.followup(first).client_gap_until is None
