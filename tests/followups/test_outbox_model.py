"""The outbox against a model, in histories that nobody thought of.

Workers claim, send, hear back or not, freeze and wake up late; leases end; recovery runs; proof
arrives; people say what they know. Whatever the order: no second body of a step goes out unless the
server has refused the first or a person has said so, and no step before the one before it is sent.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from backend.app import db
from backend.app.errors import NotSent
from backend.app.followups import claim, settle
from backend.app.models import AutoState, Followup, OutboxMail, OutboxState
from backend.app.operate.followup_actions import release_followup
from backend.app.operate.settlement import accept_as_sent, send_again
from backend.app.store.records import OutboxClaim
from tests.followups.histories import Histories, run_histories
from tests.followups.office import LEASE_SECONDS, Office, freshen


@dataclass
class Worker:
    """A worker with its claim. out: it has begun to send the body, and has heard nothing yet."""

    claimed: OutboxClaim
    out: bool = False


CLAIMED, BEGUN = ("somebody_claims",), ("somebody_claims_and_begins",)
KILLED = ("the_lease_ends", "a_run_recovers")
SILENT = (*BEGUN, "hears_nothing")
# From where a history goes on as chance has it, and what has then happened for certain.
BEGINNINGS: dict[tuple[str, ...], str] = {
    (): "history",
    CLAIMED: "somebody claimed",
    (*CLAIMED, *KILLED): "taken_back",
    BEGUN: "begin_sending of step 1",
    (*BEGUN, *KILLED): "uncertain",
    (*BEGUN, *KILLED, "days_pass", *BEGUN): "uncertain",
    (*BEGUN, "hears_no"): "settle_refused of step 1",
    (*BEGUN, "hears_yes", "days_pass", *BEGUN): "begin_sending of step 2",
    SILENT: "settle_uncertain of step 1",
    (*SILENT, "days_pass", *BEGUN): "settle_uncertain of step 1",
    (*SILENT, "its_copy_in_sent_is_read", "a_run_recovers"): "proven_sent",
    (*SILENT, "days_pass", "a_run_recovers"): "for_a_person",
    (*SILENT, "somebody_says_send_again"): "send again",
    (*SILENT, "somebody_says_send_again", *BEGUN, "hears_nothing"): "send again",
}
any_of = st.integers(0, 3)  # the first is the worker that claimed last


class OutboxMachine(Histories):
    """in_doubt: bodies of each step of which nobody has said that they did not arrive."""

    @initialize()
    def begin(self) -> None:
        self.reached["history"] += 1
        self.followup = self.office.reminder(f"client{self.reached['history']}")
        self.begin_with([self.followup])
        self.workers: list[Worker] = []
        self.in_doubt: Counter[int] = Counter()
        self.bodies: Counter[int] = Counter()
        self.sent: set[int] = set()
        for act in self.beginning:
            getattr(self, act)()
            self.the_books_add_up()

    def teardown(self) -> None:
        if self.followups:
            self.assert_it_goes_on_or_says_why()
        super().teardown()

    # Workers

    @precondition(lambda self: self.claimable())
    @rule()
    def somebody_claims(self) -> None:
        claimed = self.claims(self.followup)
        if claimed is not None:
            self.workers.insert(0, Worker(claimed))
            self.reached["somebody claimed"] += 1

    @precondition(lambda self: self.claimable())
    @rule()
    def somebody_claims_and_begins(self) -> None:
        before = len(self.workers)
        self.somebody_claims()
        if len(self.workers) > before:
            self.begins_the_body()

    @precondition(lambda self: self.those(out=False))
    @rule(which=any_of)
    def begins_the_body(self, which: int = 0) -> None:
        worker = self.one(which, out=False)
        if self.tries(claim.begin_sending, worker.claimed, LEASE_SECONDS, self.now) is not None:
            return
        step = worker.claimed.step
        worker.out = True
        self.bodies[step] += 1
        self.in_doubt[step] += 1
        assert self.in_doubt[step] == 1, "a second body without a word on the first"
        assert step == 1 or self.sent, "the second before the first"
        assert all(self.in_doubt[n] == 0 or n in self.sent for n in range(1, step)), "in doubt"

    @precondition(lambda self: self.those(out=True))
    @rule(which=any_of)
    def hears_yes(self, which: int = 0) -> None:
        worker = self.one(which, out=True)
        self.tries(settle.settle_sent, worker.claimed, self.now, reply="250 OK")
        worker.out = False

    @precondition(lambda self: self.those(out=True))
    @rule(which=any_of, permanent=st.booleans())
    def hears_no(self, which: int = 0, permanent: bool = False) -> None:
        worker, refused = self.one(which, out=True), NotSent("no", permanent=permanent)
        if isinstance(
            self.tries(settle.settle_refused, worker.claimed, refused, self.now), OutboxState
        ):
            self.in_doubt[worker.claimed.step] -= 1
        worker.out = False

    @precondition(lambda self: self.those(out=True))
    @rule(which=any_of)
    def hears_nothing(self, which: int = 0) -> None:
        """It stays `out`: the answer may come late."""
        worker = self.one(which, out=True)
        self.tries(settle.settle_uncertain, worker.claimed, "silence", self.now, 24)

    @precondition(lambda self: self.those(out=False))
    @rule(which=any_of, connected=st.booleans())
    def gets_not_as_far_as_the_body(self, which: int, connected: bool) -> None:
        worker = self.one(which, out=False)
        if connected:
            later = NotSent("450 later", permanent=False, code=450)
            self.tries(settle.settle_refused, worker.claimed, later, self.now)
        else:
            self.tries(settle.settle_mailbox_down, worker.claimed, "no", self.now)

    # Time and recovery

    @precondition(lambda self: self.rows(OutboxMail.lease_until.is_not(None)))
    @rule()
    def the_lease_ends(self) -> None:
        self.end_leases()

    @precondition(lambda self: self.uncertain() or not self.claimable())
    @rule()
    def a_run_recovers(self) -> None:
        self.recover()

    # People

    @precondition(lambda self: self.uncertain())
    @rule()
    def somebody_says_send_again(self) -> None:
        for row in self.uncertain():
            db.write(send_again, self.office.company, row.id, self.now, "Claire")
            self.in_doubt[row.step] = 0
            self.reached["send again"] += 1

    @precondition(lambda self: self.uncertain())
    @rule()
    def somebody_says_sent(self) -> None:
        for row in self.uncertain():
            db.write(accept_as_sent, self.office.company, row.id, self.now, "Claire")

    @rule()
    def somebody_releases_it(self) -> None:
        self.says(release_followup, self.followup)

    @rule(status=st.sampled_from(["paused", "pending"]))
    def the_company_edits_it(self, status: str) -> None:
        self.office.installation.set(Followup, self.followup, status=status)

    # What always holds

    @invariant()
    def the_books_add_up(self) -> None:
        rows = self.rows()
        sent = {row.step for row in rows if row.state == OutboxState.SENT.value}
        assert self.sent <= sent, "what was sent stays sent"
        self.sent = sent
        assert self.office.followup(self.followup).steps_sent == max(sent, default=0)
        skipped = set(self.history(self.followup, "skipped"))
        assert sent | skipped == set(range(1, max(sent, default=0) + 1))
        assert not sent & skipped
        assert sent <= set(self.bodies), "sent without a body"
        assert Counter(self.history(self.followup, "sent")) == Counter(sent)
        for row in rows:
            copies = self.copies(row)
            assert copies <= 1
            assert copies == 1 or row.step not in sent
            held = row.state in (OutboxState.CLAIMED.value, OutboxState.SENDING.value)
            assert (row.owner is not None) == held

    def assert_it_goes_on_or_says_why(self) -> None:
        """When every lease is over and a run has recovered, no reminder is stuck in silence."""
        self.the_lease_ends()
        self.a_run_recovers()
        row = self.office.followup(self.followup)
        states = [each.state for each in self.rows()]
        assert OutboxState.CLAIMED.value not in states
        assert OutboxState.SENDING.value not in states
        if row.auto_state != AutoState.ACTIVE.value:
            assert row.auto_reason
            return
        later = max(row.next_action_at, self.now) + timedelta(days=1)
        freshen(self.office.installation, later)
        assert db.write(claim.claim_followup, self.followup, "w", LEASE_SECONDS, later)

    # Reading and writing

    def which(self, claimed: OutboxClaim) -> str:
        return f"step {claimed.step}"

    def those(self, *, out: bool) -> list[Worker]:
        return [worker for worker in self.workers if worker.out == out]

    def one(self, which: int, *, out: bool) -> Worker:
        found = self.those(out=out)
        return found[which % len(found)]

    def claimable(self) -> bool:
        unfinished = [OutboxState.CLAIMED.value, OutboxState.SENDING.value]
        active = self.office.followup(self.followup).auto_state == AutoState.ACTIVE.value
        return active and not self.rows(OutboxMail.state.in_(unfinished))


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("beginning", BEGINNINGS, ids=" ".join)
def test_no_history_of_the_outbox_sends_a_step_twice(
    office: Office, beginning: tuple[str, ...]
) -> None:
    reached = run_histories(OutboxMachine, office, beginning, number=4, steps=15)
    assert reached[BEGINNINGS[beginning]] >= 4
