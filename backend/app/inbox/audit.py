"""The hourly audit: is all that lies on the server in the ledger? What is missing is fetched (I1).

Finds a UID that appeared late, below those read already, and what a server denied to have. The
newest AUDIT_UIDS numbers of each folder are compared each time, and as many older ones in turn, so
that the cost has a bound and the whole folder comes round. A folder in whose state (HIGHESTMODSEQ,
RFC 7162) all was here once costs nothing until something changes in it.

    server = stored + duplicate + ignored + quarantined + missing
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass

from backend.app import db
from backend.app.errors import StorageFault
from backend.app.inbox.erased import remove_erased_files
from backend.app.inbox.folder import FolderVisit
from backend.app.inbox.plan import is_restless
from backend.app.inbox.visit import Visit
from backend.app.models import LedgerState
from backend.app.store import checkpoints, leases, ledger
from backend.app.store.records import Place

log = logging.getLogger("relance.sync")

AUDIT_UIDS = 5_000


@dataclass(frozen=True, slots=True)
class AuditCounts:
    """What became of the UIDs that the server has now, in the ranges compared.

    ignored: older than the horizon and left there, or dropped by hand. missing: still not here,
    after `healed` were fetched. skipped: folders that did not change since all of them was here.
    """

    server: int = 0
    stored: int = 0
    duplicate: int = 0
    ignored: int = 0
    quarantined: int = 0
    missing: int = 0
    healed: int = 0
    skipped: int = 0

    def __add__(self, other: AuditCounts) -> AuditCounts:
        mine, theirs = asdict(self), asdict(other)
        return AuditCounts(**{name: mine[name] + theirs[name] for name in mine})


def find_missing(
    server: Sequence[int], states: Mapping[int, LedgerState], left: Collection[int]
) -> list[int]:
    """UIDs that the server has and we have not. left: those that the horizon leaves there. Pure.

    One that was once said to be gone, and is there, has no state here: it is missing too.
    """
    return [uid for uid in server if uid not in states and uid not in left]


def count(
    server: Sequence[int],
    states: Mapping[int, LedgerState],
    left: Collection[int],
    healed: int,
) -> AuditCounts:
    """Pure. states: after what was missing has been fetched."""
    missing = len(find_missing(server, states, left))
    here = Counter(states[uid].value for uid in server if uid in states)
    return AuditCounts(
        server=len(server),
        stored=here["stored"],
        duplicate=here["duplicate"],
        quarantined=here["quarantined"],
        ignored=len(server) - missing - here["stored"] - here["duplicate"] - here["quarantined"],
        missing=missing,
        healed=healed,
    )


def audit_mailbox(visit: Visit, folders: Sequence[FolderVisit]) -> None:
    """Audit folders that are read completely, record it and publish the one line.

    Besides, files of erased clients that were too fresh to be removed at once go now.
    """
    total = sum((_audit_folder(visit, folder) for folder in folders), AuditCounts())
    db.write(leases.record_audit, visit.lease, asdict(total))
    _remove_erased_files(visit)
    if total.healed:
        visit.report.add("healed", total.healed)
    log.log(
        logging.ERROR if total.missing else logging.INFO,
        "integration=%d audit %s",
        visit.lease.integration_id,
        " ".join(f"{name}={number}" for name, number in asdict(total).items()),
    )


def _remove_erased_files(visit: Visit) -> None:
    """What cannot be removed is no fault of the mailbox: it stays on the list."""
    settings, lease = visit.run.settings, visit.lease
    try:
        remove_erased_files(settings.attachments_dir, lease.company_id, settings.sync_lease_seconds)
    except StorageFault as fault:
        visit.report.fail("files_failed")
        log.error("company=%d a file of an erased client: %s", lease.company_id, fault)


def _audit_folder(visit: Visit, folder: FolderVisit) -> AuditCounts:
    top = max(folder.checkpoint.last_uid, folder.status.uidnext - 1)
    modseq = folder.status.highestmodseq
    if top == 0 or is_restless(folder.checkpoint):
        return AuditCounts()
    if modseq is not None and modseq == folder.checkpoint.highestmodseq:
        return AuditCounts(skipped=1)
    folder.open(moves=False)
    recent = max(1, top - AUDIT_UIDS + 1)
    total = _audit_range(folder, recent, top)
    below = min(folder.checkpoint.audit_uid or recent - 1, recent - 1)
    end = max(1, below - AUDIT_UIDS + 1)
    if below > 0:
        total += _audit_range(folder, end, below)
    whole = end == 1 and below == recent - 1 and not total.missing
    db.write(
        checkpoints.record_audit,
        visit.lease,
        folder.checkpoint,
        end - 1,
        modseq if whole else None,
    )
    return total


def _audit_range(folder: FolderVisit, low: int, high: int) -> AuditCounts:
    checkpoint = folder.checkpoint
    place = Place(folder.visit.lease.integration_id, checkpoint.name, checkpoint.uidvalidity, 0)
    server = folder.connection.existing(low, high)
    states = db.read(ledger.states, place, low, high)
    unknown = find_missing(server, states, ())
    left = _left(folder, unknown)
    missing = [uid for uid in unknown if uid not in left]
    if not missing:
        return count(server, states, left, 0)
    log.warning(
        "integration=%d folder=%s missing uids=%s",
        folder.visit.lease.integration_id,
        folder.folder.role,
        ",".join(map(str, missing[:20])),
    )
    folder.open(moves=False).read(missing)
    states = db.read(ledger.states, place, low, high)
    still = find_missing(server, states, left)
    # What was deleted meanwhile is not missing.
    there = set(folder.connection.sizes(still))
    server = [uid for uid in server if uid not in still or uid in there]
    return count(server, states, left, len(missing) - len(still))


def _left(folder: FolderVisit, unknown: Sequence[int]) -> set[int]:
    """Those of the unknown UIDs that were there before us and are older than the horizon."""
    since = folder.checkpoint.history_since
    old = {uid for uid in unknown if uid <= folder.checkpoint.history_top}
    if since is None or not old:
        return set()
    return old - set(folder.connection.existing(min(old), max(old), since))
