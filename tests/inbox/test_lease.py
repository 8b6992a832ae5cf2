"""One worker at a time reads a mailbox; a worker that wakes up late writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from backend.app import db
from backend.app.errors import LeaseLost
from backend.app.inbox import set_aside, visit
from backend.app.inbox.ingest import ingest
from backend.app.inbox.prepare import prepare
from backend.app.models import (
    Client,
    Conversation,
    FolderCheckpoint,
    InboxMessage,
    LedgerEntry,
    MailboxState,
    QuarantinedMail,
)
from backend.app.runtime import Run
from backend.app.store import checkpoints, leases
from backend.app.store.records import Checkpoint, Lease, Place
from tests.inbox.desk import Desk, Fetches, ago


def claim(owner: str, **selection: int) -> Lease | None:
    """By a run that began after every other: within one millisecond it would find nothing due."""
    since = db.read(db.load_now) + timedelta(seconds=1)
    return db.write(leases.claim_due, owner, 300, since, **selection)


@pytest.fixture
def leased(embedded_desk: Desk) -> Desk:
    """The mailbox can be claimed."""
    db.write(leases.add_missing_states)
    return embedded_desk


def taken(lease: Lease | None) -> Lease:
    assert lease is not None
    return lease


def test_a_second_worker_gets_nothing_while_the_lease_holds(leased: Desk) -> None:
    first = taken(claim("one"))
    assert claim("two") is None
    assert leased.sync() == {}
    state = leased.state()
    assert (state.lease_owner, state.lease_token) == ("one", first.token)


def test_after_the_lease_has_ended_another_takes_over(leased: Desk) -> None:
    first = taken(claim("one"))
    leased.end_leases()
    second = taken(claim("two"))
    assert second.token == first.token + 1
    leased.end_leases()
    leased.receive(leased.mail())
    assert leased.sync() == {"mailboxes": 1, "stored": 1}


def test_a_claim_counts_the_visits_that_never_gave_the_mailbox_back(leased: Desk) -> None:
    for before in (0, 1, 2):
        lease = taken(claim("one"))
        assert lease.abandoned == before
        leased.end_leases()
    db.write(leases.release_after_failure, taken(claim("two")), "network", "no answer", -1.0)
    lease = taken(claim("three"))
    assert lease.abandoned == 0
    db.write(leases.release_after_success, lease, caught_up=True)
    assert taken(claim("four")).abandoned == 0


def test_work_renews_the_lease(leased: Desk) -> None:
    lease = taken(claim("one"))
    leased.installation.set(MailboxState, leased.mailbox, lease_until=ago(seconds=-1))
    db.write(leases.hold_lease, lease)
    until = leased.state().lease_until
    assert until is not None
    assert until > ago(seconds=-290)


def test_a_lease_that_ran_out_unnoticed_is_renewed(leased: Desk) -> None:
    lease = taken(claim("one"))
    leased.end_leases()
    db.write(leases.hold_lease, lease)
    assert claim("two") is None


def late_lease(desk: Desk) -> tuple[Lease, Checkpoint]:
    """A lease that another worker has taken over since, and its checkpoint."""
    late = taken(claim("late"))
    checkpoint = db.write(checkpoints.start_checkpoint, late, "INBOX", 1, 0)
    desk.end_leases()
    taken(claim("other"))
    return late, checkpoint


RAW = b"From: jean@client.test\r\nSubject: late\r\nMessage-ID: <late@client.test>\r\n\r\nhello\r\n"


def place(desk: Desk) -> Place:
    return Place(desk.mailbox, "INBOX", 1, 5)


def late_ingest(desk: Desk, lease: Lease, checkpoint: Checkpoint) -> None:
    run = Run(desk.installation.settings, desk.installation.vault, "late", lambda: False)
    intake = db.write(visit.load_intake, run, lease)
    db.write(ingest, intake, checkpoint, place(desk), prepare(intake, RAW, ago()))


def late_quarantine(desk: Desk, lease: Lease, checkpoint: Checkpoint) -> None:
    kept = set_aside.Kept(RAW, RAW, ago(), "broken")
    db.write(set_aside.quarantine_mail, lease, checkpoint, place(desk), kept)


WRITES: dict[str, Callable[[Desk, Lease, Checkpoint], Any]] = {
    "ingest": late_ingest,
    "quarantine": late_quarantine,
    "gone": lambda desk, lease, checkpoint: db.write(
        set_aside.record_gone, lease, checkpoint, place(desk)
    ),
    "duplicates": lambda desk, lease, checkpoint: db.write(
        set_aside.record_duplicates, lease, {place(desk): 1}
    ),
    "checkpoint": lambda desk, lease, checkpoint: db.write(
        checkpoints.advance_past, lease, checkpoint, 9, 0
    ),
    "restart": lambda desk, lease, checkpoint: db.write(
        checkpoints.start_checkpoint, lease, "INBOX", 2, 0
    ),
    "success": lambda desk, lease, checkpoint: db.write(
        leases.release_after_success, lease, caught_up=True
    ),
    "failure": lambda desk, lease, checkpoint: db.write(
        leases.release_after_failure, lease, "network", "cut", 60.0
    ),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_late_worker_writes_nothing(
    leased: Desk, write: Callable[[Desk, Lease, Checkpoint], Any]
) -> None:
    lease, checkpoint = late_lease(leased)
    before = leased.state()
    with pytest.raises(LeaseLost):
        write(leased, lease, checkpoint)
    for model in (InboxMessage, Conversation, Client, LedgerEntry, QuarantinedMail):
        assert leased.installation.count(model) == 0
    (row,) = leased.installation.rows(FolderCheckpoint)
    assert (row.uidvalidity, row.last_uid) == (1, 0)
    after = leased.state()
    assert (after.lease_owner, after.lease_token) == ("other", lease.token + 1)
    assert (after.fresh_at, after.failures) == (before.fresh_at, before.failures)


def test_a_released_lease_is_over(leased: Desk) -> None:
    lease = taken(claim("one"))
    db.write(leases.release_after_success, lease, caught_up=True)
    with pytest.raises(LeaseLost):
        db.write(leases.hold_lease, lease)


def test_a_visit_that_is_overtaken_leaves_everything_to_the_other(
    embedded_desk: Desk, fetches: Fetches, caplog: pytest.LogCaptureFixture
) -> None:
    desk = embedded_desk
    desk.receive(desk.mail("question"))

    def overtake(_: list[int]) -> None:
        desk.end_leases()
        taken(claim("other"))

    fetches.before = overtake
    assert desk.sync() == {"mailboxes": 1}  # no failure: somebody else is at it
    assert desk.installation.count(InboxMessage) == 0
    state = desk.state()
    assert (state.lease_owner, state.failures, state.error_kind) == ("other", 0, None)
    assert "lease lost" in caplog.text
    fetches.before = lambda uids: None
    desk.end_leases()
    assert desk.sync() == {"mailboxes": 1, "stored": 1}


def test_the_mailbox_that_has_waited_longest_comes_first(leased: Desk) -> None:
    second = leased.add_mailbox()
    third = leased.add_mailbox()
    db.write(leases.add_missing_states)
    for mailbox, minutes in ((leased.mailbox, 1), (second, 3), (third, 2)):
        leased.installation.set(MailboxState, mailbox, last_attempt_at=ago(minutes=minutes))
    order = [taken(claim("one")).integration_id for _ in range(3)]
    assert order == [second, third, leased.mailbox]
    assert claim("one") is None


def test_a_mailbox_under_lease_keeps_nobody_back(leased: Desk) -> None:
    second = leased.add_mailbox()
    db.write(leases.add_missing_states)
    taken(claim("one"))
    leased.installation.set(MailboxState, leased.mailbox, last_attempt_at=ago(minutes=9))
    leased.installation.set(MailboxState, second, last_attempt_at=ago(minutes=5))
    assert taken(claim("two")).integration_id == second


def test_a_run_visits_each_mailbox_once(leased: Desk) -> None:
    leased.add_mailbox()
    assert leased.sync() == {"mailboxes": 2}


def test_a_checkpoint_never_goes_back(leased: Desk) -> None:
    lease = taken(claim("one"))
    checkpoint = db.write(checkpoints.start_checkpoint, lease, "INBOX", 1, 0)
    assert db.write(checkpoints.advance_checkpoint, checkpoint, 7)
    assert not db.write(checkpoints.advance_checkpoint, checkpoint, 7)
    assert not db.write(checkpoints.advance_checkpoint, checkpoint, 3)
    again = db.write(checkpoints.start_checkpoint, lease, "INBOX", 1, 0)
    assert again.last_uid == 7
    renumbered = db.write(checkpoints.start_checkpoint, lease, "INBOX", 2, 7)
    assert (renumbered.last_uid, renumbered.recognise_until) == (0, 7)
    # What still holds the old numbering moves nothing.
    assert not db.write(checkpoints.advance_checkpoint, checkpoint, 9)
