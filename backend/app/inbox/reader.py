"""Reads one folder, in ascending UID order, so that the checkpoint never passes unread mail."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from backend.app import db
from backend.app.errors import FolderGone, NetworkFault, ServerFault
from backend.app.inbox.ingest import held_arrival
from backend.app.inbox.plan import FetchPlan, plan_batches, plan_fetch, windows
from backend.app.inbox.visit import (
    Kept,
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
from backend.app.models import LedgerState
from backend.app.store import ledger, mailboxes, messages
from backend.app.store.records import Checkpoint, Place

log = logging.getLogger("relance.sync")

NO_BODY = "the server lists this mail but gives no body"
PATIENCE = 3  # visits that failed in a row
TROUBLE = ("server", "network")
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
        most = 1 if self._in_trouble else min(BATCH_MAILS, settings.sync_slice_messages)
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
        found = db.read(messages.find_messages, lease.company_id, set(fingerprints.values()))
        held = db.read(ledger.held_messages, self._place(0), set(found.values()))
        # Twice in one folder: only the bodies tell whether it is one mail or two.
        met = Counter(fingerprints.values())
        known = {f: m for f, m in found.items() if met[f] == 1 and m not in held}
        duplicates = {uid: known[f] for uid, f in sorted(fingerprints.items()) if f in known}
        if duplicates:
            places = {self._place(uid): message_id for uid, message_id in duplicates.items()}
            db.write(record_duplicates, lease, places)
            self.visit.report.add("duplicate", len(duplicates))
        return {uid: sizes[uid] for uid in unread if uid not in duplicates}

    def _read_batch(self, batch: Sequence[int]) -> bool:
        """False when the budget ended before the last mail."""
        mails = {mail.uid: mail for mail in self._fetch(batch)}
        for uid in batch:
            if self.visit.budget.over:
                return False
            mail = mails.get(uid) or self._ask_again(uid)
            if mail is not None:
                self._read_mail(mail)
        return True

    @property
    def _in_trouble(self) -> bool:
        """The last visits all failed on the way or at the server: one mail may be the cause."""
        lease = self.visit.lease
        return lease.failures >= PATIENCE and lease.error_kind in TROUBLE

    def _fetch(self, batch: Sequence[int]) -> list[FetchedMail]:
        """The mails of a batch that the server gives, one by one if it chokes on them together.

        One on which each visit breaks off is set aside in the end, since it must not keep back
        those behind it (I1): a visit in trouble reads one mail at a time, and finds out which.
        """
        try:
            return self.connection.mails(batch)
        except (ServerFault, NetworkFault) as fault:
            if self._in_trouble:
                self._set_aside(batch[0], describe(fault))
            # A server that gives none of them has trouble of its own.
            elif isinstance(fault, ServerFault) and (given := self._one_by_one(batch)):
                return given
            raise

    def _one_by_one(self, batch: Sequence[int]) -> list[FetchedMail]:
        return [mail for uid in batch for mail in self._alone(uid)]

    def _alone(self, uid: int) -> list[FetchedMail]:
        try:
            return self.connection.mails([uid])
        except ServerFault:
            return []

    def _ask_again(self, uid: int) -> FetchedMail | None:
        """A mail that was listed came without a body: deleted meanwhile, or the server's fault."""
        if not self.connection.sizes([uid]):
            db.write(record_gone, self.visit.lease, self.checkpoint, self._place(uid))
            self.visit.report.add("ignored")
            return None
        again = self._alone(uid)
        return again[0] if again else FetchedMail(uid, b"", None)

    def _read_mail(self, mail: FetchedMail) -> None:
        visit, place = self.visit, self._place(mail.uid)
        arrived_at = held_arrival(mail.arrived_at, visit.run.now())
        if not mail.raw:
            self._set_aside(mail.uid, NO_BODY)
            return
        outcome = visit.take_in(self.role, place, mail.raw, arrived_at, self.checkpoint)
        if isinstance(outcome, Exception):
            kept = Kept(mail.raw, mail.raw, arrived_at, describe(outcome))
            db.write(quarantine_mail, visit.lease, self.checkpoint, place, kept)

    def _set_aside(self, uid: int, error: str) -> None:
        """Quarantine a mail without its body, which is asked for again later."""
        visit, place = self.visit, self._place(uid)
        visit.say_quarantined(self.role, place, error)
        kept = Kept(b"", self._headers(uid), visit.run.now(), error)
        db.write(quarantine_mail, visit.lease, self.checkpoint, place, kept)

    def _headers(self, uid: int) -> bytes:
        """Whose mail it is: an answer may lie in it, so that no reminder must go to its sender."""
        try:
            return self.connection.identities([uid]).get(uid, b"")
        except (ServerFault, NetworkFault):
            return b""


def ask_for_bodies(visit: Visit, connection: MailboxConnection) -> None:
    """Fetch what the server did not give earlier; the next visit handles it.

    Each is put off before it is asked for, since asking may cost the connection.
    """
    for kept in db.read(ledger.due_without_body, visit.lease.integration_id):
        db.write(ledger.postpone_quarantined, kept, NO_BODY, our_fault=False)
        with contextlib.suppress(FolderGone, ServerFault):
            if connection.examine(kept.place.folder) != kept.place.uidvalidity:
                continue  # it was met again under another UID
            if not connection.sizes([kept.place.uid]):
                db.write(ledger.leave_quarantine, kept, LedgerState.IGNORED, None)
            for mail in connection.mails([kept.place.uid]):
                arrived_at = held_arrival(mail.arrived_at, visit.run.now())
                db.write(ledger.keep_body, kept, mail.raw, arrived_at)
