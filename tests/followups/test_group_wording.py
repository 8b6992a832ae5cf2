"""The words of one mail about several follow-ups."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from backend.app.errors import SettingsInvalid
from backend.app.followups.group_wording import Item, can_group, render_group
from backend.app.followups.late_payment import late_due
from backend.app.followups.settings import GROUPED_TYPES, load_rules
from backend.app.followups.type_rules import FollowupType
from backend.app.followups.values import WordingContext
from backend.app.followups.wording import TEMPLATES, Style
from backend.app.mail.markup import sanitise, text_from_html

INVOICE = FollowupType.INVOICE_UNPAID
QUOTE = FollowupType.QUOTE_UNANSWERED
FIRST = WordingContext(
    company_name="Menuiserie Dubois",
    client_name="Jean Petit",
    source_label="Facture F-1",
    amount=Decimal("1234.50"),
    currency="EUR",
    due_date=date(2026, 11, 1),
    days_late=23,
    sender_name="Claire Dubois",
)
SECOND = replace(
    FIRST, source_label="Facture F-2 | b", amount=Decimal(300), due_date=date(2026, 11, 12)
)


def items(*contexts: WordingContext, reminded: bool = False) -> list[Item]:
    return [Item(each, reminded) for each in contexts]


def plain(text: str) -> str:
    return text.replace("\xa0", " ")


def test_each_invoice_stands_in_a_line_of_its_own_with_the_sum_below() -> None:
    wording = render_group(INVOICE, Style(1), "fr", items(FIRST, SECOND))
    assert plain(wording.subject) == "2 factures : rappel d’échéance"
    assert (
        "- Facture F-1 | échéance : 1er novembre 2026 | 1 234,50 €\n"
        "- Facture F-2 / b | échéance : 12 novembre 2026 | 300,00 €\n"
        "- Total | 1 534,50 €\n"
    ) in plain(wording.text)
    assert wording.html.count("<tr>") == 4 + 1  # the page's own two tables and three rows
    assert 'colspan="2"' in wording.html


def test_html_and_text_say_the_same() -> None:
    late = late_due(Decimal("1234.50"), 23, Decimal(40), Decimal(12))
    link = {"payment_link": "https://pay.test/1"}
    several = items(
        replace(FIRST, late=late, **link), replace(SECOND, payment_link="https://pay.test/2")
    )
    wording = render_group(INVOICE, Style(3), "fr", several)
    html = text_from_html(sanitise(wording.html))[0]
    for line in plain(wording.text).split("\n"):
        for cell in line.removeprefix("- ").split(" | "):
            assert cell.partition(" : https")[0].strip() in plain(html), cell
    assert (
        html.count("https://pay.test/") == 2 or wording.html.count('href="https://pay.test/') == 2
    )


def test_sums_are_one_a_currency() -> None:
    other = replace(SECOND, currency="USD")
    wording = render_group(INVOICE, Style(1), "en", items(FIRST, other, replace(FIRST)))
    assert "- Total | €2,469.00 + US$300.00" in wording.text


def test_what_professionals_owe_is_stated_for_each_invoice_with_its_calculation() -> None:
    late = [
        late_due(each.amount or Decimal(0), 23, Decimal(40), Decimal(12))
        for each in (FIRST, SECOND)
    ]
    several = items(
        replace(FIRST, late=late[0]),
        replace(SECOND, late=late[1]),
        replace(FIRST, source_label="Facture F-3"),
    )
    text = plain(render_group(INVOICE, Style(2), "fr", several).text)
    assert "- Facture F-1 | indemnité forfaitaire de recouvrement | 40,00 €" in text
    assert (
        "- Facture F-1 | intérêts de retard, 1 234,50 € × 12 % par an × 23 jours ÷ 365 | 9,33 €"
        in text
    )
    assert "- Facture F-2 / b | indemnité forfaitaire de recouvrement | 40,00 €" in text
    assert "- Facture F-3 | indemnité" not in text
    # 1234.50 + 300 + 1234.50, twice 40, and the interest of two
    assert "- Total à ce jour | 2 860,60 €" in text


def test_one_link_for_all_stands_once() -> None:
    one = {"payment_link": "https://pay.test/all"}
    wording = render_group(
        INVOICE, Style(1), "en", items(replace(FIRST, **one), replace(SECOND, **one))
    )
    assert wording.text.count("https://") == 1
    assert "Pay online: https://pay.test/all" in wording.text
    own = items(replace(FIRST, **one), SECOND)
    assert (
        "Facture F-1, pay online: https://pay.test/all"
        in render_group(INVOICE, Style(1), "en", own).text
    )


@pytest.mark.parametrize(
    ("reminded", "words"),
    [
        ((True, True), "Malgré nos précédents messages, les sommes"),
        ((True, False), "restent dues, pour certaines malgré"),
        ((False, False), "Les sommes suivantes restent dues :"),
    ],
)
def test_nothing_is_said_of_earlier_messages_that_were_not_sent(
    reminded: tuple[bool, bool], words: str
) -> None:
    several = [Item(each, was) for each, was in zip((FIRST, SECOND), reminded, strict=True)]
    assert words in plain(render_group(INVOICE, Style(3), "fr", several).text)


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("type_", [INVOICE, QUOTE])
def test_every_packaged_wording_names_all_and_the_sender(
    type_: FollowupType, level: int, language: str
) -> None:
    wording = render_group(type_, Style(level), language, items(FIRST, SECOND))
    for words in ("Facture F-1", "Facture F-2 / b", "Jean Petit", "Menuiserie Dubois", "2 "):
        assert words in wording.subject + wording.text
    assert "{" not in wording.text
    assert "\n\n\n" not in wording.text


def test_before_the_due_date_nothing_is_late() -> None:
    wording = render_group(INVOICE, Style(1, "invoice_soon_due"), "fr", items(FIRST, SECOND))
    assert "échéance prochaine" in wording.text


def rules(**templates: Any) -> Any:
    return load_rules({"invoice_unpaid": {"group": True}, "templates": templates})


def test_an_own_wording_for_one_is_not_replaced_by_a_packaged_one_for_several() -> None:
    own = rules(invoice_unpaid_1={"fr": {"subject": "{{ source_label }}", "text": "{{ amount }}"}})
    assert not can_group(INVOICE, Style(1, None, own.templates))
    assert can_group(INVOICE, Style(2, None, own.templates))


def test_an_own_wording_for_several() -> None:
    own = rules(
        invoice_unpaid_1_group={
            "fr": {
                "subject": "{{ count }} factures, {{ total }}",
                "text": "Bonjour {{ client_name }},\n\n{{ items }}\n",
                "html": "<p>Bonjour {{ client_name }},</p>{{ items }}",
            }
        }
    )
    style = Style(1, None, own.templates)
    evil = replace(SECOND, source_label="<script>F-2</script>")
    wording = render_group(INVOICE, style, "fr", items(FIRST, evil))
    assert plain(wording.subject) == "2 factures, 1 534,50 €"
    assert "- Facture F-1 | échéance" in wording.text
    assert "<table" in wording.html
    assert "&lt;script&gt;F-2" in wording.html


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"appointment": {"group": True}}, "appointment.group: only invoice_unpaid and quote_unan"),
        (
            {"templates": {"a_group": {"fr": {"subject": "{{ amount }}", "text": "x"}}}},
            "templates.a_group: amount has no value in a mail about several",
        ),
        (
            {"templates": {"a": {"fr": {"subject": "{{ count }}", "text": "{{ items }}"}}}},
            "templates.a: count, items has no value in a mail about one",
        ),
        (
            {
                "templates": {"a_group": {"fr": {"subject": "x", "text": "x"}}},
                "invoice_unpaid": {"steps": [{"days_from_due": 7, "template": "a_group"}]},
            },
            "step 1 names a_group, which is for mails about several",
        ),
    ],
)
def test_settings_that_could_not_be_worded_are_refused(document: Any, words: str) -> None:
    with pytest.raises(SettingsInvalid, match=words):
        load_rules(document)


def test_every_packaged_wording_for_several_is_there_in_both_languages() -> None:
    groups = {path.relative_to(TEMPLATES).as_posix() for path in TEMPLATES.rglob("*group*")}
    names = {name.partition("/")[2] for name in groups}
    assert groups == {f"{language}/{name}" for language in ("fr", "en") for name in names}
    types = {f"{kind.value}.{level}.group.txt" for kind in GROUPED_TYPES for level in (1, 2, 3)}
    assert {name for name in names if not name.startswith("_")} == {
        *types,
        "invoice_soon_due.group.txt",
    }
