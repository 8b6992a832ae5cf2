"""What the models of the outbox have in common: time, recovery, proof, and reading the tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from backend.app import db
from backend.app.errors import ClaimLost, Refused
from backend.app.followups import claim, recover
from backend.app.models import Conversation, FollowupHistory, InboxMessage, OutboxMail, OutboxState
from backend.app.runtime import Report, Run
from backend.app.store.records import OutboxClaim
from tests.followups.office import LEASE_SECONDS, Office, freshen

PAST = datetime(2020, 1, 1, tzinfo=UTC)


class Histories(RuleBasedStateMachine):
    """Follow-ups whose steps go out, or not, in any order of events.

    beginning: how each history begins; it goes on as chance has it. reached: what happened in all
    histories together; a model that never acts proves nothing.
    """

    office: Office
    beginning: tuple[str, ...]
    reached: ClassVar[Counter[str]]
    followups: Sequence[int] = ()

    def begin_with(self, followups: Sequence[int]) -> None:
        self.followups = followups
        self.now = db.utc_now()

    def teardown(self) -> None:
        for row in self.rows():  # so that recovery need not look at them in the next history
            self.set(row, state=OutboxState.FAILED.value, owner=None, lease_until=None)

    # Time, recovery, the sync script

    @rule(days=st.sampled_from([0, 2, 10]))
    def days_pass(self, days: int = 6) -> None:
        self.now += timedelta(days=days, hours=13)
        for row in self.uncertain():
            self.set(row, sending_at=row.sending_at - timedelta(days=days, hours=13))

    @precondition(lambda self: self.uncertain())
    @rule()
    def its_copy_in_sent_is_read(self) -> None:
        for row in self.uncertain():
            if row.carried_by is None:
                self.file_copy(row)

    def end_leases(self) -> None:
        for row in self.rows(OutboxMail.lease_until.is_not(None)):
            self.set(row, lease_until=PAST)

    def recover(self) -> None:
        installation, report = self.office.installation, Report()
        run = Run(installation.settings, installation.vault, "r", lambda: False, lambda: self.now)
        recover.recover(run, report)
        assert not report.failed
        self.reached.update(report.counts)

    # Acts of workers and of people

    def claims(self, followup: int) -> OutboxClaim | None:
        freshen(self.office.installation, self.now)
        result = db.write(claim.claim_followup, followup, "w", LEASE_SECONDS, self.now)
        return None if result is None else result[1]

    def tries(self, act: Callable[..., Any], claimed: OutboxClaim, *more: Any, **named: Any) -> Any:
        """What the act returned; the error when the claim was lost."""
        try:
            done = db.write(act, claimed, *more, **named)
        except ClaimLost as lost:
            self.reached[f"{act.__name__} too late"] += 1
            return lost
        self.reached[f"{act.__name__} of {self.which(claimed)}"] += 1
        return done

    def which(self, claimed: OutboxClaim) -> str:
        """As `reached` names it."""
        raise NotImplementedError

    def says(self, act: Callable[..., Any], followup: int) -> None:
        try:
            db.write(act, None, followup, self.now, "Claire")
        except Refused:
            return

    # Reading and writing

    def rows(self, *conditions: Any) -> list[Any]:
        own = OutboxMail.followup_id.in_(self.followups)
        return self.office.installation.rows(OutboxMail, own, *conditions)

    def uncertain(self) -> list[Any]:
        return self.rows(OutboxMail.state == OutboxState.UNCERTAIN.value)

    def history(self, followup: int, status: str) -> list[int]:
        """The steps of which its history says so."""
        h = FollowupHistory
        found = self.office.installation.rows(h, h.followup_id == followup, h.status == status)
        return [row.step for row in found]

    def set(self, row: Any, **values: Any) -> None:
        self.office.installation.set(OutboxMail, row.id, **values)

    def copies(self, row: Any) -> int:
        """How many messages of the inbox are this mail."""
        return len(self.office.messages(InboxMessage.external_id == row.message_id))

    def file_copy(self, row: Any) -> None:
        if self.copies(row):
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


def run_histories(
    machine: type[Histories], office: Office, beginning: tuple[str, ...], number: int, steps: int
) -> Counter[str]:
    """So many histories with this beginning, of so many steps each. Returns what was reached."""
    machine.office, machine.beginning, machine.reached = office, beginning, Counter()
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=number,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return machine.reached
