"""A CSV file of follow-ups to values, line by line. Pure: bytes in, one CsvLine a record out.

Columns, in any order; the first line names them:

    client_email     required; a client who is not there yet is made
    type             required: quote_unanswered, invoice_unpaid, missing_information,
                     appointment, inactive_client or project_waiting
    due_date         required: 2026-11-23 or 23/11/2026
    label            what it is about, as the client will read it: Facture F-2026-012
    amount           1234.50 or 1 234,50
    currency         EUR where it is left out
    client_name      for a client who is made now
    client_language  fr or en, for a client who has none yet
    source_type      with source_id, what the line is in your own software: invoice, F-2026-012
    source_id

Separated by semicolons, commas or tabs, whichever the first line has most of. UTF-8, with or
without a byte-order mark, or Windows-1252.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

from backend.app.errors import BadInput
from backend.app.mail.message import Address
from backend.app.operate import fields
from backend.app.store.admin_records import NewFollowup

REQUIRED = ("client_email", "type", "due_date")
OPTIONAL = (
    "label",
    "amount",
    "currency",
    "client_name",
    "client_language",
    "source_type",
    "source_id",
)
MOST_BYTES = 20 * 1024 * 1024
DELIMITERS = ";,\t"


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """One follow-up and the client it is for."""

    client: Address
    client_language: str | None
    followup: NewFollowup


@dataclass(frozen=True, slots=True)
class CsvLine:
    """number: of the file's line where the record begins, from 1. Either row or reason is set."""

    number: int
    row: ImportedRow | None
    reason: str | None = None


def decode_file(data: bytes) -> str:
    """Raises BadInput for a file that is too large, or no text of these encodings."""
    if len(data) > MOST_BYTES:
        raise BadInput(f"the file has {len(data)} bytes; {MOST_BYTES} is the most, so split it")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadInput("the file is UTF-16; save it as CSV UTF-8")
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise BadInput("the file is neither UTF-8 nor Windows-1252; save it as CSV UTF-8")


def read_lines(text: str) -> Iterator[CsvLine]:
    """One for each record, good or bad; blank records are left out.

    Raises BadInput when the first line does not name the columns.
    """
    delimiter = max(DELIMITERS, key=text.partition("\n")[0].count)
    # strict: a quote in the wrong place is told, where it would else swallow what follows.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns = _read_header(reader)
    while True:
        number = reader.line_num + 1
        try:
            values = next(reader, None)
        except csv.Error as error:
            yield CsvLine(number, None, f"not readable as CSV: {error}")
            continue
        if values is None:
            return
        if any(value.strip() for value in values):
            yield _read_record(number, columns, values)


def _read_header(reader: Iterator[list[str]]) -> list[str]:
    try:
        columns = [name.strip().lower() for name in next(reader, [])]
    except csv.Error as error:
        raise BadInput(f"the first line is not readable as CSV: {error}") from None
    known = (*REQUIRED, *OPTIONAL)
    missing = [name for name in REQUIRED if name not in columns]
    unknown = [name for name in columns if name not in known]
    if missing:
        raise BadInput(
            f"the first line must name the columns; missing: {', '.join(missing)} "
            f"(known: {', '.join(known)})"
        )
    if unknown:  # ignoring a misspelt column would lose its values unseen
        shown = fields.read_line(", ".join(unknown), "the first line", 10_000)[:200]
        raise BadInput(f"unknown columns: {shown} (known: {', '.join(known)})")
    if len(set(columns)) < len(columns):
        raise BadInput("a column is named twice in the first line")
    return columns


def _read_record(number: int, columns: list[str], values: list[str]) -> CsvLine:
    try:
        if len(values) != len(columns):
            raise BadInput(f"has {len(values)} values where the first line has {len(columns)}")
        return CsvLine(number, parse_record(dict(zip(columns, values, strict=True))))
    except BadInput as error:
        return CsvLine(number, None, str(error))


def parse_record(record: dict[str, str]) -> ImportedRow:
    """The values of one line, by column; an absent column is an empty one. Raises BadInput."""
    texts = {name: record.get(name, "").strip() for name in (*REQUIRED, *OPTIONAL)}
    for name, text in texts.items():
        if "\n" in text or "\r" in text:
            raise BadInput(f"{name} holds a line break; is a quotation mark not closed?")
    for name in REQUIRED:
        if not texts[name]:
            raise BadInput(f"{name} is empty")
    name = fields.read_line(texts["client_name"], "client_name", 200)
    language = texts["client_language"]
    return ImportedRow(
        client=Address(fields.parse_email(texts["client_email"]), name),
        client_language=fields.parse_language(language) if language else None,
        followup=parse_followup(texts),
    )


def parse_followup(texts: dict[str, str]) -> NewFollowup:
    """From the texts of type, label, due_date, amount, currency, source_type and source_id.

    Raises BadInput.
    """
    if bool(texts["source_type"]) != bool(texts["source_id"]):
        raise BadInput("source_type and source_id go together; one of them is empty")
    amount, currency = texts["amount"], texts["currency"]
    return NewFollowup(
        type=fields.parse_type(texts["type"]),
        source_label=fields.read_line(texts["label"], "label", 200),
        due_date=fields.parse_due_date(texts["due_date"]),
        amount=fields.parse_amount(amount) if amount else None,
        currency=fields.parse_currency(currency) if currency else "EUR",
        source_type=fields.read_line(texts["source_type"], "source_type", 40) or None,
        source_id=fields.read_line(texts["source_id"], "source_id", 64) or None,
    )
