"""A company's follow-up rules: defaults, validation, and errors that name the key."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from backend.app.channel import Channel
from backend.app.config import ROOT
from backend.app.errors import SettingsInvalid
from backend.app.followups.settings import FollowupRules, load_rules
from backend.app.followups.type_rules import FollowupType, TypeRules


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
    assert set(FollowupRules.model_fields) == {kind.value for kind in FollowupType} | COMMON
    for kind in FollowupType:
        only = load_rules({kind.value: {"min_gap_days": 99}})
        assert only.for_type(kind) == TypeRules(min_gap_days=99)
    for name in ("", "invoice", "for_type", "model_config", "INVOICE_UNPAID", *COMMON):
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
COMMON = {
    *("window", "holidays", "closures", "budgets", "activation"),
    *("mail", "late_payment", "sms"),
    "templates",
}


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
        ({"delays_days": list(range(21))}, f"{IN}.delays_days: must hold at most 20"),
        ({"delays_days": [7, 7]}, f"{IN}.delays_days: each delay must be longer"),
        ({"delays_days": [14, 7]}, f"{IN}.delays_days: each delay must be longer"),
        ({"maximum": 0}, f"{IN}.maximum: "),
        ({"maximum": None}, f"{IN}.maximum: Input should be a valid integer"),
        ({"maximum": 4}, f"{IN}: maximum is 4, but delays_days holds 3 only"),
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


def test_steps_say_when_how_and_in_which_words() -> None:
    rules = load_rules(
        {
            "invoice_unpaid": {
                "steps": [
                    {"days_from_due": -3, "template": "invoice_soon_due"},
                    {"days_from_due": 7},
                    {"days_after_previous": 10},
                    {"days_after_previous": 5, "channel": "sms", "escalation": 2},
                ]
            }
        }
    ).invoice_unpaid
    assert [step.days_from_due for step in rules.plan] == [-3, 7, None, None]
    assert [rules.channel_of(n) for n in range(1, 5)] == ["email", "email", "email", "sms"]
    assert [rules.escalation_of(step) for step in (1, 2, 3, 4)] == [1, 1, 2, 2]
    assert rules.maximum == 4


def test_simple_delays_are_a_plan_of_mails() -> None:
    rules = load_rules({"appointment": {"delays_days": [0, 2, 4, 6], "maximum": 3}}).appointment
    assert [step.days_from_due for step in rules.plan] == [0, 2, 4]
    assert {rules.channel_of(n) for n in range(1, len(rules.plan) + 1)} == {"email"}
    assert [rules.escalation_of(step) for step in (1, 2, 3)] == [1, 2, 3]


STEP = {"days_from_due": 7}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": []}, f"{IN}.steps: must hold at least one step"),
        ({"steps": [{}]}, f"{IN}.steps[0]: must have either days_from_due or days_after_previous"),
        ({"steps": [{**STEP, "days_after_previous": 1}]}, f"{IN}.steps[0]: must have either"),
        ({"steps": [{"days_after_previous": 1}]}, f"{IN}.steps: the first step must have"),
        ({"steps": [STEP, STEP]}, f"{IN}.steps: each days_from_due must be greater"),
        ({"steps": [{**STEP, "canal": "sms"}]}, f"{IN}.steps[0].canal: unknown key"),
        ({"steps": [{**STEP, "channel": "fax"}]}, f"{IN}.steps[0].channel: Input should be"),
        ({"steps": [{**STEP, "template": "../x"}]}, f"{IN}.steps[0].template: must be lower-case"),
        ({"steps": [{**STEP, "escalation": 4}]}, f"{IN}.steps[0].escalation: "),
        ({"steps": [STEP], "delays_days": [7]}, f"{IN}: has both steps and delays_days"),
        ({"steps": [STEP], "maximum": 2}, f"{IN}: maximum is 2, but steps holds 1 only"),
        ({"stop_on": ["paye"]}, f"{IN}.stop_on[0]: Input should be"),
    ],
)
def test_a_wrong_plan_is_refused_by_the_name_of_its_key(wrong: object, message: str) -> None:
    with pytest.raises(SettingsInvalid) as refusal:
        load_rules({"invoice_unpaid": wrong})
    assert str(refusal.value).startswith(message)
    assert ";" not in str(refusal.value), "one mistake, one message"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"window": {"days": ["lun"]}}, "followups.window.days[0]: Input should be"),
        ({"window": {"days": []}}, "followups.window: days must name at least one day"),
        ({"window": {"opens": "8h"}}, "followups.window.opens: must be a time such as 08:30"),
        ({"window": {"closes": "24:01"}}, "followups.window.closes: must be a time such as"),
        ({"window": {"opens": "19:00"}}, "followups.window: opens must be earlier than closes"),
        ({"holidays": {"country": "fr"}}, "followups.holidays.country: must be two capital"),
        ({"holidays": {"country": "QQ"}}, "followups.holidays: there is no calendar for"),
        ({"holidays": {"region": "57"}}, "followups.holidays: a region needs its country"),
        (
            {"holidays": {"country": "FR", "region": "Bretagne"}},
            "followups.holidays: FR has no such region, only: 57, 6AE, 971",
        ),
        ({"closures": [{"first_day": "2026-08-01"}]}, "followups.closures[0].last_day: is missing"),
        (
            {"closures": [{"first_day": "1/8/2026", "last_day": "2026-08-02"}]},
            "followups.closures[0].first_day: must be a date such as 2026-12-24",
        ),
        (
            {"closures": [{"first_day": "2026-08-03", "last_day": "2026-08-02"}]},
            "followups.closures[0]: last_day must not be before first_day",
        ),
        ({"budgets": {"per_run": 0}}, "followups.budgets.per_run: "),
        ({"activation": {"hold_older_than_days": "30"}}, "followups.activation.hold_older_than"),
        ({"mail": {"reply_to": "x"}}, "followups.mail.reply_to: must be an e-mail address"),
        ({"mail": {"sender_name": "a\nBcc: b"}}, "followups.mail.sender_name: must be one line"),
        ({"mail": {"payment_link": "http://x"}}, "followups.mail.payment_link: must be a web"),
        ({"mail": {"payment_link": "https://x.fr/{id}"}}, "followups.mail.payment_link: must be a"),
        ({"mail": {"payment_link": "https://é.fr"}}, "followups.mail.payment_link: must be a web"),
        ({"mail": {"payment_link": "https://[x"}}, "followups.mail.payment_link: must be a web"),
        (
            {"mail": {"signature_link": "https://x.fr/{source_id}"}},
            "followups.mail.signature_link: must be a web address",
        ),
        ({"late_payment": {"from_step": 0}}, "followups.late_payment.from_step: "),
        ({"late_payment": {"charge": 40.01}}, "followups.late_payment.charge: "),
        ({"templates": []}, "followups.templates: must be an object"),
        ({"templates": {"doux": {}}}, "followups.templates.doux: must not be empty"),
        (
            {"templates": {"Doux": {"fr": {"subject": "s", "text": "t"}}}},
            "followups.templates.Doux: must be lower-case letters, digits and _",
        ),
        ({"sms": {"max_segments": 11}}, "followups.sms.max_segments: "),
        ({"sms": {"sender": "Dubois"}}, "followups.sms.sender: unknown key"),
        (
            {"appointment": {"channel": "sms"}, "window": {"opens": "20:00", "closes": "22:00"}},
            "followups: a step is a text message, and the window has no hour",
        ),
        (
            {"appointment": {"channel": "sms"}, "window": {"days": ["sun"]}},
            "followups: a step is a text message, and the window has no hour",
        ),
    ],
)
def test_a_wrong_common_rule_is_refused_by_the_name_of_its_key(
    wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsInvalid) as refusal:
        load_rules(wrong)
    assert str(refusal.value).startswith(message)
    assert ";" not in str(refusal.value), "one mistake, one message"


def test_a_type_names_a_channel_for_all_its_steps_but_those_that_name_their_own() -> None:
    by_text = load_rules({"appointment": {"channel": "sms"}}).appointment
    assert {by_text.channel_of(n) for n in (1, 2, 3)} == {Channel.SMS}
    steps = [{"days_from_due": 1, "channel": "email"}, {"days_from_due": 8}]
    mixed = load_rules({"appointment": {"channel": "sms", "steps": steps}}).appointment
    assert [mixed.channel_of(1), mixed.channel_of(2)] == [Channel.EMAIL, Channel.SMS]


def test_the_documented_example_is_valid_and_names_every_key() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    example = json.loads(page.partition("```json\n")[2].partition("```")[0])["followups"]
    rules = load_rules(example)
    assert set(example["invoice_unpaid"]) == set(TypeRules.model_fields) - {"delays_days"}
    for name in COMMON - {"closures", "templates"}:
        assert set(example[name]) == set(type(getattr(rules, name)).model_fields), name
        if name != "holidays":
            assert getattr(rules, name) == getattr(FollowupRules(), name), name
