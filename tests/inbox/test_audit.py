"""The hourly audit: what the server has and the ledger has not is found, fetched and counted."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa

from backend.app.inbox import audit
from backend.app.inbox.audit import AuditCounts, count, find_missing
from backend.app.inbox.plan import audit_is_due
from backend.app.mail.imap import MailboxConnection
from backend.app.models import (
    FolderCheckpoint,
    InboxIntegration,
    InboxMessage,
    LedgerEntry,
    LedgerState,
    MailboxState,
)
from backend.app.store.records import Lease
from tests.inbox.desk import Desk, Fetches, ago, open_desk
from tests.installation import Installation, mail
from tests.servers.scripted_imap import ScriptedImapServer

STORED, IGNORED = LedgerState.STORED, LedgerState.IGNORED


def an_hour_passes(desk: Desk) -> None:
    past = {"audited_at": ago(hours=2)}
    desk.installation.change(lambda s: s.execute(sa.update(MailboxState).values(**past)))


def forget(desk: Desk, *subjects: str) -> None:
    """As if these mails had never been seen."""
    lost = [desk.message(subject).id for subject in subjects]

    def delete(session: sa.orm.Session) -> None:
        session.execute(sa.delete(LedgerEntry).where(LedgerEntry.message_id.in_(lost)))
        session.execute(sa.delete(InboxMessage).where(InboxMessage.id.in_(lost)))

    desk.installation.change(delete)


def audited(desk: Desk) -> dict[str, int]:
    """The last audit's counts that are not 0."""
    return {name: number for name, number in (desk.state().audit or {}).items() if number}


def test_an_audit_counts_every_mail_of_the_server(desk: Desk) -> None:
    raw = desk.mail("twice")
    desk.receive(raw)
    desk.receive(raw)
    desk.receive(desk.mail("old"), when=ago(days=90))
    desk.receive(desk.sent("jean@client.test"), folder="Sent")
    desk.sync()
    an_hour_passes(desk)
    assert desk.sync() == {"mailboxes": 1}
    assert audited(desk) == {"server": 4, "stored": 2, "duplicate": 1, "ignored": 1}


def test_an_audit_publishes_one_line(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.receive(desk.mail("one"))
    desk.sync()
    an_hour_passes(desk)
    with caplog.at_level(logging.INFO, "relance.sync"):
        desk.sync()
    (line,) = [record.getMessage() for record in caplog.records if " audit " in record.message]
    expected = "server=1 stored=1 duplicate=0 ignored=0 quarantined=0 missing=0"
    assert expected in line


def test_what_the_ledger_lacks_is_fetched(desk: Desk, fetches: Fetches) -> None:
    for subject in ("one", "two", "three"):
        desk.receive(desk.mail(subject))
    desk.sync()
    forget(desk, "two")
    an_hour_passes(desk)
    fetches.uids.clear()
    assert desk.sync() == {"mailboxes": 1, "stored": 1, "healed": 1}
    assert fetches.uids == desk.uids()[1:2]
    assert desk.subjects() == ["one", "three", "two"]
    assert audited(desk) == {"server": 3, "stored": 3, "healed": 1}


def test_an_audit_comes_once_an_hour(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    real = MailboxConnection.existing

    def existing(connection: MailboxConnection, low: int, high: int, *more: object) -> list[int]:
        asked.append((low, high))
        return real(connection, low, high, *more)  # type: ignore[arg-type]

    desk.receive(desk.mail("one"))
    desk.sync()
    monkeypatch.setattr(MailboxConnection, "existing", existing)
    desk.sync()
    assert asked == []
    an_hour_passes(desk)
    desk.sync()
    assert asked
    asked.clear()
    desk.sync()
    assert asked == []


@pytest.mark.parametrize(("database", "imap_server"), [("sqlite", "dovecot")], indirect=True)
def test_a_folder_that_did_not_change_is_not_compared_again(
    installation: Installation, imap_server: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = open_desk(installation, imap_server)
    desk.receive(desk.mail("one"))
    desk.sync()
    an_hour_passes(desk)
    desk.sync()
    an_hour_passes(desk)
    with monkeypatch.context() as patch:
        patch.setattr(MailboxConnection, "existing", lambda *_: pytest.fail("compared again"))
        desk.sync()
    assert audited(desk)["skipped"] >= 1
    desk.expunge(*desk.uids())  # a change without a new mail
    an_hour_passes(desk)
    desk.sync()
    assert audited(desk).get("server", 0) == 0


def test_an_audit_compares_the_newest_and_then_the_older_in_turn(
    embedded_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = embedded_desk
    subjects = [f"mail {number}" for number in range(10)]
    for subject in subjects:
        desk.receive(desk.mail(subject))
    desk.sync()
    monkeypatch.setattr(audit, "AUDIT_UIDS", 3)
    forget(desk, *subjects)
    healed = []
    for _ in range(3):
        an_hour_passes(desk)
        before = set(desk.subjects())
        desk.sync()
        healed.append(sorted(set(desk.subjects()) - before))
    # Three of the newest and three below at first; then three further down each time.
    assert healed == [subjects[4:], subjects[1:4], subjects[:1]]


@pytest.fixture
def server() -> Iterator[ScriptedImapServer]:
    with ScriptedImapServer() as running:
        yield running


@pytest.fixture
def odd_desk(installation: Installation, embedded_imap: object, server: ScriptedImapServer) -> Desk:
    desk = open_desk(installation, embedded_imap)
    place = {"imap_port": server.port, "imap_security": "plain"}
    desk.installation.set(InboxIntegration, desk.mailbox, **place)
    return desk


def put(server: ScriptedImapServer, uid: int, subject: str) -> None:
    raw = mail(sender="jean@client.test", to="us@dubois.test", subject=subject)
    server.folders["INBOX"].mails[uid] = raw


def test_a_uid_that_appears_late_is_found(odd_desk: Desk, server: ScriptedImapServer) -> None:
    put(server, 11, "one")
    put(server, 13, "three")
    odd_desk.sync()
    put(server, 12, "two")  # below what was read: no visit asks for it
    assert odd_desk.sync() == {"mailboxes": 1}
    an_hour_passes(odd_desk)
    assert odd_desk.sync() == {"mailboxes": 1, "stored": 1, "healed": 1}
    assert odd_desk.subjects() == ["one", "three", "two"]


def test_a_mail_that_was_said_to_be_gone_and_is_there_is_found(
    odd_desk: Desk, server: ScriptedImapServer
) -> None:
    put(server, 11, "one")
    odd_desk.sync()
    put(server, 12, "two")
    hidden = server.folders["INBOX"].mails

    def fetch(command: object) -> None:
        hidden.pop(12, None)  # gone when it is fetched

    raw = hidden[12]
    server.script["UID FETCH"] = fetch  # type: ignore[assignment]
    assert odd_desk.sync() == {"mailboxes": 1}
    server.script.clear()
    hidden[12] = raw
    an_hour_passes(odd_desk)
    assert odd_desk.sync() == {"mailboxes": 1, "stored": 1, "healed": 1}
    assert odd_desk.ledger() == {"stored": 2}


def test_a_mail_that_moved_from_spam_to_inbox_comes(desk: Desk) -> None:
    desk.server.create_folder(desk.account, "Spam")
    desk.receive(desk.mail("no spam"), folder="Spam", when=ago(hours=3))
    desk.receive(desk.mail("one"))
    assert desk.sync() == {"mailboxes": 1, "stored": 1}
    with desk.client() as client:
        client.select_folder("Spam")
        client.copy(client.search("ALL"), "INBOX")
    assert desk.sync() == {"mailboxes": 1, "stored": 1}
    assert desk.subjects() == ["no spam", "one"]


@pytest.mark.parametrize(
    ("connected", "audited", "due"),
    [(2, None, True), (0.5, None, False), (None, None, True), (9, 2, True), (9, 0.5, False)],
)
def test_an_audit_is_due_an_hour_after_the_last_or_the_connection(
    connected: float | None, audited: float | None, due: bool
) -> None:
    now = ago()
    moments = [None if h is None else now - timedelta(hours=h) for h in (connected, audited)]
    lease = Lease(1, 1, 1, 300, now, 0, None, *moments)
    assert audit_is_due(lease) is due


# -- the rules themselves ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "states", "left", "missing"),
    [
        ([], {}, set(), []),
        ([1, 2], {1: STORED}, set(), [2]),
        ([1, 2], {1: STORED}, {2}, []),
        ([1], {1: IGNORED}, set(), []),  # a person dropped it
        ([1], {1: STORED, 2: STORED}, set(), []),  # deleted on the server: nothing is missing
    ],
)
def test_missing(
    server: list[int], states: dict[int, LedgerState], left: set[int], missing: list[int]
) -> None:
    assert find_missing(server, states, left) == missing


def test_counts_add_up() -> None:
    states = {1: STORED, 2: LedgerState.DUPLICATE, 3: LedgerState.QUARANTINED, 4: IGNORED}
    found = count([1, 2, 3, 4, 5, 6], states, {5}, 0)
    assert found == AuditCounts(
        server=6, stored=1, duplicate=1, ignored=2, quarantined=1, missing=1
    )


# -- a server that renumbers at each visit -----------------------------------------------------


def test_a_server_that_renumbers_at_each_visit_is_read_and_visited_less_often(
    odd_desk: Desk, server: ScriptedImapServer
) -> None:
    desk = odd_desk
    for uid in range(11, 16):
        put(server, uid, f"mail {uid}")
    desk.sync()
    for visit in range(6):
        server.folders["INBOX"].uidvalidity += 1
        put(server, 20 + visit, f"new {visit}")
        counts = desk.sync()
        assert counts["stored"] == 1  # whatever the server does, new mail comes
        assert counts.get("duplicate", 0) == (5 + visit if visit < 2 else 0)
        assert counts.get("mailboxes_failed", 0) == (visit >= 2)
        desk.end_pauses()
    state = desk.state()
    assert (state.error_kind, state.failures) == ("renumbering", 4)
    assert len(desk.messages()) == 11
    # The ledger does not grow by the whole folder each time.
    assert desk.ledger() == {"stored": 11, "duplicate": 5 + 6}
    desk.sync()  # the server has come to rest
    state = desk.state()
    assert (state.error_kind, state.failures) == (None, 0)
    checkpoint = desk.installation.rows(FolderCheckpoint, FolderCheckpoint.name == "INBOX")
    assert [row.renumberings for row in checkpoint] == [0]
    an_hour_passes(desk)
    desk.sync()
    assert audited(desk) == {"server": 11, "stored": 1, "duplicate": 10, "healed": 10}
