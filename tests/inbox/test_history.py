"""The first sync of a mailbox: the newest mail first, back to a horizon, as answered history."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa

from backend.app import db
from backend.app.followups.situation import (
    Situation,
    answer_may_be_left,
    load_gate,
    load_situation,
)
from backend.app.inbox import folder
from backend.app.inbox.plan import (
    Stretch,
    goes_further_back,
    history_since,
    plan_stretches,
    windows_down,
)
from backend.app.models import CompanySettings, FolderCheckpoint, InboxIntegration, LedgerEntry
from backend.app.store import mailboxes
from tests.inbox.desk import CLIENT, Desk, Fetches, Killed, ago, date_header


def receive(desk: Desk, subject: str, days: float, **more: str) -> None:
    """A mail that arrived so many days ago, in INBOX."""
    raw = desk.mail(subject, **more)
    when = ago(days=days)
    lines = raw.split(b"\r\n")
    dated = [f"Date: {date_header(when)}".encode() if x[:6] == b"Date: " else x for x in lines]
    desk.receive(b"\r\n".join(dated), when=when)


def inbox_checkpoint(desk: Desk) -> FolderCheckpoint:
    (found,) = desk.installation.rows(FolderCheckpoint, FolderCheckpoint.name == "INBOX")
    assert isinstance(found, FolderCheckpoint)
    return found


def horizon(*mailbox_ids: int) -> date | None:
    """Mail from before this day was left on a server."""
    look, given = mailboxes.history_since(len(mailbox_ids)), mailboxes.named(mailbox_ids)
    found: date | None = db.read(lambda s: s.scalar(look, given))
    return found


def fresh_at(*mailbox_ids: int) -> datetime | None:
    """When the one of these mailboxes that was read longest ago was read."""
    look, given = mailboxes.fresh_at(len(mailbox_ids)), mailboxes.named(mailbox_ids)
    found: datetime | None = db.read(lambda s: s.scalar(look, given))
    return found


def may_be_left(situation: Situation) -> bool:
    gate = db.read(load_gate, situation, 1)
    return answer_may_be_left(gate, situation.followup)


@pytest.fixture
def small_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "CHUNK_MAILS", 2)
    monkeypatch.setattr(folder, "WINDOW_UIDS", 5)


def test_the_newest_mail_comes_first(desk: Desk, small_stretches: None) -> None:
    for days in (6, 5, 4, 3, 2):
        receive(desk, f"{days} days old", days)
    assert desk.sync() == {"mailboxes": 1, "stored": 5}
    order = [message.subject[0] for message in desk.messages()]
    # Two at once, and within these the older one first, so that answers find what they answer.
    assert order == ["3", "2", "5", "4", "6"]


def test_mail_older_than_the_horizon_stays_on_the_server(desk: Desk, fetches: Fetches) -> None:
    for days in (400, 45, 20, 2):
        receive(desk, f"{days} days old", days)
    assert desk.sync() == {"mailboxes": 1, "stored": 2}
    assert desk.subjects() == ["2 days old", "20 days old"]
    assert fetches.uids == desk.uids()[2:]
    checkpoint = inbox_checkpoint(desk)
    assert (checkpoint.history_uid, checkpoint.history_left) == (0, 2)
    assert desk.sync() == {"mailboxes": 1}
    assert desk.state().fresh_at is not None


def test_old_mail_comes_as_read_and_answered(desk: Desk) -> None:
    receive(desk, "last week", 7)
    desk.receive(desk.mail("an hour ago"), when=ago(hours=1))
    assert desk.sync() == {"mailboxes": 1, "stored": 2}
    found = {c.subject: (c.status, c.unread_count) for c in desk.conversations()}
    assert found == {"last week": ("closed", 0), "an hour ago": ("open", 1)}
    assert desk.message("last week").read
    assert not desk.message("an hour ago").read


def test_an_answer_reopens_the_history_it_belongs_to(desk: Desk) -> None:
    receive(desk, "last week", 7, message_id="<old@client.test>")
    desk.sync()
    desk.receive(desk.reply("old@client.test", "Re: last week"))
    assert desk.sync() == {"mailboxes": 1, "stored": 1}
    conversation = desk.conversation()
    assert (conversation.status, conversation.unread_count) == ("open", 1)


def test_old_mail_that_is_moved_in_later_is_read_too(desk: Desk) -> None:
    desk.sync()
    receive(desk, "from the archive", 400)
    assert desk.sync() == {"mailboxes": 1, "stored": 1}
    assert desk.message("from the archive").read


def test_new_mail_goes_before_history(
    desk: Desk, small_stretches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for days in (5, 4, 3, 2):
        receive(desk, f"{days} days old", days)
    desk.sync(lambda: desk.installation.count(LedgerEntry) >= 2)
    desk.receive(desk.mail("new"))
    desk.sync()
    assert [m.subject for m in desk.messages()] == [
        "3 days old",
        "2 days old",
        "new",
        "5 days old",
        "4 days old",
    ]


def test_the_mailbox_is_not_fresh_while_history_is_unread(
    desk: Desk, small_stretches: None
) -> None:
    for days in (5, 4, 3, 2):
        receive(desk, f"{days} days old", days)
    desk.sync(lambda: desk.installation.count(LedgerEntry) >= 2)
    state = desk.state()
    assert (state.backlog, state.fresh_at) == (True, None)
    assert desk.sync() == {"mailboxes": 1, "stored": 2}
    assert desk.state().fresh_at is not None


def test_a_horizon_that_moves_forward_while_history_is_read_is_recorded(
    desk: Desk, small_stretches: None
) -> None:
    for days in (25, 20, 5, 4, 3, 2):
        receive(desk, f"{days} days old", days)
    desk.sync(lambda: desk.installation.count(LedgerEntry) >= 2)
    desk.installation.set(InboxIntegration, desk.mailbox, history_days=10)
    assert desk.sync() == {"mailboxes": 1, "stored": 2}
    assert inbox_checkpoint(desk).history_left == 2
    assert horizon(desk.mailbox) == ago(days=10).date()


@pytest.mark.parametrize("killed_at", [1, 2, 3, 4, 5])
def test_a_first_sync_that_is_killed_goes_on_where_it_was(
    desk: Desk,
    fetches: Fetches,
    small_stretches: None,
    monkeypatch: pytest.MonkeyPatch,
    killed_at: int,
) -> None:
    for days in (60, 6, 5, 4, 3, 2):
        receive(desk, f"{days} days old", days)
    desk.installation.extra["SYNC_BATCH_BYTES"] = "1"  # each mail is a batch by itself
    asked: list[int] = []

    def kill(uids: list[int]) -> None:
        asked.extend(uids)
        if len(asked) == killed_at:
            raise Killed

    fetches.before = kill
    desk.kill()
    assert desk.ledger() == ({"stored": killed_at - 1} if killed_at > 1 else {})
    assert desk.sync()["stored"] == 6 - killed_at
    assert desk.ledger() == {"stored": 5}
    assert len(asked) == 6  # one more than there are: the one at which it was killed
    assert inbox_checkpoint(desk).history_left == 1


@pytest.mark.parametrize("where", ["mailbox", "installation"])
def test_a_horizon_that_is_moved_back_brings_what_was_left(
    desk: Desk, fetches: Fetches, where: str
) -> None:
    for days in (400, 45, 20):
        receive(desk, f"{days} days old", days)
    assert desk.sync()["stored"] == 1
    if where == "mailbox":
        desk.installation.set(InboxIntegration, desk.mailbox, history_days=90)
    else:
        desk.installation.extra["SYNC_HISTORY_DAYS"] = "90"
    fetches.uids.clear()
    assert desk.sync() == {"mailboxes": 1, "stored": 1}
    assert fetches.uids == desk.uids()[1:2]
    assert desk.subjects() == ["20 days old", "45 days old"]
    assert inbox_checkpoint(desk).history_left == 1
    assert desk.sync() == {"mailboxes": 1}


def test_the_horizon_holds_after_a_renumbering(desk: Desk, fetches: Fetches) -> None:
    for days in (400, 20):
        receive(desk, f"{days} days old", days)
    assert desk.sync()["stored"] == 1
    desk.server.new_uidvalidity(desk.account)
    receive(desk, "new", 0)
    fetches.uids.clear()
    assert desk.sync() == {"mailboxes": 1, "duplicate": 1, "stored": 1}
    assert fetches.uids == desk.uids()[-1:]
    assert desk.subjects() == ["20 days old", "new"]
    assert not desk.message("new").read
    assert inbox_checkpoint(desk).history_left == 1


def test_sent_mail_has_the_same_horizon(desk: Desk) -> None:
    desk.receive(desk.sent(CLIENT, "long ago"), folder="Sent", when=ago(days=90))
    desk.receive(desk.sent(CLIENT, "last week"), folder="Sent", when=ago(days=7))
    assert desk.sync() == {"mailboxes": 1, "stored": 1}
    assert desk.subjects() == ["last week"]


def test_what_a_reminder_must_know_of_the_history(embedded_desk: Desk) -> None:
    desk = embedded_desk
    receive(desk, "20 days old", 20)
    desk.sync()
    assert horizon(desk.mailbox) is None  # nothing was left behind it
    desk.installation.set(InboxIntegration, desk.mailbox, history_days=10)
    second = desk.add_mailbox(history_days=10)
    desk.receive(desk.mail("45 days old"), mailbox=second, when=ago(days=45))
    desk.sync()
    assert horizon(desk.mailbox, second) == horizon(second) == ago(days=10).date()
    assert horizon(desk.mailbox) is None
    apart = [at for at in (fresh_at(desk.mailbox), fresh_at(second)) if at]
    assert (fresh_at(desk.mailbox, second), len(apart)) == (min(apart), 2)
    unread = sa.update(FolderCheckpoint).values(history_uid=3)
    of_second = FolderCheckpoint.integration_id == second
    desk.installation.change(lambda s: s.execute(unread.where(of_second)))
    assert fresh_at(second) is None
    assert fresh_at(desk.mailbox) is not None
    assert fresh_at(desk.mailbox, second) is None  # an answer may lie in either


def test_a_reminder_is_held_when_its_answer_may_lie_beyond_the_horizon(
    embedded_desk: Desk,
) -> None:
    desk, installation = embedded_desk, embedded_desk.installation
    receive(desk, "the answer", 45)
    installation.set(InboxIntegration, desk.mailbox, smtp_host="smtp.test")
    client = installation.add_client(desk.company, "jean@client.test")
    old = installation.add_followup(desk.company, client, created_at=ago(days=60))
    recent = installation.add_followup(desk.company, client, created_at=ago(days=2))
    desk.sync()

    def look(followup: int) -> Situation:
        return db.read(lambda s: load_situation(s, followup, datetime.now(UTC)))

    assert may_be_left(look(old))
    assert not may_be_left(look(recent))
    installation.set(InboxIntegration, desk.mailbox, history_days=90)
    desk.sync()
    assert not may_be_left(look(old))
    assert look(old).facts.answered_at is not None


def test_a_reminder_is_held_when_its_answer_may_lie_beyond_the_horizon_of_its_reply_to(
    embedded_desk: Desk,
) -> None:
    desk, installation = embedded_desk, embedded_desk.installation
    second = desk.add_mailbox()
    desk.receive(desk.mail("the answer"), mailbox=second, when=ago(days=45))
    installation.set(InboxIntegration, desk.mailbox, smtp_host="smtp.test")
    [reads] = installation.rows(InboxIntegration, InboxIntegration.id == second)
    document = {"followups": {"mail": {"reply_to": reads.email}}}
    installation.change(
        lambda s: s.merge(CompanySettings(company_id=desk.company, settings=document))
    )
    client = installation.add_client(desk.company, "jean@client.test")
    followup = installation.add_followup(desk.company, client, created_at=ago(days=60))
    desk.sync()
    situation = db.read(lambda s: load_situation(s, followup, datetime.now(UTC)))
    assert situation.mailbox_id == desk.mailbox
    assert may_be_left(situation)


def test_progress_is_told_as_history_comes(embedded_desk: Desk) -> None:
    desk = embedded_desk
    for days in (60, 6, 5):
        receive(desk, f"{days} days old", days)
    told: list[tuple[str, int]] = []

    class Told:
        def expect(self, mailbox: int, mails: int) -> None:
            told.append(("expect", mails))

        def advance(self, mailbox: int, mails: int = 1) -> None:
            told.append(("advance", mails))

    desk.progress = Told()
    desk.sync()
    assert told == [("expect", 2), ("advance", 1), ("advance", 1)]


def test_a_dry_run_counts_only_what_the_horizon_allows(embedded_desk: Desk) -> None:
    desk = embedded_desk
    for days in (60, 6, 5):
        receive(desk, f"{days} days old", days)
    done = desk.installation.script("sync", "--dry-run")
    assert "would_fetch=2" in done.stderr


# -- the rules themselves ----------------------------------------------------------------------

NOON = datetime.fromisoformat("2026-11-24T12:00:00+00:00")


@pytest.mark.parametrize(
    ("connected_at", "days", "since"),
    [
        (NOON, 30, date(2026, 10, 25)),
        (NOON, 1, date(2026, 11, 23)),
        (None, 30, None),
        (NOON, 100 * 365, None),  # servers need not understand a date before 1970
        (NOON, 10**7, None),
    ],
)
def test_horizon(connected_at: datetime | None, days: int, since: date | None) -> None:
    assert history_since(connected_at, days) == since


A_DAY = date(2026, 10, 25)


@pytest.mark.parametrize(
    ("wanted", "read", "further"),
    [
        (A_DAY, A_DAY, False),
        (A_DAY - timedelta(days=1), A_DAY, True),
        (A_DAY + timedelta(days=1), A_DAY, False),
        (None, A_DAY, True),
        (A_DAY, None, False),
        (None, None, False),
    ],
)
def test_a_horizon_only_moves_back(wanted: date | None, read: date | None, further: bool) -> None:
    assert goes_further_back(wanted, read) is further


@pytest.mark.parametrize(
    ("last", "ranges"),
    [(0, []), (1, [(1, 1)]), (10, [(1, 10)]), (11, [(2, 11), (1, 1)]), (20, [(11, 20), (1, 10)])],
)
def test_windows_go_down_to_the_first_uid(last: int, ranges: list[tuple[int, int]]) -> None:
    assert list(windows_down(last, 10)) == ranges


@pytest.mark.parametrize(
    ("existing", "wanted", "stretches"),
    [
        ([], [], [Stretch((), 1, 0)]),
        ([4, 5], [], [Stretch((), 1, 2)]),
        ([3], [3], [Stretch((3,), 1, 0)]),
        ([2, 3, 4, 5], [3, 4, 5], [Stretch((4, 5), 4, 0), Stretch((3,), 1, 1)]),
        ([2, 3, 4, 9], [2, 9], [Stretch((2, 9), 1, 2)]),
        ([1, 2, 3, 4, 5], [1, 4, 5], [Stretch((4, 5), 4, 0), Stretch((1,), 1, 2)]),
        # A mail that came into the answer to the second question only counts as nothing left.
        ([2], [2, 3], [Stretch((2, 3), 1, 0)]),
    ],
)
def test_stretches(existing: list[int], wanted: list[int], stretches: list[Stretch]) -> None:
    assert list(plan_stretches(existing, wanted, 1, 2)) == stretches


def test_every_uid_of_a_window_is_read_or_counted_once() -> None:
    existing = list(range(1, 100))
    wanted = [uid for uid in existing if uid % 3]
    found = list(plan_stretches(existing, wanted, 1, 7))
    assert sorted(uid for stretch in found for uid in stretch.uids) == wanted
    assert sum(stretch.left for stretch in found) == 33
