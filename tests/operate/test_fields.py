"""What people type: amounts, dates, addresses and words, to values or a reason."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from backend.app.errors import BadInput
from backend.app.operate import fields


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1234.50", "1234.50"),
        ("1234,5", "1234.50"),
        ("1 234,50", "1234.50"),
        ("1\u00a0234,50\u00a0€", "1234.50"),  # as a French spreadsheet writes it
        ("1\u202f234\u202f567,89", "1234567.89"),
        ("1'234.50", "1234.50"),
        ("1.234,50", "1234.50"),
        ("1,234.50", "1234.50"),
        ("1.234.567", "1234567.00"),
        ("40", "40.00"),
        ("0,01", "0.01"),
        ("9999999999.99", "9999999999.99"),
    ],
)
def test_an_amount_is_read_as_it_was_meant(text: str, amount: str) -> None:
    assert fields.parse_amount(text) == Decimal(amount)
    assert str(fields.parse_amount(text)) == amount


@pytest.mark.parametrize(
    "text",
    [
        "1,234",  # a thousand or one
        "1.234",
        "12 34",
        "1 234,567",
        "0",
        "-5",
        "1e3",
        "NaN",
        "Infinity",
        "١٢٣",
        "12,5,0",
        "",
        "10000000000",
        "9" * 5000,
    ],
)
def test_an_amount_that_could_mean_two_things_is_refused(text: str) -> None:
    with pytest.raises(BadInput) as refused:
        fields.parse_amount(text)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("text", ["2026-11-03", "03/11/2026", "3/11/2026", " 2026-11-03 "])
def test_a_date_is_iso_or_french(text: str) -> None:
    assert fields.parse_due_date(text) == date(2026, 11, 3)


@pytest.mark.parametrize(
    "text", ["31/02/2026", "11/23/2026", "2026-1-3", "26-11-03", "0001-01-01", "9999-12-31", "x"]
)
def test_a_date_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        fields.parse_due_date(text)


@pytest.mark.parametrize("text", ["claire@example.fr", " claire.petit+devis@mail.example.fr "])
def test_an_address_is_taken_without_blanks(text: str) -> None:
    assert fields.parse_email(text) == text.strip()


@pytest.mark.parametrize(
    "text",
    [
        "claire",
        "claire@example",
        "claire@@example.fr",
        "a@b.fr, c@d.fr",
        "Claire <claire@example.fr>",
        "claire@example.fr\r\nBcc: all@example.fr",
        "claire\u202e@example.fr",
        "c@" + "x" * 300 + ".fr",
    ],
)
def test_what_is_no_single_address_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        fields.parse_email(text)


def test_a_line_holds_nothing_that_breaks_lines() -> None:
    assert fields.read_line(" Facture\tF-1\x1b[31m\n", "label", 200) == "Facture F-1 [31m"


def test_a_line_that_is_too_long_is_refused_rather_than_cut() -> None:
    with pytest.raises(BadInput, match="label has 201 characters"):
        fields.read_line("x" * 201, "label", 200)


def test_a_language_tag_is_cut_to_its_language() -> None:
    assert fields.parse_language("fr-CA") == "fr"


def test_an_unknown_type_is_answered_with_the_known_ones() -> None:
    with pytest.raises(BadInput, match="quote_unanswered, invoice_unpaid"):
        fields.parse_type("facture")


def test_a_reason_never_repeats_control_characters() -> None:
    with pytest.raises(BadInput) as refused:
        fields.parse_type("\x1b]0;owned\x07")
    assert str(refused.value).isprintable()
