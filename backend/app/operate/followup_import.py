"""`manage.py followup import`: each good line in a transaction of its own, each bad one told.

A line whose follow-up is there already changes nothing, so that a file can be imported again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy.orm import Session

from backend.app import db
from backend.app.operate.csv_file import CsvLine, ImportedRow
from backend.app.store import admin_followups, admin_tenants
from backend.app.store.clients import find_client, find_or_create_client


class Outcome(StrEnum):
    """What became of a line."""

    IMPORTED = "imported"
    KNOWN = "known"  # the same follow-up is there already
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LineResult:
    """followup_id: the new or the known one; None for a failed line, and for what a dry run
    would import. reason: why it failed."""

    line: int
    outcome: Outcome
    followup_id: int | None = None
    reason: str | None = None


def import_lines(lines: Iterator[CsvLine], company_id: int, now: datetime) -> Iterator[LineResult]:
    """Raises Refused when the company is not there."""
    for line in lines:
        if line.row is None:
            yield LineResult(line.number, Outcome.FAILED, reason=line.reason)
            continue
        followup_id, is_new = db.write(add_followup_for, company_id, line.row, now)
        outcome = Outcome.IMPORTED if is_new else Outcome.KNOWN
        yield LineResult(line.number, outcome, followup_id)


def preview_lines(lines: Iterator[CsvLine], company_id: int) -> Iterator[LineResult]:
    """What import_lines would do. Writes nothing. Raises Refused as it does."""
    db.read(admin_tenants.load_company_row, company_id)
    met: set[object] = set()
    for line in lines:
        if line.row is None:
            yield LineResult(line.number, Outcome.FAILED, reason=line.reason)
            continue
        found = db.read(find_same, company_id, line.row)
        known = found is not None or identity(line.row) in met
        met.add(identity(line.row))
        yield LineResult(line.number, Outcome.KNOWN if known else Outcome.IMPORTED, found)


def identity(row: ImportedRow) -> tuple[object, ...]:
    """What two lines for one follow-up have in common."""
    new = row.followup
    if new.source_id is not None:
        return (new.source_type, new.source_id)
    return (row.client.key, new.type, new.source_label, new.due_date)


def find_same(session: Session, company_id: int, row: ImportedRow) -> int | None:
    client_id = find_client(session, company_id, row.client.key)
    return admin_followups.find_same(session, company_id, client_id, row.followup)


def add_followup_for(
    session: Session, company_id: int, row: ImportedRow, now: datetime
) -> tuple[int, bool]:
    """The follow-up's id, and whether it is new. Lock order: company, client. Raises Refused."""
    admin_tenants.lock_company(session, company_id)
    same = find_same(session, company_id, row)
    if same is not None:
        return same, False
    client_id = find_or_create_client(session, company_id, row.client)
    admin_tenants.set_language(session, client_id, row.client_language)
    new_id = admin_followups.insert_followup(session, company_id, client_id, row.followup, now)
    return new_id, True
