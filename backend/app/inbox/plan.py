"""What to fetch from a folder. Pure.

    checkpoint   server                         plan
    -----------  -----------------------------  ------------------------------------------------
    none         any                            begin: 1 .. UIDNEXT - 1 is history
    equal UIDVALIDITY, UIDNEXT <= last + 1      nothing
    equal UIDVALIDITY, UIDNEXT >  last + 1      last + 1 .. UIDNEXT - 1, in the order of arrival
    other UIDVALIDITY                           begin again, known mail by its headers

History is read from its newest mail back to the horizon; new mail goes before it.
UIDs only grow within one UIDVALIDITY (RFC 3501, 2.3.1.1); with another one they mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from backend.app.mail.folder import FolderStatus
from backend.app.store.records import Checkpoint, Lease

# What came so shortly before the mailbox was connected may still have to be answered.
STILL_NEW = timedelta(days=1)
RENUMBERINGS_IN_A_ROW = 3  # so many visits with another UIDVALIDITY each: no healthy server
AUDIT_EVERY = timedelta(hours=1)
EARLIEST_HORIZON = date(1970, 1, 2)


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


def history_since(connected_at: datetime | None, days: int) -> date | None:
    """The horizon: mail that arrived before this day is left on the server; None for no horizon.

    connected_at: see Lease. SEARCH compares whole days of the server's calendar (RFC 3501, 6.4.4).
    """
    if connected_at is None:
        return None
    try:
        day = connected_at.date() - timedelta(days=days)
    except OverflowError:
        return None
    return day if day >= EARLIEST_HORIZON else None


def history_before(connected_at: datetime | None) -> datetime | None:
    """What arrived before this instant comes as read and answered; None: nothing does."""
    return None if connected_at is None else connected_at - STILL_NEW


def goes_further_back(wanted: date | None, read: date | None) -> bool:
    """Whether the horizon that is wanted lies before the one that was read to. None: no horizon."""
    return read is not None and (wanted is None or wanted < read)


def is_restless(checkpoint: Checkpoint) -> bool:
    """Whether the server gives the folder other numbers at visit after visit."""
    return checkpoint.renumberings >= RENUMBERINGS_IN_A_ROW


def plan_fetch(checkpoint: Checkpoint | None, server: FolderStatus) -> FetchPlan:
    last = server.uidnext - 1
    if checkpoint is None:
        return FetchPlan(1, last, True, "first_sync")
    if checkpoint.uidvalidity != server.uidvalidity:
        return FetchPlan(1, last, True, "renumbered")
    return FetchPlan(checkpoint.last_uid + 1, last, False, "new_mail")


def audit_is_due(lease: Lease) -> bool:
    last = lease.audited_at or lease.connected_at
    return last is None or lease.started_at - last >= AUDIT_EVERY


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


def windows_down(last: int, width: int) -> Iterator[tuple[int, int]]:
    """last..1 in ranges of at most width UIDs, the highest first."""
    for top in range(last, 0, -width):
        yield max(top - width + 1, 1), top


@dataclass(frozen=True, slots=True)
class Stretch:
    """UIDs to read at once, ascending. low: where the stretch ends; left: how many it leaves."""

    uids: tuple[int, ...]
    low: int
    left: int


def plan_stretches(
    existing: Sequence[int], wanted: Sequence[int], low: int, width: int
) -> Iterator[Stretch]:
    """The wanted UIDs of a window that begins at `low`, the newest first, `width` at once.

    Each stretch counts the UIDs that exist between it and the one above, and are not wanted.
    """
    newest_first = sorted(wanted, reverse=True)
    chunks = [newest_first[i : i + width] for i in range(0, len(newest_first), width)] or [[]]
    bounds = [*(chunk[-1] for chunk in chunks[:-1]), low]
    top = None
    for chunk, bound in zip(chunks, bounds, strict=True):
        here = sum(1 for uid in existing if uid >= bound and (top is None or uid < top))
        yield Stretch(tuple(reversed(chunk)), bound, max(0, here - len(chunk)))
        top = bound
