"""The worst stories that users of such systems tell, each by its name. Here it cannot happen.

Told elsewhere: an hour off after a clock change (test_calendar.py); the second before the first,
never again after an outage, hundreds at once on activation, and the weekend that spends the steps
(test_holds.py); a client with a hundred reminders (test_budgets.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import pytest

from backend.app import db
from backend.app.models import Followup, OutboxMail
from tests.followups.office import Office, freshen
from tests.servers.faulty_smtp import FaultySmtpServer


def test_the_same_reminder_100_times_cannot_happen(office: Office) -> None:
    """The job starts 100 times within the hour, several times at the same instant."""
    followup = office.reminder()
    freshen(office.installation, db.utc_now())
    start = threading.Barrier(4)

    def starts(_number: int) -> int:
        start.wait()
        return sum(office.installation.send().counts.get("sent", 0) for _ in range(25))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(starts, range(4))) == 1

    assert len(office.delivered()) == 1
    assert office.history(followup) == ["sent"]


def test_one_bad_record_stops_all_cannot_happen(office: Office) -> None:
    """The oldest ones are broken in every way that a host application could break them."""
    long_ago = {"next_action_at": db.utc_now() - timedelta(days=3)}
    broken: list[dict[str, Any]] = [
        {"type": "nonsense"},
        {"due_date": None},
        {"due_date": date(9999, 12, 31)},
        {"amount": None},
        {"status": ""},
        {"currency": "???"},
    ]
    for number, columns in enumerate(broken):
        office.reminder(f"broken{number}", **columns, **long_ago)
    good = [office.reminder(f"good{number}") for number in range(3)]

    office.send()

    assert [office.followup(each).steps_sent for each in good] == [1, 1, 1]
    held = office.installation.rows(Followup, Followup.auto_state == "held")
    assert all(row.auto_reason for row in held)
    assert len(held) == len(broken)


@pytest.mark.parametrize("state", ["claimed", "sending"])
def test_stuck_in_sending_cannot_happen(office: Office, state: str) -> None:
    """The process is killed; the next runs take the step back, or find out and ask a person."""
    claimed = office.claimed(office.reminder())
    over = db.utc_now() - timedelta(hours=1)
    office.installation.set(
        OutboxMail, claimed.id, state=state, lease_until=over, sending_at=over - timedelta(days=2)
    )

    office.send()
    office.send()

    now = office.outbox(claimed.followup_id)
    if state == "claimed":
        assert (now.state, len(office.delivered())) == ("sent", 1)
    else:
        assert (now.state, now.needs_person) == ("uncertain", True)
        assert office.state(claimed.followup_id) == ("held", "uncertain")
        assert office.delivered() == []


def paid(office: Office, followup: int) -> None:
    office.installation.set(Followup, followup, status="payée")


def promised(office: Office, followup: int) -> None:
    later = db.utc_now().date() + timedelta(days=10)
    office.installation.set(Followup, followup, promised_until=later)


def switched_off(office: Office, followup: int) -> None:
    office.installation.set(Followup, followup, auto_enabled=False)


def disputed(office: Office, followup: int) -> None:
    office.installation.set(Followup, followup, status="litige")


@pytest.mark.parametrize(
    ("happens", "state", "reason"),
    [
        (paid, "stopped", "paid"),
        (disputed, "held", "disputed"),
        (promised, "active", "promised"),
        (switched_off, "active", "disabled"),
    ],
)
def test_a_reminder_to_somebody_who_has_just_paid_cannot_happen(
    faulty_office: Office,
    faulty_smtp: FaultySmtpServer,
    happens: Callable[[Office, int], None],
    state: str,
    reason: str,
) -> None:
    """It lands between planning and sending: the server is at DATA, the barrier lets it happen."""
    office = faulty_office
    followup = office.reminder()
    faulty_smtp.when_data_comes = lambda: happens(office, followup)

    office.send()

    assert faulty_smtp.accepted() == []
    assert office.outbox(followup).state == "cancelled"
    now, said = office.state(followup)
    assert (now, (said or "").partition(":")[0]) == (state, reason)
    assert office.followup(followup).steps_sent == 0
