"""Reads mails by their UIDs: sizes, what is known already, bodies in batches, one commit a mail.

The next batch is fetched, by a thread, while the one before it is stored.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import zip_longest
from typing import NoReturn

from backend.app import db
from backend.app.errors import NetworkFault, RelanceError, ServerFault
from backend.app.inbox.large import fetch_text
from backend.app.inbox.plan import is_restless, plan_batches
from backend.app.inbox.prepare import Ready, Unprepared, held_arrival
from backend.app.inbox.set_aside import Kept, quarantine_mail, record_duplicates, record_gone
from backend.app.inbox.visit import Visit, describe
from backend.app.mail.folder import FetchedMail
from backend.app.mail.imap import MailboxConnection
from backend.app.mail.parse import parse_headers
from backend.app.store import ledger, messages
from backend.app.store.records import Checkpoint, Place

log = logging.getLogger("relance.sync")

NO_BODY = "the server lists this mail but gives no body"
PATIENCE = 3  # visits that failed in a row
TROUBLE = ("server", "network")
CHUNK_MAILS = 1_000  # how many sizes are asked for at once
BATCH_MAILS = 50


Give = Callable[[], list[FetchedMail]]


@dataclass(frozen=True, slots=True)
class Batch:
    """UIDs that are fetched at once, ascending; size: of all of them, in octets."""

    uids: tuple[int, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Unread:
    """A mail that came without a body. headers: what the server gives of them; None: it is gone."""

    headers: bytes | None


@dataclass(frozen=True, slots=True)
class FolderReader:
    """An open folder.

    moves: each mail moves the checkpoint's upper end with it, as new mail does, which therefore
    comes in ascending order. Without it (history, mail that an audit missed) the ledger alone
    says what was read before.
    """

    visit: Visit
    connection: MailboxConnection
    role: str
    checkpoint: Checkpoint
    moves: bool
    ready: dict[int, Ready] = field(default_factory=dict)  # what the helper prepares, by UID

    def read(self, uids: Sequence[int]) -> bool:
        """Read these UIDs, ascending; False when the budget ended before."""
        return all(
            self._read_chunk(uids[start : start + CHUNK_MAILS])
            for start in range(0, len(uids), CHUNK_MAILS)
        )

    def _read_chunk(self, uids: Sequence[int]) -> bool:
        if not self.moves:
            uids = self._not_in_ledger(uids)
        sizes = self.connection.sizes(uids)
        if uids and uids[0] <= self.checkpoint.recognise_until:
            sizes = self._without_known(sizes)
        settings = self.visit.run.settings
        most = 1 if self._in_trouble else min(BATCH_MAILS, settings.sync_slice_messages)
        # One that is larger than either comes by itself.
        most_bytes = min(settings.sync_batch_bytes, settings.sync_large_bytes)
        batches = [
            Batch(uids, sum(sizes[uid] for uid in uids))
            for uids in plan_batches(sizes, most_bytes, most)
        ]
        with ThreadPoolExecutor(1, thread_name_prefix="fetch") as thread:
            give = self._begin(batches[0], None) if batches else None
            for batch, following in zip_longest(batches, batches[1:]):
                if give is None:
                    return False
                mails = self._with_missing(batch, self._fetched(batch, give))
                # From here to the end of _store nobody but the thread speaks to the server.
                give = self._begin(following, thread) if following else None
                if not self._store(mails):
                    return False
        return True

    def _begin(self, batch: Batch, thread: Executor | None) -> Give | None:
        """What gives the mails of a batch; None when the budget ended before.

        thread: fetches them while the batch before is stored, unless they are large.
        """
        visit, large = self.visit, self._is_large(batch)
        if not visit.may_go_on():
            return None
        try:
            visit.spend(0 if large else batch.size, len(batch.uids))
        except RelanceError as refusal:  # when it is this batch's turn: the one before comes first
            return partial(_raise, refusal)
        if large:
            return partial(self._fetch_text, batch)
        if batch.size > visit.run.settings.sync_batch_bytes:
            return partial(self.connection.mails, batch.uids)
        if thread is None:
            return partial(self._fetch_ahead, batch.uids)
        return thread.submit(self._fetch_ahead, batch.uids).result

    def _fetch_ahead(self, uids: Sequence[int]) -> list[FetchedMail]:
        """Fetch, and hand over to the helper if there is one."""
        mails = self.connection.mails(uids)
        given = [Unprepared(mail.raw, self._arrival(mail), mail.notes) for mail in mails]
        for mail, ready in zip(mails, self.visit.hand_over(given) or (), strict=False):
            self.ready[mail.uid] = ready
        return mails

    def _arrival(self, mail: FetchedMail) -> datetime:
        return held_arrival(mail.arrived_at, self.visit.run.now())

    def _is_large(self, batch: Batch) -> bool:
        return len(batch.uids) == 1 and batch.size > self.visit.run.settings.sync_large_bytes

    def _fetch_text(self, batch: Batch) -> list[FetchedMail]:
        text = fetch_text(self.connection, batch.uids[0], batch.size)
        return [text] if text else []

    def _place(self, uid: int) -> Place:
        return Place(
            self.visit.lease.integration_id, self.checkpoint.name, self.checkpoint.uidvalidity, uid
        )

    @property
    def _moving(self) -> Checkpoint | None:
        return self.checkpoint if self.moves else None

    def _not_in_ledger(self, uids: Sequence[int]) -> list[int]:
        place = self._place(0)
        if not uids:
            return []
        read = db.read(ledger.known_uids, place, uids[0], uids[-1])
        return [uid for uid in uids if uid not in read]

    def _without_known(self, sizes: dict[int, int]) -> dict[int, int]:
        """Leave out what is known already, by its UID or by its headers (I2)."""
        lease = self.visit.lease
        unread = self._not_in_ledger(sorted(sizes))
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
        # Renumbered again and again, the same mails would fill the ledger; it has them already.
        if duplicates and not is_restless(self.checkpoint):
            places = {self._place(uid): message_id for uid, message_id in duplicates.items()}
            db.write(record_duplicates, lease, places)
            self.visit.report.add("duplicate", len(duplicates))
        return {uid: sizes[uid] for uid in unread if uid not in duplicates}

    def _with_missing(
        self, batch: Batch, given: list[FetchedMail]
    ) -> dict[int, FetchedMail | Unread]:
        """In the order of the batch; what came without a body is asked for again."""
        mails = {mail.uid: mail for mail in given}
        return {uid: mails.get(uid) or self._ask_again(uid) for uid in batch.uids}

    def _store(self, mails: Mapping[int, FetchedMail | Unread]) -> bool:
        """False when the budget ended before the last mail."""
        for uid, mail in mails.items():
            if self.visit.budget.over:
                return False
            if isinstance(mail, FetchedMail):
                self._read_mail(mail)
            elif mail.headers is None:
                db.write(record_gone, self.visit.lease, self._moving, self._place(uid))
                self.visit.report.add("ignored")
            else:
                self._set_aside(uid, NO_BODY, mail.headers)
        return True

    @property
    def _in_trouble(self) -> bool:
        """The last visits all failed on the way or at the server: one mail may be the cause."""
        lease = self.visit.lease
        return lease.failures >= PATIENCE and lease.error_kind in TROUBLE

    def _fetched(self, batch: Batch, give: Give) -> list[FetchedMail]:
        """The mails of a batch that the server gives, one by one if it chokes on them together.

        One on which each visit breaks off is set aside in the end, since it must not keep back
        those behind it (I1): a visit in trouble reads one mail at a time, and finds out which.
        """
        try:
            return give()
        except (ServerFault, NetworkFault) as fault:
            if self._in_trouble:
                uid = batch.uids[0]
                self._set_aside(uid, describe(fault), self._headers(uid))
            # A server that gives none of them has trouble of its own.
            elif isinstance(fault, ServerFault) and (given := self._one_by_one(batch.uids)):
                return given
            raise

    def _one_by_one(self, batch: Sequence[int]) -> list[FetchedMail]:
        return [mail for uid in batch for mail in self._alone(uid)]

    def _alone(self, uid: int) -> list[FetchedMail]:
        try:
            return self.connection.mails([uid])
        except ServerFault:
            return []

    def _ask_again(self, uid: int) -> FetchedMail | Unread:
        """A mail that was listed came without a body: deleted meanwhile, or the server's fault."""
        if not self.connection.sizes([uid]):
            return Unread(None)
        given = [mail for mail in self._alone(uid) if mail.raw]
        return given[0] if given else Unread(self._headers(uid))

    def _read_mail(self, mail: FetchedMail) -> None:
        visit, place = self.visit, self._place(mail.uid)
        arrived_at = self._arrival(mail)
        ready = self.ready.pop(mail.uid, None)
        outcome = visit.take_in(
            self.role, place, mail.raw, arrived_at, self._moving, mail.notes, ready
        )
        if isinstance(outcome, Exception):
            kept = Kept(mail.raw, mail.raw, arrived_at, describe(outcome))
            db.write(quarantine_mail, visit.lease, self._moving, place, kept)

    def _set_aside(self, uid: int, error: str, headers: bytes) -> None:
        """Quarantine a mail without its body, which is asked for again later."""
        visit, place = self.visit, self._place(uid)
        visit.say_quarantined(self.role, place, error)
        kept = Kept(b"", headers, visit.run.now(), error)
        db.write(quarantine_mail, visit.lease, self._moving, place, kept)

    def _headers(self, uid: int) -> bytes:
        """Whose mail it is: an answer may lie in it, so that no reminder must go to its sender."""
        try:
            return self.connection.identities([uid]).get(uid, b"")
        except (ServerFault, NetworkFault):
            return b""


def _raise(error: Exception) -> NoReturn:
    raise error
