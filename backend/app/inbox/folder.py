"""One folder in one visit: new mail in the order of arrival, then history from its newest mail.

New mail goes first, in every folder, since somebody waits for it. What a killed or cut visit did
not get to is read by the next one: the checkpoint says from where, the ledger what is here already.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

from backend.app import db
from backend.app.errors import FolderGone, Renumbering
from backend.app.inbox.plan import (
    FetchPlan,
    goes_further_back,
    is_restless,
    plan_fetch,
    plan_stretches,
    windows,
    windows_down,
)
from backend.app.inbox.visit import Visit
from backend.app.mail.folder import FolderStatus, ServerFolder
from backend.app.mail.imap import MailboxConnection
from backend.app.store import checkpoints, ledger
from backend.app.store.records import Checkpoint

if TYPE_CHECKING:
    from backend.app.inbox.reader import FolderReader

log = logging.getLogger("relance.sync")

CHUNK_MAILS = 1_000  # of history, before its lower end moves
WINDOW_UIDS = 50_000  # the widest range whose UIDs are asked for at once


@dataclass(frozen=True, slots=True)
class FolderVisit:
    """A folder, what the server says of it now, and how far it is read."""

    visit: Visit
    connection: MailboxConnection
    folder: ServerFolder
    status: FolderStatus
    checkpoint: Checkpoint

    def read_new(self) -> bool:
        """Read what came since the last visit; True when it is read up to what STATUS said."""
        first, last = self.checkpoint.last_uid + 1, self.status.uidnext - 1
        if last < first:
            return True
        reader = self.open(moves=True)
        log.debug("%s uids=%d:%d new mail", self._name, first, last)
        # After a renumbering, what was there before it and is older than the horizon stays there.
        top = min(self.checkpoint.history_top, last)
        old = windows(first, top, WINDOW_UIDS)
        new = windows(max(first, top + 1), last, WINDOW_UIDS)
        since = self.checkpoint.history_since
        return all(self._read_window(reader, low, high, since) for low, high in old) and all(
            self._read_window(reader, low, high, None) for low, high in new
        )

    def read_history(self) -> bool:
        """Read what was there before us, the newest first; True when the horizon is reached."""
        checkpoint = self._down_to_horizon()
        if checkpoint.history_uid == 0:
            return True
        reader = self.open(moves=False)
        return all(
            self._read_window_down(reader, low, high)
            for low, high in windows_down(checkpoint.history_uid, WINDOW_UIDS)
        )

    def require_lasting_numbers(self) -> None:
        """Raises Renumbering when the server gives other numbers at visit after visit.

        All was read; but to recognise a whole folder each minute is too much for everybody.
        """
        if is_restless(self.checkpoint):
            raise Renumbering(
                f"the server renumbered the folder {self.folder.name} at each of the last "
                f"{self.checkpoint.renumberings} visits (UIDVALIDITY): it is visited less often"
            )

    @property
    def _name(self) -> str:
        return f"integration={self.visit.lease.integration_id} folder={self.folder.role}"

    def open(self, *, moves: bool) -> FolderReader:
        """Raises FolderGone when the server renumbered it since STATUS."""
        from backend.app.inbox.reader import FolderReader  # see visit.py

        if self.connection.examine(self.folder.name) != self.status.uidvalidity:
            raise FolderGone("the server renumbered a folder just now")
        return FolderReader(
            self.visit, self.connection, self.folder.role.value, self.checkpoint, moves
        )

    def _read_window(self, reader: FolderReader, low: int, high: int, since: date | None) -> bool:
        if self.visit.budget.over:
            return False
        existing, wanted = self._listed(low, high, since)
        self.visit.find_help(len(wanted))
        if not reader.read(wanted):
            return False
        left = len(existing) - len(wanted)
        db.write(checkpoints.advance_past, self.visit.lease, self.checkpoint, high, left)
        return True

    def _listed(self, low: int, high: int, since: date | None) -> tuple[list[int], list[int]]:
        """The UIDs from low to high that exist, and those of them that arrived from `since` on."""
        if since is None:
            uids = self.connection.uids(low, high)
            return uids, uids
        existing = self.connection.existing(low, high)
        return existing, self.connection.existing(low, high, since) if existing else []

    def _down_to_horizon(self) -> Checkpoint:
        """The checkpoint, opened again when somebody moved the horizon back.

        One that was moved forward while history is read holds from here on down, and is recorded:
        what it leaves on the server may hold an answer, so that reminders must know.
        """
        checkpoint, wanted = self.checkpoint, self.visit.history_since
        if checkpoint.history_uid and goes_further_back(checkpoint.history_since, wanted):
            return db.write(checkpoints.shorten_history, self.visit.lease, checkpoint, wanted)
        if not goes_further_back(wanted, checkpoint.history_since):
            return checkpoint
        log.info("%s history is read back to %s", self._name, wanted or "its beginning")
        return db.write(checkpoints.reopen_history, self.visit.lease, checkpoint, wanted)

    def _read_window_down(self, reader: FolderReader, low: int, high: int) -> bool:
        visit = self.visit
        if visit.budget.over:
            return False
        existing, wanted = self._listed(low, high, visit.history_since)
        if wanted:
            visit.expect(len(wanted))
            visit.find_help(len(wanted))
        for stretch in plan_stretches(existing, wanted, low, CHUNK_MAILS):
            if not reader.read(stretch.uids):
                return False
            db.write(
                checkpoints.retreat, visit.lease, self.checkpoint, stretch.low - 1, stretch.left
            )
        return True


def meet_folder(
    visit: Visit, connection: MailboxConnection, folder: ServerFolder, known: Checkpoint | None
) -> FolderVisit:
    """Ask STATUS, and begin the folder when it is new or was renumbered. Raises FolderGone."""
    status = connection.status(folder.name)
    plan = plan_fetch(known, status)
    if known is None or plan.restart:
        known = _begin(visit, folder, status, plan)
    elif known.renumberings:
        db.write(checkpoints.keeps_its_numbers, visit.lease, known)
        known = replace(known, renumberings=0)
    return FolderVisit(visit, connection, folder, status, known)


def _begin(visit: Visit, folder: ServerFolder, status: FolderStatus, plan: FetchPlan) -> Checkpoint:
    lease = visit.lease
    read_before = db.read(ledger.has_entries, lease.integration_id)
    if plan.reason == "renumbered":
        log.warning(
            "integration=%d folder=%s renumbered by the server uidvalidity=%d",
            lease.integration_id,
            folder.role,
            status.uidvalidity,
        )
    return db.write(
        checkpoints.start_checkpoint,
        lease,
        folder.name,
        status.uidvalidity,
        plan.last if read_before else 0,
        top=plan.last,
        since=visit.history_since,
        # Two mails with equal headers are told apart in the order in which they were read before.
        newest_first=not read_before,
    )
