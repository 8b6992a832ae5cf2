"""Files of clients who were erased, removed from the disk once no other message shares them."""

from __future__ import annotations

import time
from pathlib import Path

from backend.app import db
from backend.app.errors import StorageFault
from backend.app.inbox.files import attachment_path, remove_unless_wanted
from backend.app.store import erased

MOST_FILES = 1_000  # at once; the next time takes the rest


def remove_erased_files(root: Path, company_id: int, lease_seconds: int) -> tuple[int, int]:
    """(removed, still to be removed). lease_seconds: SYNC_LEASE_SECONDS.

    A file that another message shares stays, and is on the list no more. Raises StorageFault, for
    the first of those that could not be removed, when all were tried.
    """
    digests = db.read(erased.list_files, company_id, MOST_FILES)
    removed, faults = 0, []
    for digest in digests:
        path = attachment_path(root, company_id, digest)
        try:
            gone = remove_unless_wanted(
                path,
                lambda digest=digest: db.read(erased.is_attached, company_id, digest),  # type: ignore[misc]
                2 * lease_seconds,
                time.time(),
            )
        except StorageFault as fault:
            faults.append(fault)
            continue
        removed += gone
        if gone or db.read(erased.is_attached, company_id, digest):
            db.write(erased.forget_file, company_id, digest)
    if faults:
        raise faults[0]
    return removed, len(db.read(erased.list_files, company_id, MOST_FILES))
