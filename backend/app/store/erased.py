"""What is kept of clients who were erased: which mails stay away, which files are to be removed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.models import ErasedFile, ErasedMail, InboxMessage, MessageAttachment
from backend.app.store.upsert import insert_those_not_there

BATCH = 500  # keys in one statement
T = TypeVar("T")


def batches(values: Collection[T]) -> Iterator[list[T]]:
    rest = iter(values)
    while some := list(islice(rest, BATCH)):
        yield some


def still_there(session: Session, message_ids: Collection[int]) -> set[int]:
    """Which of these messages exist. The caller holds its mailbox's lease: none goes meanwhile."""
    m = InboxMessage
    found: set[int] = set()
    for some in batches(message_ids):
        found.update(session.scalars(sa.select(m.id).where(m.id.in_(some))))
    return found


def want_removed(session: Session, company_id: int, digests: Collection[str]) -> None:
    rows = [{"company_id": company_id, "sha256": digest} for digest in sorted(set(digests))]
    for some in batches(rows):
        insert_those_not_there(session, ErasedFile, some)


def list_files(session: Session, company_id: int, limit: int) -> list[str]:
    """What is to be removed from the disk, the longest-waiting first."""
    f = ErasedFile
    return list(
        session.scalars(
            sa.select(f.sha256)
            .where(f.company_id == company_id)
            .order_by(f.created_at, f.sha256)
            .limit(limit)
        )
    )


def is_attached(session: Session, company_id: int, digest: str) -> bool:
    a = MessageAttachment
    found = session.scalar(
        sa.select(a.id).where(a.company_id == company_id, a.sha256 == digest).limit(1)
    )
    return found is not None


def forget_file(session: Session, company_id: int, digest: str) -> None:
    f = ErasedFile
    session.execute(sa.delete(f).where(f.company_id == company_id, f.sha256 == digest))


def keep_away(session: Session, company_id: int, fingerprints: Sequence[str]) -> None:
    rows = [{"company_id": company_id, "fingerprint": each} for each in sorted(set(fingerprints))]
    for some in batches(rows):
        insert_those_not_there(session, ErasedMail, some)
