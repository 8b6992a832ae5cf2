"""CSV files as accountants' software writes them."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from backend.app.errors import BadInput
from backend.app.operate.csv_file import MOST_BYTES, CsvLine, decode_file, read_lines

HEADER = "client_email;type;label;amount;due_date"
GOOD = "claire@example.fr;invoice_unpaid;Facture F-1;1 234,50;23/11/2026"


def lines_of(*lines: str) -> list[CsvLine]:
    return list(read_lines("\r\n".join(lines) + "\r\n"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("delimiter", [";", ",", "\t"])
def test_a_file_is_read_in_each_encoding_with_each_delimiter(encoding: str, delimiter: str) -> None:
    text = (
        "Client_Email; TYPE ;label;due_date;amount\n"
        "claire@example.fr;invoice_unpaid;Élagage d'été;2026-11-23;12.50\n"
    ).replace(";", delimiter)
    [line] = read_lines(decode_file(text.encode(encoding)))
    assert line.number == 2
    assert line.row is not None
    assert line.row.client.email == "claire@example.fr"
    assert line.row.followup.source_label == "Élagage d'été"
    assert line.row.followup.due_date == date(2026, 11, 23)
    assert line.row.followup.amount == Decimal("12.50")
    assert line.row.followup.currency == "EUR"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("claire;invoice_unpaid;F;1;23/11/2026", "not an e-mail"),
        ("claire@example.fr;facture;F;1;23/11/2026", "no type"),
        ("claire@example.fr;invoice_unpaid;F;1,234;23/11/2026", "not an amount"),
        ("claire@example.fr;invoice_unpaid;F;1;31/02/2026", "no day of the calendar"),
        ("claire@example.fr;invoice_unpaid;F;1;", "due_date is empty"),
        (";invoice_unpaid;F;1;23/11/2026", "client_email is empty"),
        ("claire@example.fr;invoice_unpaid;F;1", "4 values where the first line has 5"),
        ("claire@example.fr;invoice_unpaid;" + "x" * 201 + ";1;23/11/2026", "label has 201"),
        ('claire@example.fr;invoice_unpaid;a "b";1;"2"3', "not readable as CSV"),
    ],
)
def test_a_bad_line_is_told_with_its_number_and_the_good_ones_stay(bad: str, reason: str) -> None:
    first, second, third = lines_of(HEADER, GOOD, bad, GOOD)
    assert (first.number, second.number, third.number) == (2, 3, 4)
    assert second.row is None
    assert second.reason is not None
    assert reason in second.reason
    assert first.row is not None
    assert third.row == first.row


def test_a_quote_that_is_not_closed_is_told_not_swallowed() -> None:
    quoted = 'claire@example.fr;invoice_unpaid;"Facture;1;23/11/2026'
    closing = 'claire@example.fr;invoice_unpaid;Facture";1;23/11/2026'
    [swallowing] = lines_of(HEADER, quoted, GOOD, closing)
    assert swallowing.number == 2
    assert swallowing.row is None
    *_, last = lines_of(HEADER, GOOD, quoted, GOOD)
    assert last.row is None


def test_lines_after_a_quoted_line_break_keep_their_numbers() -> None:
    broken, good = lines_of(
        HEADER, 'claire@example.fr;invoice_unpaid;"two\r\nlines";1;23/11/2026', GOOD
    )
    assert (broken.number, good.number) == (2, 4)
    assert broken.reason is not None
    assert "line break" in broken.reason
    assert good.row is not None


def test_the_empty_lines_of_a_spreadsheet_are_left_out() -> None:
    assert len(lines_of(HEADER, GOOD, ";;;;", "", GOOD)) == 2


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("client_email;label", "missing: type, due_date"),
        (f"{HEADER};ammount", "unknown columns: ammount"),
        (f"{HEADER};label", "named twice"),
        ("", "missing: client_email"),
        ('client_email;"type', "first line"),
    ],
)
def test_a_first_line_that_does_not_name_the_columns_refuses_the_file(
    header: str, reason: str
) -> None:
    with pytest.raises(BadInput, match=reason):
        lines_of(header, GOOD)


def test_source_type_and_source_id_go_together() -> None:
    [line] = lines_of(f"{HEADER};source_type;source_id", f"{GOOD};invoice;")
    assert line.reason == "source_type and source_id go together; one of them is empty"


@pytest.mark.parametrize(
    "data", ["é;è".encode("utf-16"), b"\x81\x8d", b"x" * (MOST_BYTES + 1)], ids=["16", "x", "big"]
)
def test_a_file_that_is_no_text_of_ours_is_refused(data: bytes) -> None:
    with pytest.raises(BadInput):
        decode_file(data)
