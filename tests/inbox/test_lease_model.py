"""The leases of a mailbox against a model, in histories that nobody thought of.

Workers claim, read mails, set mails aside, give back, freeze and wake up late, while leases end and
back-offs pass. The model is one line: the mailbox belongs to whoever claimed it last, until it is
given back; everybody else writes nothing. Every mail is in the ledger once, whoever read it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from backend.app import db
from backend.app.errors import LeaseLost
from backend.app.inbox import set_aside, visit
from backend.app.inbox.ingest import ingest
from backend.app.inbox.prepare import Intake, prepare
from backend.app.models import (
    FolderCheckpoint,
    InboxIntegration,
    InboxMessage,
    LedgerEntry,
    MailboxState,
)
from backend.app.runtime import Run
from backend.app.store import checkpoints, leases
from backend.app.store.records import Checkpoint, Lease, Place
from tests.inbox.desk import Desk, ago

UIDVALIDITY = 1
LEASE_SECONDS = 300
any_of = st.integers(0, 3)  # the first is the worker that claimed last


@dataclass
class Worker:
    lease: Lease
    checkpoint: Checkpoint
    intake: Intake


class LeaseMachine(RuleBasedStateMachine):
    """holder: whose the mailbox is, None when it was given back; over: the lease has run out.

    reached: what happened in all histories together; a model that never acts proves nothing.
    """

    desk: ClassVar[Desk]
    reached: ClassVar[Counter[str]]

    @initialize()
    def begin(self) -> None:
        desk, everything = self.desk, InboxIntegration.id.is_not(None)
        for row in desk.installation.rows(InboxIntegration, everything):
            desk.installation.set(InboxIntegration, row.id, is_active=False)
        self.mailbox = desk.add_mailbox()
        db.write(leases.add_missing_states)
        self.workers: list[Worker] = []
        self.holder: Worker | None = None
        self.over = self.resting = False
        self.token = self.read = 0
        self.kept: Counter[str] = Counter()

    # Workers

    @rule()
    def somebody_claims(self) -> None:
        since = db.read(db.load_now) + timedelta(hours=1)
        lease = db.write(leases.claim_due, "w", LEASE_SECONDS, since)
        free = (self.holder is None or self.over) and not self.resting
        assert (lease is not None) == free
        if lease is None:
            self.reached["kept out"] += 1
            return
        self.reached["taken over" if self.holder else "claimed"] += 1
        self.token += 1
        assert lease.token == self.token
        begun = db.write(checkpoints.start_checkpoint, lease, "INBOX", UIDVALIDITY, 0)
        run = Run(self.desk.installation.settings, self.desk.installation.vault, "w", bool)
        self.holder = Worker(lease, begun, db.write(visit.load_intake, run, lease))
        self.workers.insert(0, self.holder)
        self.over = False

    @precondition(lambda self: self.workers)
    @rule(which=any_of, again=st.booleans())
    def reads_a_mail(self, which: int, again: bool) -> None:
        """The next mail, or once more the one that was read last."""
        worker, uid = self.one(which), max(1, self.read + (not again))
        raw = self.desk.mail(f"Mail {uid}", message_id=f"<{uid}.{self.mailbox}@client.test>")
        item = prepare(worker.intake, raw, ago())
        done = self.tries(worker, ingest, worker.intake, worker.checkpoint, self.place(uid), item)
        if done is not None:
            self.kept["stored"] += uid > self.read
            self.read = max(self.read, uid)

    @precondition(lambda self: self.workers)
    @rule(which=any_of)
    def sets_a_mail_aside(self, which: int) -> None:
        worker, uid = self.one(which), self.read + 1
        kept = set_aside.Kept(b"raw", b"raw", ago(), "broken")
        act = set_aside.quarantine_mail
        if self.tries(worker, act, worker.lease, worker.checkpoint, self.place(uid), kept):
            self.kept["quarantined"] += 1
            self.read = uid

    @precondition(lambda self: self.workers)
    @rule(which=any_of, fails=st.booleans())
    def gives_it_back(self, which: int, fails: bool) -> None:
        worker = self.one(which)
        if fails:
            failure = (worker.lease, "network", "no answer", 600.0)
            done = self.tries(worker, leases.release_after_failure, *failure)
        else:
            done = self.tries(worker, leases.release_after_success, worker.lease, caught_up=True)
        if done is not None:
            self.holder, self.resting = None, fails

    # Time

    @precondition(lambda self: self.holder and not self.over)
    @rule()
    def the_lease_ends(self) -> None:
        self.set(lease_until=ago(minutes=1))
        self.over = True

    @precondition(lambda self: self.resting)
    @rule()
    def the_pause_is_over(self) -> None:
        self.set(next_sync_at=ago(minutes=1))
        self.resting = False

    # What always holds

    @invariant()
    def the_tables_say_what_the_model_says(self) -> None:
        if not hasattr(self, "mailbox"):
            return
        state = self.row(MailboxState)
        assert (state.lease_until is not None) == (self.holder is not None)
        assert state.lease_token == self.token
        ledger = self.desk.installation.rows(
            LedgerEntry, LedgerEntry.integration_id == self.mailbox
        )
        assert Counter(row.state for row in ledger) == +self.kept
        assert sorted(row.uid for row in ledger) == list(range(1, self.read + 1))
        own = InboxMessage.integration_id == self.mailbox
        assert self.desk.installation.count(InboxMessage, own) == self.kept["stored"]
        if self.token:
            assert self.row(FolderCheckpoint).last_uid == self.read

    # Reading and writing

    def tries(self, worker: Worker, act: Callable[..., Any], *more: Any, **named: Any) -> Any:
        """What the act returned, True for nothing; None when the mailbox is somebody else's."""
        try:
            done = db.write(act, *more, **named)
        except LeaseLost:
            assert worker is not self.holder, "the holder was turned away"
            self.reached[f"{act.__name__} too late"] += 1
            return None
        assert worker is self.holder, "somebody wrote who does not hold the mailbox"
        self.over = False  # work renews the lease
        self.reached[act.__name__] += 1
        return True if done is None else done

    def one(self, which: int) -> Worker:
        return self.workers[which % len(self.workers)]

    def place(self, uid: int) -> Place:
        return Place(self.mailbox, "INBOX", UIDVALIDITY, uid)

    def row(self, model: Any) -> Any:
        (row,) = self.desk.installation.rows(model, model.integration_id == self.mailbox)
        return row

    def set(self, **values: Any) -> None:
        self.desk.installation.set(MailboxState, self.mailbox, **values)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_no_history_of_the_leases_lets_a_late_worker_write(embedded_desk: Desk) -> None:
    LeaseMachine.desk, LeaseMachine.reached = embedded_desk, Counter()
    run_state_machine_as_test(
        LeaseMachine,
        settings=settings(
            max_examples=10,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    for what in ("ingest", "quarantine_mail", "release_after_success", "release_after_failure"):
        assert LeaseMachine.reached[what], what
        assert LeaseMachine.reached[f"{what} too late"], what
    assert LeaseMachine.reached["taken over"]
    assert LeaseMachine.reached["kept out"]
