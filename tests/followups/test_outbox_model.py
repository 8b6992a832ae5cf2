"""The outbox against a model, in histories that nobody thought of.

Workers claim, send, hear back or not, freeze and wake up late; leases end; recovery runs; proof
arrives; people say what they know. Whatever the order: no second body of a step goes out unless the
server has refused the first or a person has said so, and no step before the one before it is sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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
from backend.app.errors import ClaimLost, NotSent, Refused
from backend.app.followups import claim, recover, settle
from backend.app.models import (
    AutoState,
    Conversation,
    Followup,
    FollowupHistory,
    InboxMessage,
    OutboxMail,
    OutboxState,
)
from backend.app.operate.followup_actions import release_followup
from backend.app.operate.settlement import accept_as_sent, send_again
from backend.app.runtime import Report, Run
from backend.app.store.records import OutboxClaim
from tests.followups.office import LEASE_SECONDS, Office, freshen

PAST = datetime(2020, 1, 1, tzinfo=UTC)


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


class OutboxMachine(RuleBasedStateMachine):
    """in_doubt: bodies of each step of which nobody has said that they did not arrive.

    reached: what happened in all histories together; a model that never acts proves nothing.
    """

    office: Office
    beginning: tuple[str, ...]
    reached: ClassVar[Counter[str]]

    @initialize()
    def begin(self) -> None:
        self.reached["history"] += 1
        self.followup = self.office.reminder(f"client{self.reached['history']}")
        self.now = db.utc_now()
        self.workers: list[Worker] = []
        self.in_doubt: Counter[int] = Counter()
        self.bodies: Counter[int] = Counter()
        self.sent: set[int] = set()
        for act in self.beginning:
            getattr(self, act)()
            self.the_books_add_up()

    def teardown(self) -> None:
        if hasattr(self, "followup"):
            self.assert_it_goes_on_or_says_why()
            for row in self.rows():  # so that recovery need not look at it in the next history
                self.set(row, state=OutboxState.FAILED.value, owner=None, lease_until=None)

    # Workers

    @precondition(lambda self: self.claimable())
    @rule()
    def somebody_claims(self) -> None:
        freshen(self.office.installation, self.now)
        result = db.write(claim.claim_followup, self.followup, "w", LEASE_SECONDS, self.now)
        if result is not None and result[1] is not None:
            self.workers.insert(0, Worker(result[1]))
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
        if self.tries(claim.begin_sending, worker, LEASE_SECONDS, self.now) is not None:
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
        self.tries(settle.settle_sent, worker, self.now, reply="250 OK")
        worker.out = False

    @precondition(lambda self: self.those(out=True))
    @rule(which=any_of, permanent=st.booleans())
    def hears_no(self, which: int = 0, permanent: bool = False) -> None:
        worker, refused = self.one(which, out=True), NotSent("no", permanent=permanent)
        if isinstance(self.tries(settle.settle_refused, worker, refused, self.now), OutboxState):
            self.in_doubt[worker.claimed.step] -= 1
        worker.out = False

    @precondition(lambda self: self.those(out=True))
    @rule(which=any_of)
    def hears_nothing(self, which: int = 0) -> None:
        """It stays `out`: the answer may come late."""
        worker = self.one(which, out=True)
        self.tries(settle.settle_uncertain, worker, "silence", self.now, 24)

    @precondition(lambda self: self.those(out=False))
    @rule(which=any_of, connected=st.booleans())
    def gets_not_as_far_as_the_body(self, which: int, connected: bool) -> None:
        worker = self.one(which, out=False)
        if connected:
            later = NotSent("450 later", permanent=False, code=450)
            self.tries(settle.settle_refused, worker, later, self.now)
        else:
            self.tries(settle.settle_mailbox_down, worker, "no", self.now)

    # Time, recovery, the sync script

    @precondition(lambda self: self.rows(OutboxMail.lease_until.is_not(None)))
    @rule()
    def the_lease_ends(self) -> None:
        for row in self.rows(OutboxMail.lease_until.is_not(None)):
            self.set(row, lease_until=PAST)

    @precondition(lambda self: self.uncertain() or not self.claimable())
    @rule()
    def a_run_recovers(self) -> None:
        installation, report = self.office.installation, Report()
        run = Run(installation.settings, installation.vault, "r", lambda: False, lambda: self.now)
        recover.recover(run, report)
        assert not report.failed
        self.reached.update(report.counts)

    @rule(days=st.sampled_from([0, 2, 10]))
    def days_pass(self, days: int = 6) -> None:
        self.now += timedelta(days=days, hours=13)
        for row in self.uncertain():
            self.set(row, sending_at=row.sending_at - timedelta(days=days, hours=13))

    @precondition(lambda self: self.uncertain())
    @rule()
    def its_copy_in_sent_is_read(self) -> None:
        for row in self.uncertain():
            self.file_copy(row)

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
        try:
            db.write(release_followup, None, self.followup, self.now, "Claire")
        except Refused:
            return

    @rule(status=st.sampled_from(["paused", "pending"]))
    def the_company_edits_it(self, status: str) -> None:
        self.office.installation.set(Followup, self.followup, status=status)

    # What always holds

    @invariant()
    def the_books_add_up(self) -> None:
        if not hasattr(self, "followup"):
            return
        rows = self.rows()
        sent = {row.step for row in rows if row.state == OutboxState.SENT.value}
        assert self.sent <= sent, "what was sent stays sent"
        self.sent = sent
        assert self.office.followup(self.followup).steps_sent == max(sent, default=0)
        skipped = {row.step for row in self.history() if row.status == "skipped"}
        assert sent | skipped == set(range(1, max(sent, default=0) + 1))
        assert not sent & skipped
        assert sent <= set(self.bodies), "sent without a body"
        written = Counter(row.step for row in self.history() if row.status == "sent")
        assert written == Counter(sent)
        for row in rows:
            copies = self.office.messages(InboxMessage.external_id == row.message_id)
            assert len(copies) <= 1
            assert len(copies) == 1 or row.step not in sent
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

    def tries(self, act: Callable[..., Any], worker: Worker, *more: Any, **named: Any) -> Any:
        """What the act returned; the error when the claim was lost."""
        try:
            done = db.write(act, worker.claimed, *more, **named)
        except ClaimLost as lost:
            self.reached[f"{act.__name__} too late"] += 1
            return lost
        self.reached[f"{act.__name__} of step {worker.claimed.step}"] += 1
        return done

    def those(self, *, out: bool) -> list[Worker]:
        return [worker for worker in self.workers if worker.out == out]

    def one(self, which: int, *, out: bool) -> Worker:
        found = self.those(out=out)
        return found[which % len(found)]

    def claimable(self) -> bool:
        unfinished = [OutboxState.CLAIMED.value, OutboxState.SENDING.value]
        active = self.office.followup(self.followup).auto_state == AutoState.ACTIVE.value
        return active and not self.rows(OutboxMail.state.in_(unfinished))

    def uncertain(self) -> list[Any]:
        return self.rows(OutboxMail.state == OutboxState.UNCERTAIN.value)

    def rows(self, *conditions: Any) -> list[Any]:
        own = OutboxMail.followup_id == self.followup
        return self.office.installation.rows(OutboxMail, own, *conditions)

    def history(self) -> list[Any]:
        own = FollowupHistory.followup_id == self.followup
        return self.office.installation.rows(FollowupHistory, own)

    def set(self, row: Any, **values: Any) -> None:
        self.office.installation.set(OutboxMail, row.id, **values)

    def file_copy(self, row: Any) -> None:
        if self.office.messages(InboxMessage.external_id == row.message_id):
            return
        installation, company = self.office.installation, self.office.company
        key = f"mail:{row.id}"
        conversation = installation.add(
            Conversation(company_id=company, client_id=row.client_id, thread_key=key)
        )
        installation.add(
            InboxMessage(
                company_id=company,
                conversation_id=conversation,
                external_id=row.message_id,
                fingerprint=row.fingerprint,
                from_key=self.office.account.address,
                is_from_client=False,
                kind="own",
                placement="own_reminder",
                sent_at=row.sending_at,
                arrived_at=row.sending_at,
            )
        )


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("beginning", BEGINNINGS, ids=" ".join)
def test_no_history_of_the_outbox_sends_a_step_twice(
    office: Office, beginning: tuple[str, ...]
) -> None:
    OutboxMachine.office, OutboxMachine.beginning = office, beginning
    OutboxMachine.reached = Counter()
    run_state_machine_as_test(
        OutboxMachine,
        settings=settings(
            max_examples=4,
            stateful_step_count=15,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert OutboxMachine.reached[BEGINNINGS[beginning]] >= 4
