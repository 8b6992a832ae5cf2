"""A company's own wordings: chosen, rendered, refused, and never costlier than their length."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backend.app.errors import SettingsInvalid
from backend.app.followups.own_templates import MOST_CHARS
from backend.app.followups.settings import FollowupRules, load_rules
from backend.app.followups.type_rules import FollowupType
from backend.app.followups.wording import MissingVariable, Style, Wording, WordingUnusable, render
from tests.followups.test_wording import CONTEXT, NBSP

INVOICE = FollowupType.INVOICE_UNPAID


def rules(name: str = "doux", language: str = "fr", **parts: str) -> FollowupRules:
    return load_rules({"templates": {name: {language: parts}}})


def worded(style: dict[str, Any], language: str = "fr", **context: Any) -> Wording:
    own = rules(**style).templates
    name = style.get("name", "doux")
    return render(INVOICE, Style(1, name, own), language, replace(CONTEXT, **context))


def test_text_alone_gets_the_html_of_the_letterhead() -> None:
    mail = worded({"subject": "{{ source_label }} ?", "text": "Cher {{ client_name }},\n\nMerci."})
    assert (mail.subject, mail.text) == (
        f"Facture F-2026-012{NBSP}?",
        "Cher Mme Durand,\n\nMerci.\n",
    )
    assert "<p style=" in mail.html
    assert "Cher Mme Durand,</p>" in mail.html


def test_html_alone_makes_the_text() -> None:
    html = "<p>Cher <b>{{ client_name }}</b>,</p><p>Il reste {{ amount }}.</p>"
    mail = worded({"subject": "s", "html": html}, client_name="M. <Petit> & fils")
    assert "<b>M. &lt;Petit&gt; &amp; fils</b>" in mail.html
    assert "Cher M. <Petit> & fils," in mail.text
    assert "Il reste 1 234,50 €." in mail.text


def test_a_template_named_for_a_type_and_an_escalation_takes_the_packaged_ones_place() -> None:
    own = rules("invoice_unpaid_2", subject="à nous", text="Rien d’autre.").templates
    assert render(INVOICE, Style(2, None, own), "fr", CONTEXT).subject == "à nous"
    assert render(INVOICE, Style(1, None, own), "fr", CONTEXT).subject != "à nous"


def test_the_clients_language_is_taken_where_there_is_one() -> None:
    both = {"fr": {"subject": "fr", "text": "t"}, "en": {"subject": "en", "text": "t"}}
    own = load_rules({"templates": {"doux": both}}).templates
    style = Style(1, "doux", own)
    assert render(INVOICE, style, "en", CONTEXT).subject == "en"
    assert render(INVOICE, style, "de", CONTEXT).subject == "fr"
    assert worded({"subject": "only", "text": "t"}, "en").subject == "only"


def test_a_missing_value_holds_the_reminder() -> None:
    with pytest.raises(MissingVariable) as hole:
        worded({"subject": "s", "text": "{{ payment_link }}"})
    assert hole.value.name == "payment_link"
    asked = "{% if payment_link is defined %}Lien{% else %}Sans lien{% endif %}"
    assert worded({"subject": "s", "text": asked}).text == "Sans lien\n"


@pytest.mark.parametrize(
    "text",
    ["{% if amount > 100 %}!{% endif %}", "{{ client_name | trim(3) }}", "{{ 'a' in days_late }}"],
)
def test_what_cannot_be_filled_in_says_so(text: str) -> None:
    with pytest.raises(WordingUnusable, match=r"^the template cannot be filled in: "):
        worded({"subject": "s", "text": text})


def test_a_subject_stays_one_line() -> None:
    assert worded({"subject": "a\nBcc: x@y.test\r\nb", "text": "t"}).subject == "a Bcc: x@y.test b"


REFUSED: list[tuple[dict[str, str], str]] = [
    ({"subject": "s"}, "must have text, html, or both"),
    ({"subject": "{{ amout }}", "text": "t"}, "subject: line 1: there is no variable amout; there"),
    ({"subject": "s", "text": "{{ amount"}, "text: not a template"),
    ({"subject": "s", "text": "{% for x in 'ab' %}{% endfor %}"}, "text: line 1: for is not allow"),
    ({"subject": "s", "text": "{{ range(1000000000) }}"}, "is not allowed here"),
    ({"subject": "s", "text": "{{ 'x' * 1000000000 }}"}, "mul is not allowed here"),
    ({"subject": "s", "text": "{{ 9 ** 9 ** 9 ** 9 }}"}, "pow is not allowed here"),
    ({"subject": "s", "text": "{{ amount.__class__ }}"}, "getattr is not allowed here"),
    ({"subject": "s", "text": "{{ '%9999999999d' % 1 }}"}, "mod is not allowed here"),
    ({"subject": "s", "text": "{{ amount | center(1000000000) }}"}, "there is no filter center"),
    ({"subject": "s", "text": "{{ amount | default('') }}"}, "there is no filter default"),
    ({"subject": "s", "html": "{{ client_name | safe }}"}, "there is no filter safe"),
    ({"subject": "s", "text": "{% include 'fr/_signature.txt' %}"}, "include is not allowed here"),
    ({"subject": "s", "text": "{% macro m() %}{% endmacro %}"}, "macro is not allowed here"),
    ({"subject": "s", "text": "{% set amount = 1 %}{{ amount }}"}, "assign is not allowed here"),
    ({"subject": "s", "text": "{{ self }}"}, "there is no variable self"),
    ({"subject": "s", "text": "{% if amount %}" * 150 + "{% endif %}" * 150}, "too deeply nested"),
    ({"subject": "s", "text": "{{ " + "(" * 5000 + "amount" + ")" * 5000 + " }}"}, "too deeply"),
    ({"subject": "s", "text": "x" * (MOST_CHARS + 1)}, "at most 20000 characters"),
]


@pytest.mark.parametrize(("parts", "words"), REFUSED)
def test_what_a_template_may_not_hold_is_named_with_its_key(
    parts: dict[str, str], words: str
) -> None:
    with pytest.raises(SettingsInvalid) as refusal:
        rules(**parts)
    assert str(refusal.value).startswith("followups.templates.doux.fr")
    assert words in str(refusal.value)


def test_a_step_whose_template_is_not_there_is_refused() -> None:
    steps = [{"days_from_due": 7, "template": "dur"}]
    with pytest.raises(SettingsInvalid, match="step 1 names the template dur"):
        load_rules({"invoice_unpaid": {"steps": steps}})
    template = {"dur": {"fr": {"subject": "s", "text": "t"}}}
    assert load_rules({"invoice_unpaid": {"steps": steps}, "templates": template})
