"""manage.py settings, and what a person may say of held follow-ups."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import pytest

from backend.app.models import CompanySettings, Followup
from tests.installation import ALWAYS_OPEN, Installation, today
from tests.operate.conftest import Manage

on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def stored(installation: Installation, company_id: int) -> object:
    rows = installation.rows(CompanySettings, CompanySettings.company_id == company_id)
    return rows[0].settings if rows else None


def test_a_key_is_set_shown_and_taken_out_again(
    manage: Manage, installation: Installation, company_id: int
) -> None:
    where = ("--company", company_id)
    manage("settings", "set", *where, "followups.window.closes", "18:00")
    manage("settings", "set", *where, "followups.invoice_unpaid.delays_days", "[3, 9]")

    shown = json.loads(manage("settings", "show", *where).stdout)["followups"]
    assert shown["window"]["closes"] == "18:00"
    assert shown["window"]["days"] == ALWAYS_OPEN["window"]["days"], "the rest stays"
    full = json.loads(manage("settings", "show", *where, "--effective").stdout)["followups"]
    assert full["invoice_unpaid"]["maximum"] == 2
    assert full["appointment"]["delays_days"] == [7, 14, 21]

    manage("settings", "set", *where, "followups.invoice_unpaid", "--default")
    assert "invoice_unpaid" not in stored(installation, company_id)["followups"]  # type: ignore[index]


@on_sqlite
@pytest.mark.parametrize(
    ("key", "value", "status", "words"),
    [
        ("followups.window.closes", "25:00", 1, "followups.window.closes: must be a time"),
        ("followups.windows.closes", "18:00", 1, "followups.windows: unknown key"),
        ("followups.window.opens.x", "1", 2, "opens is no object"),
        ("inbocks.rules", "1", 2, "a key begins with one of: followups"),
    ],
)
def test_a_wrong_key_or_value_is_named_and_nothing_is_written(
    manage: Manage,
    installation: Installation,
    company_id: int,
    key: str,
    value: str,
    status: int,
    words: str,
) -> None:
    before = stored(installation, company_id)
    said = manage("settings", "set", "--company", company_id, key, value, status=status)
    assert words in said.stderr
    assert stored(installation, company_id) == before


def test_sections_of_a_file_are_taken_over_and_what_else_is_there_stays(
    manage: Manage, installation: Installation, tmp_path: Path
) -> None:
    company_id = installation.add_company(settings={"invoicing": {"theme": "blue"}})
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"followups": {"budgets": {"client_gap_days": 4}}}))

    manage("settings", "check", "--file", file)
    manage("settings", "set", "--company", company_id, "--file", file)

    assert stored(installation, company_id) == {
        "invoicing": {"theme": "blue"},
        "followups": {"budgets": {"client_gap_days": 4}},
    }
    file.write_text('{"followups": {"budget": {}}}')
    said = manage("settings", "check", "--file", file, status=1)
    assert "followups.budget: unknown key" in said.stdout
    file.write_text("{")
    manage("settings", "check", "--file", file, status=2)


def test_check_looks_at_every_company(manage: Manage, installation: Installation) -> None:
    good = installation.add_company()
    bad = installation.add_company(settings={"followups": {"invoice": {}}})
    found = json.loads(manage("settings", "check", "--json", status=1).stdout)
    assert found == {f"company {good}": None, f"company {bad}": "followups.invoice: unknown key"}
    manage("settings", "check", "--company", good)


def test_a_person_postpones_a_followup_and_a_held_one_goes_on_then(
    manage: Manage, installation: Installation, company_id: int
) -> None:
    client = installation.add_client(company_id, "jean@example.test")
    followup = installation.add_followup(company_id, client, auto_state="held", auto_reason="x")

    day = today() + timedelta(days=20)
    manage("followup", "postpone", followup, "--until", f"{day:%d/%m/%Y}", "--by", "Léa")

    row = installation.rows(Followup, Followup.id == followup)[0]
    assert (row.auto_state, row.auto_reason) == ("active", None)
    assert row.postponed_until == day
    found = manage.json("followup", "explain", followup)
    assert [line["status"] for line in found["history"]] == ["postponed"]
    assert found["facts"]["postponed"] == day.isoformat()
    manage("followup", "stop", followup)
    manage("followup", "postpone", followup, "--until", day.isoformat(), status=1)


def test_all_that_are_held_for_one_reason_are_released_together(
    manage: Manage, installation: Installation, company_id: int
) -> None:
    client = installation.add_client(company_id, "jean@example.test")
    reasons = ["too_old: step 1", "too_old", "paused", "too_older"]
    held = [
        installation.add_followup(company_id, client, auto_state="held", auto_reason=reason)
        for reason in reasons
    ]

    manage("followup", "release", "--company", company_id, "--reason", "too_old")

    rows = installation.rows(Followup, Followup.id.in_(held))
    assert [row.auto_state for row in rows] == ["active", "active", "held", "held"]
    assert [row.approved_at is not None for row in rows] == [True, True, False, False]
    manage("followup", "release", "--reason", "too_old", status=2)
    manage("followup", "release", status=2)


def test_explain_shows_the_facts_and_the_reason_in_words(
    manage: Manage, installation: Installation, company_id: int
) -> None:
    client = installation.add_client(company_id, "jean@example.test")
    followup = installation.add_followup(company_id, client, promised_until=date(2099, 1, 1))
    text = manage("followup", "explain", followup).stdout
    assert "promised  2099-01-01" in text
    assert "asked again on 2099-01-02" in text


def test_filing_rules_are_shown_set_and_checked_too(manage: Manage, company_id: int) -> None:
    when = {"any": [{"sender": "@bois.example"}, {"not": {"subject": "devis"}}]}
    rule = {"name": "Bois", "folder": "wood", "when": when}
    where = ("--company", company_id)
    manage("settings", "set", *where, "inbox.rules", json.dumps([rule]))
    assert json.loads(manage("settings", "show", *where).stdout)["inbox"]["rules"] == [rule]
    wrong = json.dumps([{**rule, "folder": "Été"}])
    refused = manage("settings", "set", *where, "inbox.rules", wrong, status=1)
    assert 'inbox.rules[0] "Bois".folder' in refused.output
    manage("settings", "check")
    shown = manage("settings", "show", *where, "--effective").stdout
    assert json.loads(shown)["inbox"]["rules"] == [rule]
