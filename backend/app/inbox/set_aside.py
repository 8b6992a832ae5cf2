"""What becomes of a mail that is not taken in: one transaction each, under the mailbox's lease.

In all of them the folder's checkpoint, where one is to move, moves in the same commit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from backend.app.mail.parse import parse_headers
from backend.app.models import LedgerState
from backend.app.store import checkpoints, erased, leases, ledger
from backend.app.store.records import Checkpoint, Lease, Place


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a mail that could not be handled. raw is empty when the server gave none."""

    raw: bytes = field(repr=False)
    headers: bytes = field(repr=False)
    arrived_at: datetime
    error: str


def quarantine_mail(
    session: Session,
    lease: Lease,
    checkpoint: Checkpoint | None,
    place: Place,
    kept: Kept,
) -> None:
    """Keep a mail that could not be handled, and move on behind it, in one commit."""
    _move_on(session, lease, checkpoint, place)
    sender = parse_headers(kept.headers).sender
    ledger.quarantine(
        session,
        place,
        kept.raw,
        sender_key=sender.key if sender else None,
        arrived_at=kept.arrived_at,
        error=kept.error,
    )


def record_gone(
    session: Session, lease: Lease, checkpoint: Checkpoint | None, place: Place
) -> None:
    """A mail that was listed and deleted before it could be fetched."""
    _move_on(session, lease, checkpoint, place)
    ledger.record(session, place, LedgerState.IGNORED, reason="gone from the server")


def record_duplicates(session: Session, lease: Lease, duplicates: dict[Place, int]) -> None:
    """Mails that are messages already, known without their bodies: place -> message id.

    One that was erased since it was looked up is left to the audit.
    """
    leases.hold_lease(session, lease)
    there = erased.still_there(session, set(duplicates.values()))
    for place, message_id in duplicates.items():
        if message_id in there:
            ledger.record(
                session,
                place,
                LedgerState.DUPLICATE,
                message_id=message_id,
                reason="known by its headers",
            )


def _move_on(session: Session, lease: Lease, checkpoint: Checkpoint | None, place: Place) -> None:
    leases.hold_lease(session, lease)
    if checkpoint is not None:
        checkpoints.advance_checkpoint(session, checkpoint, place.uid)
