"""What a text message says, how long it is, to whom it may go, and where it is to be read."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.app.errors import BadInput, SettingsInvalid
from backend.app.followups.preview import show_due_followups
from backend.app.followups.settings import load_rules
from backend.app.followups.text_wording import render_text
from backend.app.followups.type_rules import FollowupType
from backend.app.followups.values import WordingContext
from backend.app.followups.wording import MissingVariable, Style
from backend.app.models import Client, Conversation, Followup, FollowupHistory, InboxMessage
from backend.app.sms import segments
from backend.app.sms.numbers import is_mobile, parse_mobile, parse_sender, takes_names
from backend.app.sms.segments import Length, measure, outside_gsm, plain
from tests.followups.office import freshen
from tests.followups.text_office import BY_TEXT, TextOffice
from tests.operate.conftest import Manage

DAY = timedelta(days=1)
CONTEXT = WordingContext(
    company_name="Menuiserie Dubois",
    client_name="Jean Petit",
    source_label="Facture F-2026-012",
    amount=Decimal("1234.50"),
    currency="EUR",
    due_date=date(2026, 8, 15),
    days_late=12,
    sender_name="Claire Dubois",
    sender_email="contact@menuiserie-dubois.fr",
    payment_link="https://pay.example/F-2026-012",
    signature_link="https://sign.example/D-7",
)
EVERY_STYLE = [(kind, Style(level)) for kind in FollowupType for level in (1, 2, 3)] + [
    (FollowupType.INVOICE_UNPAID, Style(1, "invoice_soon_due"))
]


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize(("kind", "style"), EVERY_STYLE)
def test_every_step_has_words_of_two_segments_at_most(
    kind: FollowupType, style: Style, language: str
) -> None:
    text = render_text(kind, style, language, CONTEXT)
    assert outside_gsm(text) == "", "one such letter would double the price"
    assert measure(text).segments <= 2
    assert "Menuiserie Dubois" in text
    assert "contact@menuiserie-dubois.fr" in text, "a name as the sender cannot be answered"
    assert "mise en demeure" not in text.lower()


def test_the_tone_rises() -> None:
    texts = [render_text(FollowupType.INVOICE_UNPAID, Style(n), "fr", CONTEXT) for n in (1, 2, 3)]
    assert texts[0] == (
        "Menuiserie Dubois : Facture F-2026-012 (1 234,50 €, échéance du 15/08/2026) : sauf "
        "erreur, votre règlement ne nous est pas parvenu. Paiement : "
        "https://pay.example/F-2026-012 Déjà réglé ? Merci de ne pas tenir compte de ce message. "
        "Une question ? contact@menuiserie-dubois.fr"
    )
    assert "rapidement" in texts[1]
    assert "malgré nos messages" in texts[2]


def test_an_address_is_never_shortened_to_one_that_nobody_has() -> None:
    address = f"comptabilite-fournisseurs@{'tres-' * 8}longue-menuiserie-dubois.example"
    text = render_text(
        FollowupType.APPOINTMENT, Style(1), "fr", replace(CONTEXT, sender_email=address)
    )
    assert text.endswith(address)


def test_a_value_that_is_missing_holds_the_message() -> None:
    with pytest.raises(MissingVariable, match="amount"):
        render_text(FollowupType.INVOICE_UNPAID, Style(1), "fr", replace(CONTEXT, amount=None))


def own(**texts: dict[str, str]) -> Any:
    return load_rules({"templates": {"doux": texts}}).templates


def test_a_companys_own_words_in_the_clients_language_or_the_one_it_has() -> None:
    both = own(fr={"sms": "Bonjour {{ client_name }} !"}, en={"sms": "Hello {{ client_name }}!"})
    kind, style = FollowupType.APPOINTMENT, Style(1, "doux", both)
    assert render_text(kind, style, "en-GB", CONTEXT) == "Hello Jean Petit!"
    assert render_text(kind, style, "fr", CONTEXT) == "Bonjour Jean Petit !"
    french = Style(1, "doux", own(fr={"sms": "Bonjour"}))
    assert render_text(kind, french, "en", CONTEXT) == "Bonjour"


@pytest.mark.parametrize("language", ["fr", "en"])
@pytest.mark.parametrize("level", [1, 2, 3])
def test_advertising_by_text_message_says_how_to_refuse_more(level: int, language: str) -> None:
    text = render_text(FollowupType.INACTIVE_CLIENT, Style(level), language, CONTEXT)
    assert "STOP" in text
    assert "STOP" not in render_text(FollowupType.APPOINTMENT, Style(level), language, CONTEXT)


@pytest.mark.parametrize("name", ["doux", "inactive_client_1"])
def test_a_companys_own_advertising_text_without_a_way_out_is_refused(name: str) -> None:
    def rules(sms: str, kind: str = "inactive_client", channel: str = "sms") -> Any:
        step = {"days_from_due": 1} | ({"template": name} if name == "doux" else {})
        words = {"subject": "s", "text": "t", "sms": sms}
        return {
            "templates": {name: {"fr": words}},
            kind: {"steps": [step], "channel": channel},
        }

    with pytest.raises(SettingsInvalid, match=f"template {name} must say how to refuse more"):
        load_rules(rules("Bonjour, un projet ? Sans nonstop"))
    load_rules(rules("Bonjour, un projet ? Stop par retour"))
    load_rules(rules("Bonjour", channel="email"))
    load_rules(rules("Bonjour", kind="appointment"))


@pytest.mark.parametrize(
    ("followups", "words"),
    [
        (
            {
                "templates": {"doux": {"fr": {"sms": "Bonjour"}}},
                "appointment": {"steps": [{"days_from_due": 1, "template": "doux"}]},
            },
            "is sent by email, and the template doux is not for it",
        ),
        (
            {
                "templates": {"doux": {"fr": {"subject": "s", "text": "t"}}},
                "appointment": {
                    "channel": "sms",
                    "steps": [{"days_from_due": 1, "template": "doux"}],
                },
            },
            "is sent by sms, and the template doux is not for it",
        ),
        ({"templates": {"doux": {"fr": {"sms": "{{ amont }}"}}}}, "there is no variable amont"),
        ({"templates": {"doux": {"fr": {"text": "t"}}}}, "must have a subject"),
        ({"templates": {"doux": {"fr": {"subject": "s", "sms": "t"}}}}, "must have text, html"),
    ],
)
def test_a_template_for_the_wrong_channel_is_refused(followups: Any, words: str) -> None:
    with pytest.raises(SettingsInvalid, match=words):
        load_rules(followups)


# -- length --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("", Length("GSM-7", 0, 1)),
        ("a" * 160, Length("GSM-7", 160, 1)),
        ("a" * 161, Length("GSM-7", 161, 2)),
        ("a" * 306, Length("GSM-7", 306, 2)),
        ("a" * 307, Length("GSM-7", 307, 3)),
        ("€" * 80, Length("GSM-7", 160, 1)),
        ("a" * 152 + "€" + "a" * 152, Length("GSM-7", 306, 3)),  # the € is not cut in two
        ("é" * 160, Length("GSM-7", 160, 1)),
        ("ç" * 70, Length("UCS-2", 70, 1)),
        ("a" * 70 + "ç", Length("UCS-2", 71, 2)),
        ("ç" * 134, Length("UCS-2", 134, 2)),
        ("ç" * 135, Length("UCS-2", 135, 3)),
        ("😀" * 35, Length("UCS-2", 70, 1)),
        ("😀" * 36, Length("UCS-2", 72, 2)),
        ("a" * 66 + "😀" + "a" * 66, Length("UCS-2", 134, 3)),  # nor is a pair of surrogates
    ],
)
def test_the_length_is_what_networks_count(text: str, length: Length) -> None:
    assert measure(text) == length


def test_the_alphabet_is_whole() -> None:
    assert len(segments._BASIC) == 127, "and the escape"
    assert len(segments._EXTENSION) == 10


@settings(max_examples=60)
@given(st.text(max_size=400))
def test_no_segment_holds_more_than_it_may(text: str) -> None:
    found = measure(text)
    most = {"GSM-7": (160, 153), "UCS-2": (70, 67)}[found.encoding]
    assert found.units <= (most[0] if found.segments == 1 else found.segments * most[1])
    assert (outside_gsm(text) == "") == (found.encoding == "GSM-7")


def test_typography_becomes_plain_and_letters_stay() -> None:
    assert plain("« l’été »\u00a0: 1\u202f234 – 5…") == '" l\'été " : 1 234 - 5...'
    assert plain("Façade, Zoë, œuvre") == "Façade, Zoë, œuvre"


# -- numbers and senders -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "country", "number"),
    [
        ("06 12 34 56 78", "FR", "+33612345678"),
        ("+33 (0)7 57 00 00 00", "DE", "+33757000000"),
        ("0692 12 34 56", "RE", "+262692123456"),
        ("(212) 555-2368", "us", "+12125552368"),
    ],
)
def test_a_number_as_people_write_it(text: str, country: str, number: str) -> None:
    assert parse_mobile(text, country) == number
    assert is_mobile(number)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("01 42 68 53 00", "no mobile number"),
        ("06 12", "no telephone number"),
        ("", "no telephone number"),
        ("06 12 34 56 78 poste 12", "no telephone number"),
        ("9" * 99, "no telephone number"),
    ],
)
def test_a_number_that_gets_no_messages(text: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        parse_mobile(text, "FR")


@pytest.mark.parametrize("number", ["0612345678", "+33 612345678", "+33142685300", "+336", "", "x"])
def test_only_a_mobile_number_in_international_form_counts(number: str) -> None:
    """A national one might be somebody else's in the client's own country."""
    assert not is_mobile(number)


@pytest.mark.parametrize("sender", ["Dubois", "A1", "Atelier M", "12345678901a"[1:], "36abc"])
def test_a_senders_name(sender: str) -> None:
    assert parse_sender(f" {sender} ") == sender


@pytest.mark.parametrize("sender", ["Menuiserie D", "Zoë", "36105", "Dubois!", " ", "+33", "a_b"])
def test_what_is_no_sender(sender: str) -> None:
    with pytest.raises(BadInput, match="is no sender"):
        parse_sender(sender)


def test_north_america_carries_no_name() -> None:
    assert not takes_names("+12125552368")
    assert takes_names("+33612345678")


# -- holds, and the inbox ------------------------------------------------------------------------


HELD: dict[str, tuple[dict[str, Any], str | None]] = {
    "no_phone": ({}, None),
    "no_phone ": ({}, "06 12 34 56 78"),
    "sender_not_carried: Dubois to +1…": ({}, "+12125552368"),
    "text_too_long: 2 segments, ": ({"sms": {"max_segments": 1}}, "+33612345678"),
}


def test_what_cannot_be_sent_is_held(text_office: TextOffice) -> None:
    office = text_office.office
    for reason, (rules, phone) in HELD.items():
        office.installation.set_settings(office.company, {"followups": {**BY_TEXT, **rules}})
        followup = text_office.reminder()
        client = office.followup(followup).client_id
        office.installation.set(Client, client, phone=phone)

        assert text_office.send().counts == {"held": 1}

        state, said = office.state(followup)
        assert (state, (said or "").startswith(reason.strip())) == ("held", True), reason
    assert text_office.twilio.asked == 0


def test_without_an_account_it_is_held(text_office: TextOffice) -> None:
    office = text_office.office
    Manage(office.installation)("sms", "set", "--company", office.company, "--inactive")
    followup = text_office.reminder()
    assert text_office.send().counts == {"held": 1}
    assert office.state(followup) == ("held", "no_sms_account")


def test_a_message_stands_in_the_inbox_as_the_host_application_would_expect(
    text_office: TextOffice,
) -> None:
    office = text_office.office
    followup = text_office.reminder()
    text_office.send()

    (sent,) = text_office.delivered(followup)
    (message,) = office.messages()
    assert (message.source, message.external_id) == ("sms", sent.sid)
    assert (message.content, message.recipients) == (sent.text, [sent.recipient])
    assert (message.from_name, message.is_from_client) == ("Menuiserie Dubois", False)
    (conversation,) = office.installation.rows(Conversation)
    assert (conversation.source, conversation.subject) == ("sms", "Facture F-2026-012")
    assert conversation.status == "waiting"
    (line,) = office.installation.rows(FollowupHistory, FollowupHistory.followup_id == followup)
    assert (line.message_type, line.status, line.message) == ("sms", "sent", sent.text)
    assert line.conversation_id == conversation.id


MAIL_THEN_TEXT = {
    "invoice_unpaid": {
        "min_gap_days": 1,
        "steps": [{"days_from_due": 1}, {"days_after_previous": 1, "channel": "sms"}],
    }
}


def test_a_message_joins_the_conversation_of_the_mail_before_it(text_office: TextOffice) -> None:
    office = text_office.office
    rules = {**BY_TEXT, **MAIL_THEN_TEXT}
    office.installation.set_settings(office.company, {"followups": rules})
    followup = text_office.reminder()
    text_office.send()
    assert office.outbox(followup).channel == "email"
    client = office.followup(followup).client_id

    office.installation.set(Followup, followup, last_step_at=text_office.now - DAY * 3)
    assert text_office.send(followup_id=followup).counts == {"sent": 1}

    assert office.outbox(followup, 2).channel == "sms"
    (conversation,) = office.installation.rows(Conversation, Conversation.client_id == client)
    sources = {row.source for row in office.messages()}
    assert (conversation.source, sources) == ("email", {"email", "sms"})
    assert office.installation.rows(InboxMessage, InboxMessage.source == "sms")[0].read


def test_a_mail_after_a_message_does_not_answer_it(text_office: TextOffice) -> None:
    """No mail program knows a text message's name: nothing may refer to it."""
    office = text_office.office
    steps = [{"days_from_due": 1, "channel": "sms"}, {"days_after_previous": 1}]
    rules = {**BY_TEXT, "invoice_unpaid": {"min_gap_days": 1, "steps": steps}}
    office.installation.set_settings(office.company, {"followups": rules})
    followup = text_office.reminder()
    text_office.send()
    office.installation.set(Followup, followup, last_step_at=text_office.now - DAY * 3)

    assert text_office.send(followup_id=followup).counts == {"sent": 1}

    number = office.outbox(followup).recipient
    (mail,) = office.delivered(number.removeprefix("+"))
    assert (mail.in_reply_to, mail.references) == ((), ())


def test_the_preview_tells_the_length(text_office: TextOffice, tmp_path: Path) -> None:
    office, manage = text_office.office, Manage(text_office.office.installation)
    followup = text_office.reminder()
    office.installation.set(Client, office.followup(followup).client_id, name="Françoise")
    shown = manage("followup", "preview", followup).stdout
    assert "From        Dubois\n" in shown
    assert "segments    2, in GSM-7\n" in shown
    manage("followup", "preview", followup, "--eml", tmp_path / "x.eml", status=2)
    assert not (tmp_path / "x.eml").exists()

    templates = {"invoice_unpaid_1": {"fr": {"sms": "Bonjour {{ client_name }}"}}}
    rules = {**BY_TEXT, "templates": templates}
    office.installation.set_settings(office.company, {"followups": rules})
    shown = manage("followup", "preview", followup).stdout
    assert "segments    1, in UCS-2, because of ç\n" in shown


def test_a_dry_run_counts_segments_and_asks_nobody(
    text_office: TextOffice, caplog: pytest.LogCaptureFixture
) -> None:
    followup = text_office.reminder()
    freshen(text_office.office.installation, text_office.now)
    caplog.set_level("INFO", "relance.followups")
    report = text_office.office.installation._job(show_due_followups, lambda: text_office.now)
    assert report.counts == {"would_send": 1}
    line = f"followup={followup} would send step=1 by=sms segments=2 encoding=GSM-7"
    assert line in caplog.text
    assert text_office.twilio.asked == 0


def test_a_message_counts_in_the_clients_gap(text_office: TextOffice) -> None:
    office = text_office.office
    # Longer than from now, when the first goes out by the clock, to a Monday after holidays.
    rules = {**BY_TEXT, "budgets": {**BY_TEXT["budgets"], "client_gap_days": 7}}
    office.installation.set_settings(office.company, {"followups": rules})
    first = text_office.reminder()
    client = office.followup(first).client_id
    second = office.installation.add_followup(office.company, client, type="quote_unanswered")

    assert text_office.send().counts == {"sent": 1, "waiting": 1}
    assert (office.state(second)[1] or "").startswith("client_gap")
