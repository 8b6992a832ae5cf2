"""One mail made ready for the inbox, without the database: parsed, classified, files on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from backend.app.inbox.files import save_attachments
from backend.app.inbox.filing import Filed, choose_drawer
from backend.app.inbox.rules import NO_RULES, FilingRules
from backend.app.mail.classify import classify
from backend.app.mail.message import Classification, MailKind, ParsedMail
from backend.app.mail.parse import parse_mail
from backend.app.store.records import Lease, StoredFile

EARLIEST_DATE = datetime(1990, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Intake:
    """What is the same for every mail of one visit to a mailbox. drawers: slug -> folder id.

    history_before: what arrived before this instant was there long before us (aware UTC).
    """

    lease: Lease
    company_id: int
    own_keys: frozenset[str]
    drawers: Mapping[str, int]
    attachments_dir: Path
    rules: FilingRules = NO_RULES
    rules_error: str | None = None
    history_before: datetime | None = None

    def is_history(self, item: PreparedMail) -> bool:
        """Old mail comes as read and answered: nobody has to look at it."""
        return self.history_before is not None and item.arrived_at < self.history_before


@dataclass(frozen=True, slots=True)
class PreparedMail:
    """A mail that only needs the database now: its attachments are on disk already."""

    mail: ParsedMail
    classification: Classification
    files: tuple[StoredFile, ...]
    filed: Filed
    sent_at: datetime
    arrived_at: datetime

    @property
    def is_ours(self) -> bool:
        return self.classification.kind is MailKind.OWN


@dataclass(frozen=True, slots=True)
class Unprepared:
    """A mail as it was fetched; arrived_at and notes as in `prepare`."""

    raw: bytes = field(repr=False)
    arrived_at: datetime
    notes: tuple[str, ...] = ()


Ready = Callable[[], PreparedMail]


def prepare(
    intake: Intake, raw: bytes, arrived_at: datetime, notes: tuple[str, ...] = ()
) -> PreparedMail:
    """Parse, classify, and put the attachments on disk. Raises StorageFault.

    notes: what people should know of how it was fetched, besides what the parser says.
    """
    mail = parse_mail(raw)
    if notes:
        mail = replace(mail, notes=(*notes, *mail.notes))
    classification = classify(mail, intake.own_keys)
    return PreparedMail(
        # What is not stored as it is has been read by now; it may have to go to another process.
        mail=replace(mail, attachments=(), reports=(), headers={}),
        classification=classification,
        files=save_attachments(intake.attachments_dir, intake.company_id, mail.attachments),
        filed=choose_drawer(classification.kind, mail, intake.rules),
        sent_at=held_date(mail.date, arrived_at),
        arrived_at=arrived_at,
    )


def held_date(date: datetime | None, arrived_at: datetime) -> datetime:
    """The Date header, but never after the arrival and never absurdly old."""
    if date is None or date < EARLIEST_DATE:
        return arrived_at
    return min(date, arrived_at)


def held_arrival(internal_date: datetime | None, now: datetime) -> datetime:
    """INTERNALDATE, but never in the future and never absurdly old: `now` then, or without one.

    APPEND lets anybody with the mailbox's password choose it (RFC 3501, 6.3.11), and a
    conversation's last_message_at never goes back.
    """
    if internal_date is None or internal_date < EARLIEST_DATE:
        return now
    return min(internal_date, now)
