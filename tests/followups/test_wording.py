"""The words of a reminder: every template, the notation of values, and hostile values."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.app.followups import wording
from backend.app.followups.late_payment import late_due
from backend.app.followups.own_templates import PACKAGED_NAMES
from backend.app.followups.type_rules import FollowupType
from backend.app.followups.values import WordingContext
from backend.app.followups.wording import MissingVariable, Style, Wording, render
from backend.app.mail.markup import sanitise, text_from_html

NBSP = "\u00a0"
CONTEXT = WordingContext(
    company_name="Atelier Martin",
    client_name="Mme Durand",
    source_label="Facture F-2026-012",
    amount=Decimal("1234.5"),
    currency="EUR",
    due_date=date(2026, 11, 12),
    days_late=21,
    sender_name="Luc Martin",
)
LABEL = CONTEXT.source_label
EVERY = [
    (kind, step, language)
    for language in ("fr", "en")
    for kind in FollowupType
    for step in (1, 2, 3)
]
every_template = pytest.mark.parametrize(("kind", "step", "language"), EVERY)
INVOICE = FollowupType.INVOICE_UNPAID

SUBJECTS = {
    ("fr", "quote_unanswered"): [
        f"{LABEL} : avez-vous pu en prendre connaissance ?",
        f"{LABEL} : où en êtes-vous ?",
        f"{LABEL} : quelle suite souhaitez-vous donner ?",
    ],
    ("fr", "invoice_unpaid"): [
        f"{LABEL} : rappel d’échéance",
        f"{LABEL} : règlement en attente",
        f"{LABEL} : votre règlement est attendu",
    ],
    ("fr", "missing_information"): [
        f"{LABEL} : il nous manque des informations",
        f"{LABEL} : informations toujours attendues",
        f"{LABEL} : en attente de votre réponse",
    ],
    ("fr", "appointment"): [
        f"{LABEL} : quelles sont vos disponibilités ?",
        f"{LABEL} : convenons d’une date",
        f"{LABEL} : merci de nous proposer une date",
    ],
    ("fr", "inactive_client"): [
        "Atelier Martin : gardons le contact",
        "Atelier Martin : avez-vous un projet en vue ?",
        "Atelier Martin : souhaitez-vous rester en contact ?",
    ],
    ("fr", "project_waiting"): [
        f"{LABEL} : quand souhaitez-vous reprendre ?",
        f"{LABEL} : faisons le point",
        f"{LABEL} : nous attendons votre décision",
    ],
    ("en", "quote_unanswered"): [
        f"{LABEL}: have you had a chance to look at it?",
        f"{LABEL}: where do you stand?",
        f"{LABEL}: how would you like to proceed?",
    ],
    ("en", "invoice_unpaid"): [
        f"{LABEL}: payment reminder",
        f"{LABEL}: payment outstanding",
        f"{LABEL}: your payment is overdue",
    ],
    ("en", "missing_information"): [
        f"{LABEL}: we are missing some information",
        f"{LABEL}: still waiting for your information",
        f"{LABEL}: awaiting your answer",
    ],
    ("en", "appointment"): [
        f"{LABEL}: when are you available?",
        f"{LABEL}: let us agree on a date",
        f"{LABEL}: please suggest a date",
    ],
    ("en", "inactive_client"): [
        "Atelier Martin: keeping in touch",
        "Atelier Martin: do you have a project in mind?",
        "Atelier Martin: would you like to stay in touch?",
    ],
    ("en", "project_waiting"): [
        f"{LABEL}: when would you like to resume?",
        f"{LABEL}: where do we stand?",
        f"{LABEL}: we need your decision",
    ],
}

FRENCH_INVOICE_3 = """\
Bonjour Mme Durand,

Malgré nos précédents messages, la somme suivante reste due, 21 jours après son échéance_:

- Facture F-2026-012
- Montant_: 1_234,50_€
- Échéance_: 12 novembre 2026

Nous vous demandons de la régler dans les meilleurs délais ou, à défaut, de nous indiquer la date \
de votre règlement en répondant à ce courriel. Si vous contestez cette facture, merci de nous en \
donner la raison.

Si votre règlement est déjà parti, merci de ne pas tenir compte de ce message.

Bien cordialement,
Luc Martin
Atelier Martin
"""
ENGLISH_INVOICE_1 = """\
Hello Mme Durand,

Unless we are mistaken, we have not yet received your payment:

- Facture F-2026-012
- Amount: €1,234.50
- Due date: 12 November 2026

It has probably just slipped your mind. Could you take care of it in the next few days?

If you have already paid, please disregard this message. If you have any question, simply reply \
to this email.

Kind regards,
Luc Martin
Atelier Martin
"""


def test_the_french_third_invoice_reminder_to_the_letter() -> None:
    text = render(INVOICE, 3, "fr", CONTEXT).text
    assert text == FRENCH_INVOICE_3.replace("_", NBSP)


def test_the_english_first_invoice_reminder_to_the_letter() -> None:
    assert render(INVOICE, 1, "en", CONTEXT).text == ENGLISH_INVOICE_1


@every_template
def test_each_template_has_its_subject(kind: FollowupType, step: int, language: str) -> None:
    subject = render(kind, step, language, CONTEXT).subject
    assert subject.replace(NBSP, " ") == SUBJECTS[language, kind.value][step - 1]


@every_template
def test_no_template_leaves_a_trace_of_itself(kind: FollowupType, step: int, language: str) -> None:
    worded = render(kind, step, language, CONTEXT)
    for part in (worded.subject, worded.text):
        for trace in ("{", "}", "%", "None", "  ", " \n", "\n\n\n", "\t", "\r", "Subject:", "…"):
            assert trace not in part
    assert "\n" not in worded.subject
    assert len(worded.subject) <= 120
    assert len(worded.text) < 900, "a reminder is short"
    assert worded.text.endswith("\nLuc Martin\nAtelier Martin\n")


@every_template
def test_each_reminder_says_when_to_disregard_it_and_that_a_reply_reaches_us(
    kind: FollowupType, step: int, language: str
) -> None:
    text = render(kind, step, language, CONTEXT).text
    disregard, reply = {
        "fr": ("merci de ne pas tenir compte de ce message", r"répon\w+ .*ce courriel"),
        "en": ("please disregard this message", "reply(ing)? to this email"),
    }[language]
    assert disregard in text
    assert re.search(reply, text.replace(NBSP, " "))


@every_template
def test_no_reminder_threatens_or_calls_itself_a_formal_notice(
    kind: FollowupType, step: int, language: str
) -> None:
    worded = render(kind, step, language, CONTEXT)
    text = f"{worded.subject} {worded.text}".casefold()
    forbidden = "mise en demeure|huissier|tribunal|pénalité|dernier|formal notice|legal|final|court"
    assert not re.search(rf"\b({forbidden})", text)


@pytest.mark.parametrize("kind", FollowupType)
@pytest.mark.parametrize("language", ["fr", "en"])
def test_the_tone_rises_from_one_step_to_the_next(kind: FollowupType, language: str) -> None:
    first, second, third = (render(kind, step, language, CONTEXT).text for step in (1, 2, 3))
    earlier = {"fr": "précédents messages", "en": "earlier messages"}[language]
    assert earlier not in first.casefold()
    assert earlier not in second.casefold()
    assert earlier in third.casefold()


def test_french_marks_never_stand_alone_at_the_start_of_a_line() -> None:
    for kind, step, language in EVERY:
        if language == "fr":
            worded = render(kind, step, language, CONTEXT)
            assert not re.search(r"[^\u00a0][:;!?»€]", worded.subject + worded.text)
            assert not re.search(r"«[^\u00a0]", worded.text)


def test_every_packaged_template_is_used_and_every_type_has_three_steps_in_both_languages() -> None:
    root = Path(wording.__file__).parent / "templates"
    packaged = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    used = {f"{language}/{kind.value}.{step}.txt" for kind, step, language in EVERY}
    parts = {
        f"{language}/{name}.txt"
        for language in ("fr", "en")
        for name in (
            "_signature",
            "_payment_link",
            "_signature_link",
            "_late_payment",
            *PACKAGED_NAMES,
        )
    }
    texts = {f"{language}/sms.ini" for language in ("fr", "en")}  # see test_text_messages.py
    groups = {name for name in packaged if ".group." in name or "/_group_" in name}
    assert packaged - groups == used | parts | texts  # groups: see test_group_wording.py


@pytest.mark.parametrize("step", [4, 20])
def test_a_step_beyond_the_templates_uses_the_last(step: int) -> None:
    assert render(INVOICE, step, "fr", CONTEXT) == render(INVOICE, 3, "fr", CONTEXT)


def test_there_is_no_step_before_the_first() -> None:
    with pytest.raises(ValueError, match="not 0"):
        render(INVOICE, 0, "fr", CONTEXT)


@pytest.mark.parametrize(
    ("language", "like"),
    [
        ("FR", "fr"),
        ("fr_FR", "fr"),
        ("en-GB", "en"),
        ("en_US", "en"),
        ("de", "fr"),
        ("", "fr"),
        ("../en", "fr"),
        ("english", "fr"),
    ],
)
def test_an_unknown_language_gets_french(language: str, like: str) -> None:
    assert render(INVOICE, 1, language, CONTEXT) == render(INVOICE, 1, like, CONTEXT)


@pytest.mark.parametrize(
    ("amount", "currency", "language", "shown"),
    [
        ("1234.5", "EUR", "fr", "1_234,50_€"),
        ("1234567.89", "EUR", "fr", "1_234_567,89_€"),
        ("0.5", "eur", "fr", "0,50_€"),
        ("80", "CHF", "fr", "80,00_CHF"),
        ("1234.5", "EUR", "en", "€1,234.50"),
        ("1234.5", "GBP", "en", "£1,234.50"),
    ],
)
def test_an_amount_is_written_as_its_reader_writes_it(
    amount: str, currency: str, language: str, shown: str
) -> None:
    context = replace(CONTEXT, amount=Decimal(amount), currency=currency)
    line = render(INVOICE, 1, language, context).text.splitlines()[5]
    name = {"fr": f"- Montant{NBSP}: ", "en": "- Amount: "}[language]
    assert line == name + shown.replace("_", NBSP)


@pytest.mark.parametrize(
    ("day", "language", "shown"),
    [
        (date(2027, 1, 1), "fr", "1er janvier 2027"),
        (date(2027, 8, 11), "fr", "11 août 2027"),
        (date(2027, 8, 21), "fr", "21 août 2027"),
        (date(2027, 1, 1), "en", "1 January 2027"),
    ],
)
def test_a_date_is_written_in_full(day: date, language: str, shown: str) -> None:
    assert f" {shown}\n" in render(INVOICE, 1, language, replace(CONTEXT, due_date=day)).text


@pytest.mark.parametrize(("days", "told"), [(-3, False), (0, False), (1, False), (2, True)])
def test_days_late_are_told_only_in_the_plural(days: int, told: bool) -> None:
    french = render(INVOICE, 3, "fr", replace(CONTEXT, days_late=days)).text
    english = render(INVOICE, 3, "en", replace(CONTEXT, days_late=days)).text
    assert ("jours après" in french) is told
    assert ("days after" in english) is told


@pytest.mark.parametrize(
    ("step", "without", "name"),
    [
        (1, {"amount": None}, "amount"),
        (1, {"amount": Decimal(0)}, "amount"),
        (1, {"amount": Decimal("-12.00")}, "amount"),
        (1, {"amount": Decimal("NaN")}, "amount"),
        (1, {"amount": Decimal("Infinity")}, "amount"),
        (1, {"amount": Decimal("1E+999999")}, "amount"),
        (1, {"currency": ""}, "currency"),
        (1, {"currency": "€"}, "currency"),
        (1, {"currency": "EUR\nBcc"}, "currency"),
        (1, {"due_date": None}, "due_date"),
        (1, {"source_label": ""}, "source_label"),
        (1, {"source_label": " \r\n\u200b"}, "source_label"),
        (1, {"company_name": ""}, "company_name"),
        (3, {"days_late": None}, "days_late"),
    ],
)
def test_a_missing_value_holds_the_reminder_by_its_name(
    step: int, without: dict[str, object], name: str
) -> None:
    context = replace(CONTEXT, **without)  # type: ignore[arg-type]
    with pytest.raises(MissingVariable) as hole:
        render(INVOICE, step, "fr", context)
    assert hole.value.name == name
    assert name in str(hole.value)


def test_what_a_template_does_not_print_may_be_missing() -> None:
    bare = replace(CONTEXT, amount=None, currency="", due_date=None, days_late=None)
    assert render(FollowupType.QUOTE_UNANSWERED, 3, "fr", bare)
    assert render(FollowupType.INACTIVE_CLIENT, 3, "en", replace(bare, source_label=""))


@pytest.mark.parametrize("name", ["", " \n", "jean@exemple.fr"])
def test_a_client_without_a_name_is_greeted_without_one(name: str) -> None:
    context = replace(CONTEXT, client_name=name)
    assert render(INVOICE, 1, "fr", context).text.startswith("Bonjour,\n")
    assert render(INVOICE, 1, "en", context).text.startswith("Hello,\n")


@pytest.mark.parametrize("sender", ["", "Atelier Martin"])
def test_a_company_that_signs_for_itself_is_named_once(sender: str) -> None:
    text = render(INVOICE, 1, "fr", replace(CONTEXT, sender_name=sender)).text
    assert text.endswith("\n\nBien cordialement,\nAtelier Martin\n")


def test_a_value_is_never_read_as_a_template() -> None:
    hostile = "{{ company_name }} {% include 'en/_signature.txt' %} {{ 7 * 7 }}"
    worded = render(INVOICE, 1, "fr", replace(CONTEXT, client_name=hostile, source_label=hostile))
    assert f"Bonjour {hostile},\n" in worded.text
    assert f"- {hostile}\n" in worded.text
    assert worded.subject.startswith("{{ company_name }} {% include")


def test_a_value_cannot_break_the_subject_or_the_layout() -> None:
    hostile = (
        "F-1\r\nBcc: x@example.org\n\n\x00\x1b[31mSubject: forged\u2028\u2029\u202etxt.exe\ud800"
    )
    worded = render(INVOICE, 1, "fr", replace(CONTEXT, source_label=hostile, client_name="A\n\nB"))
    shown = "F-1 Bcc: x@example.org [31mSubject: forged txt.exe"
    assert f"\n- {shown}\n" in worded.text
    assert "\n" not in worded.subject
    assert worded.text.startswith("Bonjour A B,\n\n")


def test_a_long_value_is_bounded_and_the_subject_keeps_its_end() -> None:
    worded = render(INVOICE, 1, "fr", replace(CONTEXT, source_label="x" * 5000))
    assert worded.subject == "x" * 59 + f"…{NBSP}: rappel d’échéance"
    assert "x" * 199 + "…\n" in worded.text
    assert "x" * 200 not in worded.text


# Links, the note before the due date, and what a late invoice costs a professional


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_links_stand_in_their_mails_and_nowhere_else(language: str, step: int) -> None:
    linked = replace(
        CONTEXT, payment_link="https://pay.test/i?n=1&s=2", signature_link="https://sign.test/q"
    )
    for kind in FollowupType:
        worded = render(kind, step, language, linked)
        pays, signs = kind is INVOICE, kind is FollowupType.QUOTE_UNANSWERED
        assert (": https://pay.test/i?n=1&s=2\n" in worded.text) is pays
        assert ('href="https://pay.test/i?n=1&amp;s=2"' in worded.html) is pays
        assert (": https://sign.test/q\n" in worded.text) is signs
        assert ('href="https://sign.test/q"' in worded.html) is signs


@pytest.mark.parametrize(
    ("language", "lines"),
    [
        (
            "fr",
            [
                "- Indemnité forfaitaire de recouvrement_: 40,00_€",
                "- Intérêts de retard_: 1_234,50_€ × 12,15_% par an × 21 jours ÷ 365 = 8,63_€",
                "- Total à ce jour_: 1_283,13_€",
            ],
        ),
        (
            "en",
            [
                "- Fixed recovery charge: €40.00",
                "- Late-payment interest: €1,234.50 × 12.15% a year × 21 days ÷ 365 = €8.63",
                "- Total to date: €1,283.13",
            ],
        ),
    ],
)
def test_what_a_late_invoice_costs_is_shown_with_its_calculation(
    language: str, lines: list[str]
) -> None:
    late = late_due(Decimal("1234.50"), 21, Decimal(40), Decimal("12.15"))
    worded = render(INVOICE, 2, language, replace(CONTEXT, late=late))
    assert "\n".join(lines).replace("_", NBSP) in worded.text
    assert "L441-10" in worded.text
    assert "D441-5" in worded.html
    without = render(INVOICE, 2, language, CONTEXT)
    assert "L441-10" not in without.text
    assert "\n\n\n" not in worded.text + without.text


def test_without_a_rate_only_the_charge_is_asked_for() -> None:
    late = late_due(Decimal("1234.50"), 21, Decimal(40), None)
    text = render(INVOICE, 3, "fr", replace(CONTEXT, late=late)).text
    assert "Indemnité" in text
    assert "Intérêts" not in text
    assert f"1{NBSP}274,50{NBSP}€" in text


@pytest.mark.parametrize(
    ("balance", "days", "rate", "interest"),
    [
        ("1000.00", 365, "12.15", "121.50"),
        ("1000.00", 1, "12.15", "0.33"),
        ("100.00", 73, "12.125", "2.43"),  # 2.425 rounds up, as no float would
        ("0.01", 1, "12.15", "0.00"),
    ],
)
def test_interest_is_exact_to_the_cent(balance: str, days: int, rate: str, interest: str) -> None:
    due = late_due(Decimal(balance), days, Decimal(40), Decimal(rate))
    assert due.interest == Decimal(interest)
    assert due.total == Decimal(balance) + 40 + Decimal(interest)


@pytest.mark.parametrize("language", ["fr", "en"])
def test_before_the_due_date_nothing_is_called_unpaid(language: str) -> None:
    worded = render(INVOICE, Style(1, "invoice_soon_due"), language, CONTEXT)
    assert not re.search("retard|pas encore|unpaid|overdue|not yet", worded.text)
    assert "12 novem" in worded.subject.lower()


# The HTML


@every_template
def test_the_html_says_what_the_text_says(kind: FollowupType, step: int, language: str) -> None:
    worded = render(kind, step, language, CONTEXT)
    read, _ = text_from_html(sanitise(worded.html))

    def words(text: str) -> list[str]:
        return text.replace("- ", " ").split()

    assert words(read) == words(worded.text)
    assert f'<html lang="{language}">' in worded.html


def test_values_cannot_become_markup_in_the_html() -> None:
    hostile = '<img src=x onerror=alert(1)> & "quoted" </table>'
    html = render(INVOICE, 1, "fr", replace(CONTEXT, source_label=hostile, client_name="<b>")).html
    assert "<img" not in html
    assert "<b>" not in html
    assert "&lt;img src=x onerror=alert(1)&gt; &amp; &quot;quoted&quot; &lt;/table&gt;" in html
    assert html.count("</table>") == html.count("<table")


def test_the_companys_lines_stand_below_its_name() -> None:
    signature = "12 rue des Lilas\r\n69003 Lyon\x00\nSIRET 123 456 789 00012\n"
    worded = render(INVOICE, 1, "fr", replace(CONTEXT, signature=signature))
    assert worded.text.endswith(
        "Atelier Martin\n12 rue des Lilas\n69003 Lyon\nSIRET 123 456 789 00012\n"
    )
    assert "69003 Lyon<br>" in worded.html


def worded_or_hole(
    kind: FollowupType, step: int, language: str, context: WordingContext
) -> Wording | str:
    try:
        return render(kind, step, language, context)
    except MissingVariable as hole:
        return hole.name


@given(
    template=st.sampled_from(EVERY),
    label=st.text(min_size=1),
    client=st.text(),
    company=st.text(min_size=1),
    sender=st.text(),
)
def test_whatever_the_values_a_reminder_is_well_formed_or_held(
    template: tuple[FollowupType, int, str], label: str, client: str, company: str, sender: str
) -> None:
    kind, step, language = template
    context = replace(
        CONTEXT, source_label=label, client_name=client, company_name=company, sender_name=sender
    )
    worded = worded_or_hole(kind, step, language, context)
    if isinstance(worded, str):
        assert worded in {"source_label", "company_name"}
        return
    assert 0 < len(worded.subject) <= 120
    assert len(worded.subject.splitlines()) == 1
    assert worded.text.count("\n") == len(worded.text.splitlines())
    assert len(worded.text) < 2000
    (worded.subject + worded.text).encode("utf-8")
