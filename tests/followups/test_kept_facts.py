"""What a decision rested on is kept beside it, and shown."""

from __future__ import annotations

import json
from datetime import timedelta

from backend.app import db
from backend.app.models import Client, Followup, FollowupHistory, OutboxMail
from backend.scripts.cli.terminal import local_time
from tests.followups.office import Office
from tests.operate.conftest import Manage


def test_a_hold_keeps_the_facts_it_rested_on(office: Office) -> None:
    followup = office.reminder()
    office.installation.set(Followup, followup, status="disputed")
    office.send()

    (line,) = office.installation.rows(FollowupHistory, FollowupHistory.followup_id == followup)

    assert (line.status, line.facts["status"], line.facts["steps_sent"]) == ("held", "disputed", 0)
    office.installation.set(Followup, followup, status="pending")
    (line,) = office.installation.rows(FollowupHistory, FollowupHistory.followup_id == followup)
    assert line.facts["status"] == "disputed", "as it was then"


def test_a_sent_step_shows_what_it_was_claimed_on(office: Office) -> None:
    followup = office.reminder()
    now = db.utc_now()
    office.send(now)

    (line,) = Manage(office.installation).json("followup", "explain", followup)["history"]

    assert line["status"] == "sent"
    assert line["facts"]["due_date"] == office.followup(followup).due_date.isoformat()
    assert line["facts"]["fresh_at"] == now.replace(microsecond=0).isoformat()
    assert "last_step_at" not in line["facts"], "as it was before"
    shown = Manage(office.installation)("followup", "explain", followup).stdout
    facts = " ".join(shown.partition("\n      on: ")[2].split())
    assert "status pending" in facts
    assert f"fresh_at {local_time(now, 'Europe/Paris')}" in facts
    assert "auto_enabled" not in facts, "only where it is not as usual"


def test_nothing_that_a_person_wrote_and_no_address_is_kept(office: Office) -> None:
    followup = office.reminder()
    client = office.followup(followup).client_id
    office.installation.set(Client, client, name="Zoë Secret", phone="+33612345678")
    office.send()

    kept = json.dumps(office.outbox(followup).facts)

    for private in ("Zo", "Secret", "@", "+336", "1234", "F-2026"):
        assert private not in kept


def test_where_nothing_was_decided_there_are_no_facts(office: Office) -> None:
    followup = office.reminder()
    manage = Manage(office.installation)
    day = (db.utc_now() + timedelta(days=3)).date().isoformat()
    manage("followup", "postpone", followup, "--until", day)
    rows = office.installation.rows(
        FollowupHistory, FollowupHistory.followup_id == followup, FollowupHistory.facts.is_(None)
    )
    assert [row.status for row in rows] == ["postponed"]
    assert office.installation.count(OutboxMail) == 0
