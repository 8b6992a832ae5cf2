"""Two follow-ups that may go in one mail, in histories that nobody thought of.

Whatever the order in which workers, time, recovery, proof and people act: no second body of a step
goes out unless the first was refused or a person has said so, none with a member in it that has
ended, and while a mail may be out all of its steps stand alike.
"""

from __future__ import annotations

from collections import Counter
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
)
from backend.app.operate.followup_actions import release_followup, stop_followup
from backend.app.operate.settlement import accept_as_sent, send_again
from backend.app.runtime import Report, Run
from backend.app.store.records import OutboxClaim
from tests.followups.office import LEASE_SECONDS, Office, freshen
from tests.installation import ALWAYS_OPEN

PAST = datetime(2020, 1, 1, tzinfo=UTC)
MEMBERS = 3
CLAIMED = ("somebody_claims",)
BEGUN = (*CLAIMED, "one_begins")
# From where a history goes on as chance has it, and what has then happened for certain.
BEGINNINGS = {
    CLAIMED: "claimed 3",
    BEGUN: "begun 3",
    (*BEGUN, "one_hears_nothing"): "settle_uncertain of 3",
    (*BEGUN, "one_hears_nothing", "somebody_says_what_became_of_it"): "send_again",
}
OUT = ("sending", "uncertain", "sent")
which_member = st.integers(0, MEMBERS - 1)
which_worker = st.integers(0, 2)  # the first is the one that claimed last


class GroupMachine(RuleBasedStateMachine):
    """in_doubt: bodies of (follow-up, step) of which nobody has said that they did not arrive."""

    office: Office
    beginning: tuple[str, ...]
    reached: ClassVar[Counter[str]]

    @initialize()
    def begin(self) -> None:
        self.reached["history"] += 1
        client = self.office.client(f"client{self.reached['history']}")
        add = self.office.installation.add_followup
        self.members = [add(self.office.company, client) for _ in range(MEMBERS)]
        self.now = db.utc_now()
        self.claims: list[OutboxClaim] = []
        self.out: list[OutboxClaim] = []
        self.in_doubt: Counter[tuple[int, int]] = Counter()
        self.ended: set[int] = set()
        for act in self.beginning:
            getattr(self, act)()

    def teardown(self) -> None:
        if hasattr(self, "members"):
            for row in self.rows():  # so that recovery need not look at them in the next history
                self.set(row, state="failed", owner=None, lease_until=None)

    @rule(which=which_member)
    def somebody_claims(self, which: int = 0) -> None:
        freshen(self.office.installation, self.now)
        member = self.members[which]
        result = db.write(claim.claim_followup, member, "w", LEASE_SECONDS, self.now)
        if result is not None and result[1] is not None:
            self.claims.insert(0, result[1])
            self.reached[f"claimed {len(result[1].steps)}"] += 1

    @precondition(lambda self: self.claims)
    @rule(which=which_worker)
    def one_begins(self, which: int = 0) -> None:
        claimed = self.claims.pop(which % len(self.claims))
        try:
            stops = db.write(claim.begin_sending, claimed, LEASE_SECONDS, self.now)
        except ClaimLost:
            self.reached["too late"] += 1
            return
        if stops is not None:
            self.reached["dissolved"] += 1
            return
        self.out.insert(0, claimed)
        self.reached[f"begun {len(claimed.steps)}"] += 1
        for step in claimed.steps:
            assert step.followup_id not in self.ended, "it had ended before the body"
            self.in_doubt[step.followup_id, step.step] += 1
            assert self.in_doubt[step.followup_id, step.step] == 1, "a second body"

    @precondition(lambda self: self.out)
    @rule(which=which_worker)
    def one_hears_yes(self, which: int) -> None:
        self.tries(settle.settle_sent, self.out.pop(which % len(self.out)), self.now, reply="250")

    @precondition(lambda self: self.out)
    @rule(which=which_worker, permanent=st.booleans())
    def one_hears_no(self, which: int, permanent: bool) -> None:
        claimed, no = self.out.pop(which % len(self.out)), NotSent("no", permanent=permanent)
        if self.tries(settle.settle_refused, claimed, no, self.now):
            self.forget(claimed)

    @precondition(lambda self: self.out)
    @rule(which=which_worker)
    def one_hears_nothing(self, which: int = 0) -> None:
        """It stays out: the answer may come late."""
        claimed = self.out[which % len(self.out)]
        self.tries(settle.settle_uncertain, claimed, "silence", self.now, 24)

    @precondition(lambda self: self.claims)
    @rule(which=which_worker)
    def one_is_put_off_before_the_body(self, which: int) -> None:
        claimed = self.claims.pop(which % len(self.claims))
        later = NotSent("450 later", permanent=False, code=450)
        self.tries(settle.settle_refused, claimed, later, self.now)

    @rule()
    def leases_end_and_a_run_recovers(self) -> None:
        for row in self.rows(OutboxMail.lease_until.is_not(None)):
            self.set(row, lease_until=PAST)
        installation, report = self.office.installation, Report()
        run = Run(installation.settings, installation.vault, "r", lambda: False, lambda: self.now)
        recover.recover(run, report)
        assert not report.failed
        self.reached.update(report.counts)
        assert not self.rows(OutboxMail.state.in_(["claimed", "sending"])), "left behind"

    @rule(days=st.sampled_from([0, 2, 10]))
    def days_pass(self, days: int) -> None:
        self.now += timedelta(days=days, hours=13)
        for row in self.rows(OutboxMail.state == "uncertain"):
            self.set(row, sending_at=row.sending_at - timedelta(days=days, hours=13))

    @rule(which=which_member)
    def its_copy_in_sent_is_read(self, which: int) -> None:
        for row in self.rows(OutboxMail.state == "uncertain", OutboxMail.carried_by.is_(None)):
            self.file_copy(row)

    @precondition(lambda self: self.rows(OutboxMail.state == "uncertain"))
    @rule(which=which_member, again=st.booleans())
    def somebody_says_what_became_of_it(self, which: int = 0, again: bool = True) -> None:
        uncertain = self.rows(OutboxMail.state == "uncertain")
        row = uncertain[which % len(uncertain)]
        mail = row.carried_by or row.id
        act = send_again if again else accept_as_sent
        db.write(act, self.office.company, row.id, self.now, "Claire")
        self.reached[act.__name__] += 1
        if again:
            for each in uncertain:
                if mail in (each.id, each.carried_by):
                    self.in_doubt[each.followup_id, each.step] = 0

    @rule(which=which_member)
    def one_is_paid(self, which: int) -> None:
        self.office.installation.set(Followup, self.members[which], status="paid")
        self.ended.add(self.members[which])

    @rule(which=which_member)
    def somebody_stops_one(self, which: int) -> None:
        self.says(stop_followup, which)
        self.ended.add(self.members[which])

    @rule(which=which_member)
    def somebody_releases_one(self, which: int) -> None:
        self.says(release_followup, which)

    @invariant()
    def the_books_add_up(self) -> None:
        if not hasattr(self, "members"):
            return
        rows = {row.id: row for row in self.rows()}
        for row in rows.values():
            mail = rows[row.carried_by] if row.carried_by else row
            held = row.state in ("claimed", "sending")
            assert (row.owner is not None) == held
            if row.state in OUT:
                assert (mail.state, mail.carried_by) == (row.state, None), "of two minds"
            if row.state == "sent":
                key = InboxMessage.external_id == mail.message_id
                assert len(self.office.messages(key)) == 1
        for member in self.members:
            sent = {
                row.step
                for row in rows.values()
                if (row.followup_id, row.state) == (member, "sent")
            }
            assert self.office.followup(member).steps_sent == max(sent, default=0)
            assert Counter(self.written(member)) == Counter(sent)
            row = self.office.followup(member)
            assert row.auto_state == AutoState.ACTIVE.value or row.auto_reason

    # Reading and writing

    def tries(self, act: Any, claimed: OutboxClaim, *more: Any, **named: Any) -> Any:
        try:
            done = db.write(act, claimed, *more, **named)
        except ClaimLost:
            self.reached[f"{act.__name__} too late"] += 1
            return None
        self.reached[f"{act.__name__} of {len(claimed.steps)}"] += 1
        return done

    def says(self, act: Any, which: int) -> None:
        try:
            db.write(act, None, self.members[which], self.now, "Claire")
        except Refused:
            return

    def forget(self, claimed: OutboxClaim) -> None:
        for step in claimed.steps:
            self.in_doubt[step.followup_id, step.step] -= 1

    def written(self, member: int) -> list[int]:
        h = FollowupHistory
        sent = self.office.installation.rows(h, h.followup_id == member, h.status == "sent")
        return [row.step for row in sent]

    def rows(self, *conditions: Any) -> list[Any]:
        own = OutboxMail.followup_id.in_(self.members)
        return self.office.installation.rows(OutboxMail, own, *conditions)

    def set(self, row: Any, **values: Any) -> None:
        self.office.installation.set(OutboxMail, row.id, **values)

    def file_copy(self, row: Any) -> None:
        if self.office.messages(InboxMessage.external_id == row.message_id):
            return
        own = {"company_id": self.office.company}
        thread = Conversation(**own, client_id=row.client_id, thread_key=f"mail:{row.id}")
        message = InboxMessage(
            **own,
            conversation_id=self.office.installation.add(thread),
            external_id=row.message_id,
            fingerprint=row.fingerprint,
            from_key=self.office.account.address,
            is_from_client=False,
            kind="own",
            placement="own_reminder",
            sent_at=row.sending_at,
            arrived_at=row.sending_at,
        )
        self.office.installation.add(message)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("beginning", BEGINNINGS, ids=" ".join)
def test_no_history_of_a_group_sends_a_step_twice(
    office: Office, beginning: tuple[str, ...]
) -> None:
    rules = {**ALWAYS_OPEN, "invoice_unpaid": {"group": True}}
    office.installation.set_settings(office.company, {"followups": rules})
    GroupMachine.office, GroupMachine.beginning = office, beginning
    GroupMachine.reached = Counter()
    run_state_machine_as_test(
        GroupMachine,
        settings=settings(
            max_examples=5,
            stateful_step_count=12,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert GroupMachine.reached[BEGINNINGS[beginning]] >= 5
