"""Backlogs in slices, runs within their time, and not a mail lost at either end (I1, I5)."""

from __future__ import annotations

import pytest

from backend.app.models import FolderCheckpoint, InboxMessage, LedgerEntry
from tests.inbox.desk import Desk, Fetches


def order_of_mailboxes(desk: Desk) -> list[int]:
    """In which order the mailboxes' mails were stored, a run of one mailbox as one."""
    order: list[int] = []
    for message in desk.installation.rows(InboxMessage):
        if message.integration_id is not None and order[-1:] != [message.integration_id]:
            order.append(message.integration_id)
    return order


def test_two_backlogs_take_turns_and_all_arrives(desk: Desk) -> None:
    desk.installation.extra["SYNC_SLICE_MESSAGES"] = "10"
    second = desk.add_mailbox()
    for number in range(25):
        for mailbox in (desk.mailbox, second):
            desk.receive(desk.mail(f"{mailbox}-{number}"), mailbox=mailbox)
    assert desk.sync()["stored"] == 50
    assert order_of_mailboxes(desk)[:4] == [desk.mailbox, second, desk.mailbox, second]
    assert desk.ledger() == desk.ledger(second) == {"stored": 25}
    for mailbox in (desk.mailbox, second):
        state = desk.state(mailbox)
        assert state.backlog is False
        assert state.fresh_at is not None


def test_a_backlog_that_keeps_nobody_waiting_is_read_at_once(embedded_desk: Desk) -> None:
    desk = embedded_desk
    desk.installation.extra["SYNC_SLICE_MESSAGES"] = "4"
    for number in range(10):
        desk.receive(desk.mail(f"mail {number}"))
    assert desk.sync() == {"mailboxes": 1, "stored": 10}


def test_a_slice_leaves_the_mailbox_not_fresh(embedded_desk: Desk) -> None:
    desk = embedded_desk
    desk.installation.extra["SYNC_SLICE_MESSAGES"] = "4"
    second = desk.add_mailbox()
    for number in range(6):
        desk.receive(desk.mail(f"mail {number}"))
    counted = iter(range(100))

    def after_the_first_slice() -> bool:
        next(counted)
        return desk.installation.count(LedgerEntry) >= 4

    desk.sync(after_the_first_slice)
    state = desk.state()
    assert (state.backlog, state.fresh_at) == (True, None)
    assert desk.sync() == {"mailboxes": 2, "stored": 2}
    assert desk.state().fresh_at is not None
    assert desk.ledger(second) == {}


@pytest.mark.parametrize("read", [1, 3, 4])
def test_a_run_that_ends_in_the_middle_of_a_batch_loses_nothing(
    desk: Desk, fetches: Fetches, read: int
) -> None:
    desk.sync()  # what comes from now on is new mail
    fresh_at = desk.state().fresh_at
    for number in range(5):
        desk.receive(desk.mail(f"mail {number}"))
    desk.receive(desk.sent("jean@client.test", "sent"), folder="Sent")
    stop = lambda: desk.installation.count(LedgerEntry) >= read  # noqa: E731
    assert desk.sync(stop) == {"mailboxes": 1, "stored": read}
    uids = desk.uids()
    assert fetches.uids == uids  # the whole batch was fetched
    checkpoints = desk.installation.rows(FolderCheckpoint, FolderCheckpoint.name == "INBOX")
    assert [row.last_uid for row in checkpoints] == [uids[read - 1]]
    assert desk.state().fresh_at == fresh_at
    assert desk.sync() == {"mailboxes": 1, "stored": 6 - read}
    assert desk.ledger() == {"stored": 6}


def test_a_run_without_time_left_claims_nothing(embedded_desk: Desk) -> None:
    embedded_desk.receive(embedded_desk.mail())
    assert embedded_desk.sync(lambda: True) == {}
    assert embedded_desk.sync()["stored"] == 1


def test_batches_are_bounded_by_bytes(embedded_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = embedded_desk
    batches: list[list[int]] = []
    watch = Fetches(before=batches.append)
    watch.watch(monkeypatch)
    desk.installation.extra["SYNC_BATCH_BYTES"] = "5000"
    for size in (300, 9000, 300, 2200, 2200, 2200):
        desk.receive(desk.mail(text="x" * size))
    assert desk.sync()["stored"] == 6
    first = desk.uids()[0]
    assert [[uid - first for uid in batch] for batch in batches] == [[0], [1], [2, 3], [4, 5]]


def test_a_dry_run_counts_and_writes_nothing(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        desk.receive(desk.mail(f"mail {number}"))
    done = desk.installation.script("sync", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "would_fetch=3" in done.stderr
    assert desk.installation.count(LedgerEntry) == 0
    assert desk.installation.count(FolderCheckpoint) == 0
    assert capfd.readouterr().err == ""
