"""A company's follow-up rules: defaults, validation, and errors that name the key."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from backend.app.errors import SettingsInvalid
from backend.app.followups.settings import FollowupRules, FollowupType, TypeRules, load_rules


@pytest.mark.parametrize("document", [None, {}, {"invoice_unpaid": {}}])
def test_without_settings_the_defaults_hold(document: dict[str, Any] | None) -> None:
    rules = load_rules(document).invoice_unpaid
    assert rules.delays_days == (7, 14, 21)
    assert rules.maximum == 3
    assert rules.min_gap_days == 5
    assert rules.send_hour == 9
    assert rules.freshness_minutes == 15


def test_what_a_company_sets_counts_for_that_type_alone() -> None:
    rules = load_rules({"appointment": {"delays_days": [0, 2], "send_hour": 14}})
    assert rules.appointment == TypeRules(delays_days=(0, 2), maximum=2, send_hour=14)
    assert rules.quote_unanswered == TypeRules()


def test_every_type_has_rules_and_no_other_name_has() -> None:
    assert set(FollowupRules.model_fields) == {kind.value for kind in FollowupType}
    for kind in FollowupType:
        only = load_rules({kind.value: {"min_gap_days": 99}})
        assert only.for_type(kind) == TypeRules(min_gap_days=99)
    for name in ("", "invoice", "for_type", "model_config", "INVOICE_UNPAID"):
        assert FollowupRules().for_type(name) is None


def test_the_maximum_follows_the_delays_unless_given() -> None:
    assert load_rules({"invoice_unpaid": {"delays_days": [1, 2, 3, 4]}}).invoice_unpaid.maximum == 4
    assert load_rules({"invoice_unpaid": {"maximum": 1}}).invoice_unpaid.maximum == 1


def test_rules_cannot_be_changed() -> None:
    rules = load_rules(None)
    with pytest.raises(ValidationError):
        rules.invoice_unpaid.maximum = 9
    with pytest.raises(ValidationError):
        rules.invoice_unpaid = TypeRules()


IN = "followups.invoice_unpaid"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"delay_days": [7]}, f"{IN}.delay_days: unknown key"),
        ({"delays_days": []}, f"{IN}.delays_days: must hold at least one delay"),
        ({"delays_days": 7}, f"{IN}.delays_days: must be a list"),
        ({"delays_days": "789"}, f"{IN}.delays_days: must be a list"),
        ({"delays_days": [7, "14"]}, f"{IN}.delays_days[1]: Input should be a valid integer"),
        ({"delays_days": [7.0]}, f"{IN}.delays_days[0]: Input should be a valid integer"),
        ({"delays_days": [True]}, f"{IN}.delays_days[0]: Input should be a valid integer"),
        ({"delays_days": [-1, 7]}, f"{IN}.delays_days[0]: "),
        ({"delays_days": [10**9]}, f"{IN}.delays_days[0]: "),
        ({"delays_days": list(range(21))}, f"{IN}.delays_days: must hold at most 20 delays"),
        ({"delays_days": [7, 7]}, f"{IN}.delays_days: each delay must be longer"),
        ({"delays_days": [14, 7]}, f"{IN}.delays_days: each delay must be longer"),
        ({"maximum": 0}, f"{IN}.maximum: "),
        ({"maximum": None}, f"{IN}.maximum: Input should be a valid integer"),
        ({"maximum": 4}, f"{IN}: maximum is 4, but delays_days has a delay for 3 only"),
        ({"min_gap_days": 0}, f"{IN}.min_gap_days: "),
        ({"send_hour": 24}, f"{IN}.send_hour: Input should be less than or equal to 23"),
        ({"send_hour": -1}, f"{IN}.send_hour: "),
        ({"send_hour": "9"}, f"{IN}.send_hour: Input should be a valid integer"),
        ({"freshness_minutes": 0}, f"{IN}.freshness_minutes: "),
        ({"freshness_minutes": 1441}, f"{IN}.freshness_minutes: "),
        (None, f"{IN}: must be an object"),
        ([], f"{IN}: must be an object"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_key(wrong: object, message: str) -> None:
    with pytest.raises(SettingsInvalid) as refusal:
        load_rules({"invoice_unpaid": wrong})
    assert str(refusal.value).startswith(message)
    assert ";" not in str(refusal.value), "one mistake, one message"


def test_a_type_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SettingsInvalid, match=r"^followups\.invoices: unknown key$"):
        load_rules({"invoices": {}})


def test_a_document_that_is_no_object_is_refused() -> None:
    with pytest.raises(SettingsInvalid, match=r"^followups: must be an object$"):
        load_rules([1])  # type: ignore[arg-type]


def test_all_mistakes_are_told_at_once_up_to_a_bound() -> None:
    with pytest.raises(SettingsInvalid) as refusal:
        load_rules({"appointment": {"send_hour": 24, "maximum": 0}})
    assert "appointment.send_hour" in str(refusal.value)
    assert "appointment.maximum" in str(refusal.value)
    with pytest.raises(SettingsInvalid, match=r"; and 95 more$"):
        load_rules({f"key{number}": {} for number in range(100)})


def test_a_hostile_key_stays_one_short_line() -> None:
    with pytest.raises(SettingsInvalid) as refusal:
        load_rules({"a\nERROR forged\x1b[31m" + "x" * 10_000: {}})
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 200
