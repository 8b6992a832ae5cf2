"""How many mails a mailbox sends in a minute, and what waits meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from backend.app.followups import outlets, send
from backend.app.followups.outlets import Pace
from backend.app.models import OutboxMail
from backend.app.runtime import Report, Run
from tests.followups.office import Office, open_office


class Time:
    """A time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.naps: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The time of every Pace that a run makes."""
    passing = Time()
    monkeypatch.setattr(outlets, "Pace", lambda n: Pace(n, passing.clock, passing.sleep))
    return passing


def test_a_minutes_worth_goes_at_once_and_the_rest_waits_for_the_oldest_to_be_a_minute_old() -> (
    None
):
    passing = Time()
    pace = Pace(3, passing.clock, passing.sleep)
    pauses = []
    for _ in range(5):
        pauses.append(pace.pause(1))
        passing.sleep(pauses[-1])
        pace.note(1)
        passing.sleep(10)
    assert pauses == [0, 0, 0, 30, 0]
    assert pace.pause(2) == 0


def test_a_run_keeps_the_pace_and_claims_nothing_while_it_waits(
    office: Office, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.installation.extra["SEND_PER_MINUTE"] = "2"
    slow = [office.reminder(f"slow{number}") for number in range(5)]
    other = open_office(office.installation, office.smtp)
    other.reminder("quick")
    claimed: list[Any] = []

    def look(seconds: float, sleep: Any = time.sleep) -> None:
        claimed.extend(office.installation.rows(OutboxMail, OutboxMail.state != "sent"))
        assert len(other.delivered("quick")) == 1  # nobody waits for another mailbox's pace
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", look)

    assert office.send().counts == {"sent": 6}
    assert sum(time.naps) == pytest.approx(120)
    assert max(time.naps) <= 1
    assert claimed == []
    assert all(office.followup(each).steps_sent == 1 for each in slow)


def test_a_run_that_is_asked_to_stop_does_not_sleep_on(
    office: Office, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.installation.extra["SEND_PER_MINUTE"] = "1"
    for number in range(3):
        office.reminder(f"client{number}")
    office.send(limit=0)
    report, installation = Report(), office.installation
    run = Run(installation.settings, installation.vault, "t", lambda: bool(time.naps))

    send.send_due_followups(run, report)

    assert report.counts == {"sent": 1}
    assert len(time.naps) == 1
