"""The day on which a company switches its reminders on: told before anything goes out."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from backend.app.models import Followup, FollowupHistory, OutboxMail
from tests.followups.office import Office, open_office
from tests.installation import ALWAYS_OPEN, Installation, today
from tests.operate.conftest import Manage

LONG_AGO = date(2026, 2, 1)


class NoServer:
    host, port = "127.0.0.1", 1


@pytest.fixture
def office(installation: Installation) -> Office:
    """Never synchronised; nothing can be sent, and nothing is."""
    return open_office(installation, NoServer())


def take_over(office: Office) -> dict[str, list[int]]:
    """What an import brings: old and recent ones of two types, and one without an amount."""
    old: dict[str, Any] = {"due_date": LONG_AGO}
    recent: dict[str, Any] = {"due_date": today() - timedelta(days=10)}
    return {
        "old invoices": [office.reminder(f"a{n}", **old) for n in range(3)],
        "old quotes": [office.reminder(f"b{n}", type="quote_unanswered", **old) for n in range(2)],
        "recent": [office.reminder(f"c{n}", **recent) for n in range(4)],
        "without amount": [office.reminder("d", amount=None, **recent)],
        "paid": [office.reminder("e", status="paid", **old)],
    }


def test_the_forecast_counts_by_type_what_would_go_and_what_is_too_old(
    office: Office, manage: Manage
) -> None:
    take_over(office)

    found = manage.json("followup", "forecast", "--company", office.company)
    by_type = {each["type"]: each for each in found["types"]}

    invoices, quotes = by_type["invoice_unpaid"], by_type["quote_unanswered"]
    assert (invoices["send"], invoices["too_old"]) == (4, 3)
    assert invoices["held"] == {"missing_variable": 1}
    assert invoices["stopped"] == {"paid": 1}
    assert (quotes["send"], quotes["too_old"]) == (0, 2)
    said = manage("followup", "forecast", "--company", office.company).stdout
    command = f"manage.py followup release --company {office.company} --reason too_old"
    assert f"{command}\n" in said
    assert f"{command} --type quote_unanswered\n" in said
    assert [line.split() for line in said.splitlines() if line.startswith("all")] == [
        ["all", "4", "5", "1", "0", "1"]
    ]
    assert office.installation.count(OutboxMail) == 0
    assert office.installation.count(FollowupHistory) == 0


def test_a_type_is_approved_before_the_first_run_and_goes_out_in_it(
    office: Office, manage: Manage
) -> None:
    taken = take_over(office)
    release = ("followup", "release", "--company", office.company, "--reason", "too_old")
    manage(*release, "--type", "quote_unanswered")
    found = manage.json("followup", "forecast", "--company", office.company)
    by_type = {each["type"]: each for each in found["types"]}
    assert by_type["quote_unanswered"]["send"] == 2
    assert by_type["invoice_unpaid"]["too_old"] == 3

    manage(*release)
    found = manage.json("followup", "forecast", "--company", office.company)
    assert sum(each["send"] for each in found["types"]) == 9
    for followup in taken["old invoices"] + taken["old quotes"]:
        assert office.history(followup) == ["released"]


def test_those_that_a_run_has_held_already_count_and_are_released(
    office: Office, manage: Manage
) -> None:
    held = office.reminder(due_date=LONG_AGO)
    reason = {"auto_state": "held", "auto_reason": "too_old: step 1 was due 2026-02-08"}
    office.installation.set(Followup, held, **reason)
    found = manage.json("followup", "forecast", "--company", office.company)
    assert [each["too_old"] for each in found["types"]] == [1]
    manage(
        *("followup", "release", "--company", office.company, "--reason", "too_old"),
        *("--type", "invoice_unpaid"),
    )
    assert office.state(held) == ("active", None)


def test_the_forecast_keeps_to_the_companys_share_of_a_run(office: Office, manage: Manage) -> None:
    rules = {**ALWAYS_OPEN, "budgets": {**ALWAYS_OPEN["budgets"], "per_run": 3}}
    office.installation.set_settings(office.company, {"followups": rules})
    take_over(office)
    found = manage.json("followup", "forecast", "--company", office.company)
    by_type = {each["type"]: each for each in found["types"]}
    assert by_type["invoice_unpaid"]["send"] == 3
    assert by_type["invoice_unpaid"]["waiting"]["run_budget"] >= 1


def test_type_needs_reason(manage: Manage, company_id: int) -> None:
    manage("followup", "release", "1", "--type", "invoice_unpaid", status=2)


def test_a_company_that_is_not_there_is_said(office: Office, manage: Manage) -> None:
    for command in (("forecast",), ("release", "--reason", "too_old")):
        refused = manage("followup", *command, "--company", 99, status=1)
        assert "there is no company 99" in refused.stderr


def test_a_reason_that_does_not_exist_releases_nothing(office: Office, manage: Manage) -> None:
    chosen = ("followup", "release", "--company", office.company, "--reason")
    assert "'tooold' is no reason code" in manage(*chosen, "tooold", status=2).stderr
    assert "is held for bounced_hard" in manage(*chosen, "bounced_hard").stdout
