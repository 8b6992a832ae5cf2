"""Two follow-ups that may go in one mail, in histories that nobody thought of.

Whatever the order in which workers, time, recovery, proof and people act: no second body of a step
goes out unless the first was refused or a person has said so, none with a member in it that has
ended, and while a mail may be out all of its steps stand alike.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from backend.app import db
from backend.app.errors import ClaimLost, NotSent
from backend.app.followups import claim, settle
from backend.app.models import AutoState, Followup, OutboxMail, OutboxState
from backend.app.operate.followup_actions import release_followup, stop_followup
from backend.app.operate.settlement import accept_as_sent, send_again
from backend.app.store.records import OutboxClaim
from tests.followups.histories import Histories, run_histories
from tests.followups.office import LEASE_SECONDS, Office
from tests.installation import ALWAYS_OPEN

MEMBERS = 3
CLAIMED = ("somebody_claims",)
BEGUN = (*CLAIMED, "one_begins")
# From where a history goes on as chance has it, and what has then happened for certain.
BEGINNINGS = {
    CLAIMED: "claimed 3",
    (*CLAIMED, "one_is_paid", "one_begins"): "dissolved",
    BEGUN: "begun 3",
    (*BEGUN, "one_hears_nothing"): "settle_uncertain of 3",
    (*BEGUN, "one_hears_nothing", "somebody_says_what_became_of_it"): "send_again",
}
OUT = ("sending", "uncertain", "sent")
which_member = st.integers(0, MEMBERS - 1)
which_worker = st.integers(0, 2)  # the first is the one that claimed last


class GroupMachine(Histories):
    """in_doubt: bodies of (follow-up, step) of which nobody has said that they did not arrive."""

    @initialize()
    def begin(self) -> None:
        self.reached["history"] += 1
        client = self.office.client(f"client{self.reached['history']}")
        add = self.office.installation.add_followup
        self.begin_with([add(self.office.company, client) for _ in range(MEMBERS)])
        self.claimed: list[OutboxClaim] = []
        self.out: list[OutboxClaim] = []
        self.in_doubt: Counter[tuple[int, int]] = Counter()
        self.ended: set[int] = set()
        for act in self.beginning:
            getattr(self, act)()

    @rule(which=which_member)
    def somebody_claims(self, which: int = 0) -> None:
        claimed = self.claims(self.followups[which])
        if claimed is not None:
            self.claimed.insert(0, claimed)
            self.reached[f"claimed {len(claimed.steps)}"] += 1

    @precondition(lambda self: self.claimed)
    @rule(which=which_worker)
    def one_begins(self, which: int = 0) -> None:
        claimed = self.claimed.pop(which % len(self.claimed))
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
        if isinstance(self.tries(settle.settle_refused, claimed, no, self.now), OutboxState):
            self.forget(claimed)

    @precondition(lambda self: self.out)
    @rule(which=which_worker)
    def one_hears_nothing(self, which: int = 0) -> None:
        """It stays out: the answer may come late."""
        claimed = self.out[which % len(self.out)]
        self.tries(settle.settle_uncertain, claimed, "silence", self.now, 24)

    @precondition(lambda self: self.claimed)
    @rule(which=which_worker)
    def one_is_put_off_before_the_body(self, which: int) -> None:
        claimed = self.claimed.pop(which % len(self.claimed))
        later = NotSent("450 later", permanent=False, code=450)
        self.tries(settle.settle_refused, claimed, later, self.now)

    @rule()
    def leases_end_and_a_run_recovers(self) -> None:
        self.end_leases()
        self.recover()
        assert not self.rows(OutboxMail.state.in_(["claimed", "sending"])), "left behind"

    @precondition(lambda self: self.uncertain())
    @rule(which=which_member, again=st.booleans())
    def somebody_says_what_became_of_it(self, which: int = 0, again: bool = True) -> None:
        uncertain = self.uncertain()
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
    def one_is_paid(self, which: int = 0) -> None:
        self.office.installation.set(Followup, self.followups[which], status="paid")
        self.ended.add(self.followups[which])

    @rule(which=which_member)
    def somebody_stops_one(self, which: int) -> None:
        self.says(stop_followup, self.followups[which])
        self.ended.add(self.followups[which])

    @rule(which=which_member)
    def somebody_releases_one(self, which: int) -> None:
        self.says(release_followup, self.followups[which])

    @invariant()
    def the_books_add_up(self) -> None:
        rows = {row.id: row for row in self.rows()}
        for row in rows.values():
            mail = rows[row.carried_by] if row.carried_by else row
            held = row.state in ("claimed", "sending")
            assert (row.owner is not None) == held
            if row.state in OUT:
                assert (mail.state, mail.carried_by) == (row.state, None), "of two minds"
            if row.state == "sent":
                assert self.copies(mail) == 1
        for member in self.followups:
            sent = {
                row.step
                for row in rows.values()
                if (row.followup_id, row.state) == (member, "sent")
            }
            assert self.office.followup(member).steps_sent == max(sent, default=0)
            assert Counter(self.history(member, "sent")) == Counter(sent)
            row = self.office.followup(member)
            assert row.auto_state == AutoState.ACTIVE.value or row.auto_reason

    def which(self, claimed: OutboxClaim) -> str:
        return str(len(claimed.steps))

    def forget(self, claimed: OutboxClaim) -> None:
        for step in claimed.steps:
            self.in_doubt[step.followup_id, step.step] -= 1


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("beginning", BEGINNINGS, ids=" ".join)
def test_no_history_of_a_group_sends_a_step_twice(
    office: Office, beginning: tuple[str, ...]
) -> None:
    rules = {**ALWAYS_OPEN, "invoice_unpaid": {"group": True}}
    office.installation.set_settings(office.company, {"followups": rules})
    reached = run_histories(GroupMachine, office, beginning, number=5, steps=12)
    assert reached[BEGINNINGS[beginning]] >= 5
