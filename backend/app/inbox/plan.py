"""What to fetch from a folder. Pure.

    checkpoint   server                         plan
    -----------  -----------------------------  ------------------------------------------------
    none         any                            everything from 1, known mail by its headers
    equal UIDVALIDITY, UIDNEXT <= last + 1      nothing
    equal UIDVALIDITY, UIDNEXT >  last + 1      last + 1 .. UIDNEXT - 1
    other UIDVALIDITY                           everything from 1, known mail by its headers

UIDs only grow within one UIDVALIDITY (RFC 3501, 2.3.1.1); with another one they mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from backend.app.mail.folder import FolderStatus
from backend.app.store.records import Checkpoint


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """UIDs first..last, both included; restart: the checkpoint begins anew for this UIDVALIDITY."""

    first: int
    last: int
    restart: bool
    reason: str

    @property
    def empty(self) -> bool:
        return self.last < self.first


def plan_fetch(checkpoint: Checkpoint | None, server: FolderStatus) -> FetchPlan:
    last = server.uidnext - 1
    if checkpoint is None:
        return FetchPlan(1, last, True, "first_sync")
    if checkpoint.uidvalidity != server.uidvalidity:
        return FetchPlan(1, last, True, "renumbered")
    return FetchPlan(checkpoint.last_uid + 1, last, False, "new_mail")


def plan_batches(
    sizes: Mapping[int, int], max_bytes: int, max_mails: int
) -> Iterator[tuple[int, ...]]:
    """Ascending UIDs in batches of at most max_bytes octets; a larger mail is one by itself."""
    batch: list[int] = []
    held = 0
    for uid, size in sorted(sizes.items()):
        if batch and (held + size > max_bytes or len(batch) >= max_mails):
            yield tuple(batch)
            batch, held = [], 0
        batch.append(uid)
        held += size
    if batch:
        yield tuple(batch)


def windows(first: int, last: int, width: int) -> Iterator[tuple[int, int]]:
    """first..last in ranges of at most width UIDs, so that no answer grows with the mailbox."""
    for start in range(first, last + 1, width):
        yield start, min(start + width - 1, last)
