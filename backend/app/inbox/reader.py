"""Reads one folder, in ascending UID order, so that the checkpoint never passes unread mail."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from backend.app import db
from backend.app.errors import FolderGone
from backend.app.inbox.ingest import held_arrival
from backend.app.inbox.plan import FetchPlan, plan_batches, plan_fetch, windows
from backend.app.inbox.visit import (
    Visit,
    advance_past,
    describe,
    quarantine_mail,
    record_duplicates,
    record_gone,
)
from backend.app.mail.folder import FetchedMail, FolderStatus, ServerFolder
from backend.app.mail.imap import MailboxConnection
from backend.app.mail.parse import parse_headers
from backend.app.store import ledger, mailboxes, messages
from backend.app.store.records import Checkpoint, Place

log = logging.getLogger("relance.sync")

WINDOW_UIDS = 50_000  # the widest range whose UIDs are asked for at once
CHUNK_MAILS = 200  # how many sizes are asked for at once
BATCH_MAILS = 50


def sync_folder(
    visit: Visit, connection: MailboxConnection, folder: ServerFolder, known: Checkpoint | None
) -> bool:
    """Read what is new; True when the folder is read up to what STATUS said.

    Raises FolderGone, LeaseLost and the network's errors.
    """
    status = connection.status(folder.name)
    plan = plan_fetch(known, status)
    checkpoint = _restart(visit, folder, status, plan) if plan.restart else known
    if plan.empty or checkpoint is None:
        return True
    if connection.examine(folder.name) != status.uidvalidity:
        raise FolderGone("the server renumbered a folder just now")
    log.debug(
        "integration=%d folder=%s uids=%d:%d reason=%s",
        visit.lease.integration_id,
        folder.role,
        plan.first,
        plan.last,
        plan.reason,
    )
    reader = FolderReader(visit, connection, folder.role.value, checkpoint)
    first = max(plan.first, checkpoint.last_uid + 1)
    return all(
        reader.read_window(low, high) for low, high in windows(first, plan.last, WINDOW_UIDS)
    )


def _restart(
    visit: Visit, folder: ServerFolder, status: FolderStatus, plan: FetchPlan
) -> Checkpoint:
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
        mailboxes.start_checkpoint,
        lease,
        folder.name,
        status.uidvalidity,
        plan.last if read_before else 0,
    )


@dataclass(frozen=True, slots=True)
class FolderReader:
    """An open folder and the checkpoint that its mails move."""

    visit: Visit
    connection: MailboxConnection
    role: str
    checkpoint: Checkpoint

    def read_window(self, low: int, high: int) -> bool:
        """Read UIDs low..high, both included; False when the budget ended before."""
        if self.visit.budget.over:
            return False
        uids = self.connection.uids(low, high)
        for start in range(0, len(uids), CHUNK_MAILS):
            if not self._read_chunk(uids[start : start + CHUNK_MAILS]):
                return False
        db.write(advance_past, self.visit.lease, self.checkpoint, high)
        return True

    def _read_chunk(self, uids: Sequence[int]) -> bool:
        sizes = self.connection.sizes(uids)
        if uids[0] <= self.checkpoint.recognise_until:
            sizes = self._without_known(sizes)
        settings = self.visit.run.settings
        most = min(BATCH_MAILS, settings.sync_slice_messages)
        for batch in plan_batches(sizes, settings.sync_batch_bytes, most):
            if not self.visit.may_go_on() or not self._read_batch(batch):
                return False
        return True

    def _place(self, uid: int) -> Place:
        return Place(
            self.visit.lease.integration_id, self.checkpoint.name, self.checkpoint.uidvalidity, uid
        )

    def _without_known(self, sizes: dict[int, int]) -> dict[int, int]:
        """Leave out what is known already, by its UID or by its headers (I2)."""
        lease, checkpoint = self.visit.lease, self.checkpoint
        read = db.read(
            ledger.known_uids,
            lease.integration_id,
            checkpoint.name,
            checkpoint.uidvalidity,
            min(sizes, default=0),
            max(sizes, default=0),
        )
        unread = sorted(sizes.keys() - read)
        fingerprints = {
            uid: fingerprint
            for uid, headers in self.connection.identities(unread).items()
            if (fingerprint := parse_headers(headers).fingerprint) is not None
        }
        known = db.read(messages.find_messages, lease.company_id, set(fingerprints.values()))
        duplicates = {
            uid: known[fingerprint]
            for uid, fingerprint in sorted(fingerprints.items())
            if uid in sizes and fingerprint in known
        }
        if duplicates:
            places = {self._place(uid): message_id for uid, message_id in duplicates.items()}
            db.write(record_duplicates, lease, places)
            self.visit.report.add("duplicate", len(duplicates))
        return {uid: sizes[uid] for uid in unread if uid not in duplicates}

    def _read_batch(self, batch: Sequence[int]) -> bool:
        """False when the budget ended before the last mail."""
        mails = {mail.uid: mail for mail in self.connection.mails(batch)}
        for uid in batch:
            if self.visit.budget.over:
                return False
            mail = mails.get(uid) or self._ask_again(uid)
            if mail is not None:
                self._read_mail(mail)
        return True

    def _ask_again(self, uid: int) -> FetchedMail | None:
        """A mail that was listed came without a body: deleted meanwhile, or the server's fault."""
        if not self.connection.sizes([uid]):
            db.write(record_gone, self.visit.lease, self.checkpoint, self._place(uid))
            self.visit.report.add("ignored")
            return None
        again = self.connection.mails([uid])
        return again[0] if again else FetchedMail(uid, b"", None)

    def _read_mail(self, mail: FetchedMail) -> None:
        visit, place = self.visit, self._place(mail.uid)
        arrived_at = held_arrival(mail.arrived_at, visit.run.now())
        headers = mail.raw
        if mail.raw:
            outcome = visit.take_in(self.role, place, mail.raw, arrived_at, self.checkpoint)
            if not isinstance(outcome, Exception):
                return
            error = describe(outcome)
        else:
            headers = self._headers(mail.uid)
            error = "the server lists this mail but gives no body"
            visit.report.fail("quarantined")
            log.error(
                "integration=%d folder=%s uid=%d quarantined error=%s",
                place.integration_id,
                self.role,
                place.uid,
                error,
            )
        db.write(
            quarantine_mail,
            visit.lease,
            self.checkpoint,
            place,
            mail.raw,
            headers,
            arrived_at,
            error,
        )
