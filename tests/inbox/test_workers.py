"""Several mailboxes at once, and each within its share of time, mails, bytes and connections."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa

from backend.app import db
from backend.app.inbox import sync
from backend.app.inbox.hosts import Hosts
from backend.app.mail.imap import MailboxConnection
from backend.app.models import InboxIntegration, InboxMessage, MailboxState
from backend.app.runtime import Report
from backend.app.store import leases
from tests.inbox.desk import Desk, ago


@pytest.fixture
def crowded(desk: Desk) -> Desk:
    """Four mailboxes with three mails each."""
    desk.installation.extra["SYNC_WORKERS"] = "4"
    for _ in range(3):
        desk.add_mailbox()
    for mailbox in desk.accounts:
        for number in range(3):
            desk.receive(desk.mail(f"{mailbox}-{number}"), mailbox=mailbox)
    return desk


def test_mailboxes_are_read_at_once(crowded: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    everybody = threading.Barrier(4, timeout=20)
    real = MailboxConnection.folders

    def folders(connection: MailboxConnection, *arguments: Any) -> Any:
        everybody.wait()  # none of the four goes on before all four are signed in
        return real(connection, *arguments)

    monkeypatch.setattr(MailboxConnection, "folders", folders)
    assert crowded.sync() == {"mailboxes": 4, "stored": 12}
    assert crowded.installation.count(InboxMessage) == 12
    for mailbox in crowded.accounts:
        assert crowded.ledger(mailbox) == {"stored": 3}
        assert crowded.state(mailbox).lease_until is None


def test_one_worker_reads_one_after_the_other(
    crowded: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowded.installation.extra["SYNC_WORKERS"] = "1"
    threads = set()
    real = MailboxConnection.folders

    def folders(connection: MailboxConnection, *arguments: Any) -> Any:
        threads.add(threading.current_thread())
        return real(connection, *arguments)

    monkeypatch.setattr(MailboxConnection, "folders", folders)
    assert crowded.sync() == {"mailboxes": 4, "stored": 12}
    assert threads == {threading.main_thread()}


def test_all_workers_stop_when_the_run_is_told_to(crowded: Desk) -> None:
    stopped = lambda: crowded.installation.count(InboxMessage) >= 2  # noqa: E731
    counts = crowded.sync(stopped)
    # Each worker finishes at most the mail at hand.
    assert 2 <= counts["stored"] <= 2 + 4
    assert [s.lease_until for s in crowded.installation.rows(MailboxState)] == [None] * 4
    assert crowded.sync()["stored"] == 12 - counts["stored"]


def test_an_error_of_one_worker_ends_the_run_and_leaves_the_others_whole(
    crowded: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sync.visit_mailbox

    def visit(visit: Any) -> None:
        if visit.lease.integration_id == crowded.mailbox:
            raise KeyError("a mistake of ours")
        real(visit)

    monkeypatch.setattr(sync, "visit_mailbox", visit)
    with pytest.raises(KeyError, match="a mistake of ours"):
        crowded.run()
    monkeypatch.undo()
    crowded.end_leases()
    crowded.sync()
    assert crowded.installation.count(InboxMessage) == 12


def test_the_report_counts_right_from_many_threads() -> None:
    report = Report()
    threads = [
        threading.Thread(target=lambda: [report.add("stored") for _ in range(2000)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert report.counts == {"stored": 16_000}


# -- connections of one host -------------------------------------------------------------------


def test_one_mail_server_gets_only_so_many_connections(embedded_desk: Desk) -> None:
    desk = embedded_desk
    elsewhere = desk.add_mailbox(imap_host="localhost")
    for _ in range(3):
        desk.add_mailbox()
    db.write(leases.add_missing_states)
    since = db.read(db.load_now)

    def claim() -> int | None:
        lease = db.write(leases.claim_due, "w", 60, since, None, None, 2)
        return lease and lease.integration_id

    claimed = [claim() for _ in range(4)]
    hosts = [row.imap_host for row in desk.installation.rows(InboxIntegration)]
    assert claimed[:3] == [desk.mailbox, elsewhere, elsewhere + 1]
    assert claimed[3] is None  # two of the host's four are being read
    assert hosts.count(desk.server.host) == 4
    desk.end_leases()
    assert claim() is not None


# -- bytes -------------------------------------------------------------------------------------


def test_a_mail_server_that_does_not_answer_keeps_others_waiting_three_times_only(
    embedded_desk: Desk,
) -> None:
    desk = embedded_desk
    desk.installation.extra["SYNC_WORKERS"] = "1"
    gone = [desk.add_mailbox() for _ in range(5)]
    for mailbox in gone:
        desk.installation.set(InboxIntegration, mailbox, imap_host="127.0.0.9")  # nobody listens
    last = desk.add_mailbox()
    desk.receive(desk.mail("waits behind them"), mailbox=last)

    assert desk.sync() == {"mailboxes": 5, "mailboxes_failed": 3, "stored": 1}

    untouched = desk.installation.rows(MailboxState, MailboxState.last_attempt_at.is_(None))
    assert [row.integration_id for row in untouched] == gone[3:]
    assert desk.sync() == {"mailboxes": 4, "mailboxes_failed": 2}  # their turn, and the two


def test_only_a_mail_server_that_lost_several_in_a_row_rests() -> None:
    hosts = Hosts()
    for lost in (True, True, False, True, True):
        hosts.note("imap.test", lost=lost)
        hosts.note("other.test", lost=False)
        assert hosts.resting == []
    hosts.note("imap.test", lost=True)
    assert hosts.resting == ["imap.test"]


def test_a_slice_ends_with_its_bytes(embedded_desk: Desk) -> None:
    desk = embedded_desk
    desk.installation.extra |= {"SYNC_SLICE_BYTES": "5000", "SYNC_BATCH_BYTES": "3000"}
    second = desk.add_mailbox()
    for number in range(6):
        for mailbox in (desk.mailbox, second):
            desk.receive(desk.mail(f"{mailbox}-{number}", text="x" * 2500), mailbox=mailbox)
    assert desk.sync()["stored"] == 12
    order = [m.integration_id for m in desk.installation.rows(InboxMessage)]
    assert order[:6] == [desk.mailbox] * 2 + [second] * 2 + [desk.mailbox] * 2


def test_a_mailbox_stops_for_the_day_and_tells(embedded_desk: Desk) -> None:
    desk = embedded_desk
    desk.installation.extra |= {"SYNC_DAILY_BYTES": "7000", "SYNC_BATCH_BYTES": "3000"}
    for number in range(4):
        desk.receive(desk.mail(f"mail {number}", text="x" * 2500))
    assert desk.sync() == {"mailboxes": 1, "stored": 2, "mailboxes_failed": 1}
    state = desk.state()
    assert state.error_kind == "allowance"
    assert "SYNC_DAILY_BYTES" in (state.error or "")
    assert 5000 < state.traffic_bytes < 7000
    assert state.next_sync_at > ago(minutes=-40)  # not each minute
    desk.end_pauses()
    assert desk.sync() == {"mailboxes": 1, "mailboxes_failed": 1}
    a_day_passes(desk)
    assert desk.sync()["stored"] == 2
    assert desk.state().error_kind is None
    assert desk.ledger() == {"stored": 4}


def a_day_passes(desk: Desk) -> None:
    yesterday = {"traffic_day": ago(days=1).date(), "next_sync_at": ago(minutes=1)}
    desk.installation.change(lambda s: s.execute(sa.update(MailboxState).values(**yesterday)))


def test_one_mail_larger_than_the_allowance_comes(embedded_desk: Desk) -> None:
    desk = embedded_desk
    desk.installation.extra["SYNC_DAILY_BYTES"] = "1000"
    desk.receive(desk.mail("large", text="x" * 5000))
    assert desk.sync() == {"mailboxes": 1, "stored": 1}
