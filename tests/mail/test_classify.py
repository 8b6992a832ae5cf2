from __future__ import annotations

from datetime import date

import pytest

from backend.app.mail.classify import classify
from backend.app.mail.message import BounceReport, MailKind
from tests.mail.fixture_mail import parse_fixture

OWN = frozenset({"ventes@societe.example"})

KINDS = [
    ("bounce_standard_report_french", MailKind.BOUNCE, "dsn"),
    ("bounce_delay_warning", MailKind.BOUNCE, "dsn"),
    ("bounce_prose_with_copy_below", MailKind.BOUNCE, "mailer-daemon"),
    ("bounce_prose_german_mailbox_full", MailKind.BOUNCE, "mailer-daemon"),
    ("bounce_from_no_reply_with_original", MailKind.BOUNCE, "failure-wording"),
    ("ses_bounce_through_sns", MailKind.BOUNCE, "sns"),
    ("report_of_success", MailKind.RECEIPT, "delivery-report"),
    ("complaint_feedback_report", MailKind.COMPLAINT, "feedback-report"),
    ("read_receipt", MailKind.RECEIPT, "disposition-notification"),
    ("vacation_french_by_rfc3834", MailKind.AUTO_REPLY, "auto-submitted"),
    ("vacation_exchange_without_rfc3834", MailKind.AUTO_REPLY, "exchange-rule"),
    ("person_whose_server_suppresses_answers", MailKind.HUMAN, "no-automatic-mark"),
    ("person_answers_an_automatic_reply", MailKind.HUMAN, "no-automatic-mark"),
    ("person_writes_about_a_bounce", MailKind.HUMAN, "no-automatic-mark"),
    ("person_forwards_a_bounce_as_file", MailKind.HUMAN, "no-automatic-mark"),
    ("parcel_could_not_be_delivered", MailKind.HUMAN, "no-automatic-mark"),
    ("reply_top_posted_french", MailKind.HUMAN, "no-automatic-mark"),
    ("forward_with_a_word_above", MailKind.HUMAN, "no-automatic-mark"),
    ("newsletter", MailKind.LIST, "list-unsubscribe"),
    ("own_reminder_in_sent", MailKind.OWN, "own-address"),
]


@pytest.mark.parametrize(("name", "kind", "reason"), KINDS, ids=[row[0] for row in KINDS])
def test_kind_and_its_reason(name: str, kind: MailKind, reason: str) -> None:
    found = classify(parse_fixture(name), OWN)
    assert (found.kind, found.reason) == (kind, reason)


BOUNCES = {
    "bounce_standard_report_french": BounceReport(
        hard=True,
        recipient="compta@client.example",
        status="5.1.1",
        diagnostic="550 5.1.1 <c.martin@interne.example>: unknown user",
        original_message_id="relance-7@societe.example",
    ),
    "bounce_delay_warning": BounceReport(
        hard=False, recipient="compta@client.example", status="4.4.1"
    ),
    "bounce_prose_with_copy_below": BounceReport(
        hard=True,
        recipient="compta@client.example",
        status="5.1.1",
        diagnostic="198.51.100.7 answered: 550 5.1.1 no such mailbox here",
        original_message_id="relance-8@societe.example",
    ),
    "bounce_prose_german_mailbox_full": BounceReport(hard=False, recipient="kontakt@kunde.example"),
    "bounce_from_no_reply_with_original": BounceReport(
        hard=True,
        recipient="compta@client.example",
        status="5.7.1",
        diagnostic="550 5.7.1 rejected by policy",
        original_message_id="relance-9@societe.example",
    ),
    "ses_bounce_through_sns": BounceReport(
        hard=True,
        recipient="compta@client.example",
        status="5.1.1",
        original_message_id="relance-10@societe.example",
    ),
}


@pytest.mark.parametrize("name", BOUNCES)
def test_bounce_tells_whom_why_and_which_mail(name: str) -> None:
    assert classify(parse_fixture(name), OWN).bounce == BOUNCES[name]


def test_complaint_tells_which_mail_was_unwanted() -> None:
    found = classify(parse_fixture("complaint_feedback_report"), OWN)
    assert found.kind is MailKind.COMPLAINT
    assert found.about_message_id == "relance-11@societe.example"


def test_out_of_office_gives_the_day_of_return() -> None:
    french = classify(parse_fixture("vacation_french_by_rfc3834"), OWN)
    english = classify(parse_fixture("vacation_exchange_without_rfc3834"), OWN)
    assert french.back_on == date(2025, 3, 17)
    assert english.back_on == date(2025, 3, 15)


def test_own_reminder_of_another_company_is_an_automatic_mail() -> None:
    found = classify(parse_fixture("own_reminder_in_sent"), frozenset({"autre@ailleurs.example"}))
    assert found.kind is MailKind.AUTO_REPLY
