"""Whatever a server does in between, what is stored in the end is what it holds, each mail once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from backend.app.models import InboxIntegration
from tests.inbox.desk import CLIENT, Desk, open_desk
from tests.installation import Installation, mail
from tests.servers.scripted_imap import Command, Folder, Reply, ScriptedImapServer, fetch_row

UIDS = range(11, 17)


@pytest.fixture
def server() -> Iterator[ScriptedImapServer]:
    with ScriptedImapServer() as running:
        yield running


@pytest.fixture
def odd_desk(installation: Installation, embedded_imap: object, server: ScriptedImapServer) -> Desk:
    """A company whose mailbox lies on the scripted server, with six mails, two in each batch."""
    desk = open_desk(installation, embedded_imap)
    place = {"imap_port": server.port, "imap_security": "plain"}
    installation.set(InboxIntegration, desk.mailbox, **place)
    installation.extra |= {"SYNC_BATCH_BYTES": "2500", "SYNC_LEASE_SECONDS": "2"}
    for uid in UIDS:
        put(server, uid)
    return desk


@pytest.fixture(params=["history", "new mail"])
def known(request: pytest.FixtureRequest, odd_desk: Desk, server: ScriptedImapServer) -> Desk:
    """The mails are there when the mailbox is connected, or come later."""
    if request.param == "new mail":
        mails = dict(server.folders["INBOX"].mails)
        server.folders["INBOX"].mails.clear()
        put(server, 10)
        odd_desk.sync()
        server.folders["INBOX"].mails |= mails
    return odd_desk


def put(server: ScriptedImapServer, uid: int) -> None:
    raw = mail(sender=CLIENT, to="us@dubois.test", subject=f"mail {uid}", text="x" * 800)
    server.folders["INBOX"].mails[uid] = raw


def asks_for_bodies(command: Command) -> bool:
    return b"BODY.PEEK[]" in command.arguments


def rows(server: ScriptedImapServer, command: Command) -> list[bytes]:
    uids, _, items = command.arguments.partition(b" ")
    return list(server.rows(server.folders["INBOX"], uids, items))


@dataclass
class Once:
    """A fault that strikes at the n-th asking for bodies, and never again."""

    fault: Callable[[Command], Reply]
    at: int = 2
    asked: int = 0

    def __call__(self, command: Command) -> Reply | None:
        self.asked += asks_for_bodies(command)
        return self.fault(command) if asks_for_bodies(command) and self.asked == self.at else None


def until_calm(desk: Desk, visits: int = 12) -> None:
    """Visits until one leaves nothing behind, as if every back-off were over."""
    for _ in range(visits):
        desk.end_pauses()
        desk.end_leases()
        report = desk.run()
        state = desk.state()
        if not report.failed and not state.backlog and state.fresh_at is not None:
            return
    raise AssertionError(f"still not calm: {desk.state().error}")


def held(server: ScriptedImapServer) -> Counter[str]:
    return Counter(f"mail {uid}" for uid in server.folders["INBOX"].mails)


def assert_stored_is_held(desk: Desk, server: ScriptedImapServer) -> None:
    until_calm(desk)
    assert Counter(desk.subjects()) == held(server)
    assert desk.sync() == {"mailboxes": 1}  # and it stays so


def test_a_connection_that_breaks_in_a_literal(known: Desk, server: ScriptedImapServer) -> None:
    def cut(command: Command) -> Reply:
        whole = b"\r\n".join(rows(server, command))
        return Reply(whole[: len(whole) * 2 // 3], close=True, raw=True)

    server.script["UID FETCH"] = Once(cut)
    assert known.run().counts["mailboxes_failed"] == 1
    assert_stored_is_held(known, server)


@pytest.mark.parametrize("words", [b"* BYE", b"* BYE [UNAVAILABLE] restart", b"* BYE too many"])
def test_a_server_that_says_bye(known: Desk, server: ScriptedImapServer, words: bytes) -> None:
    server.script["UID FETCH"] = Once(lambda command: Reply(words, close=True))
    assert known.run().counts["mailboxes_failed"] == 1
    assert_stored_is_held(known, server)


def test_a_server_that_drips(known: Desk, server: ScriptedImapServer) -> None:
    """Each byte comes within the time-out; the answer as a whole is cut off."""
    server.script["UID FETCH"] = Once(
        lambda command: Reply(b"\r\n".join(rows(server, command)), drip=True)
    )
    report = known.run()
    server.drip.set()
    assert report.counts["mailboxes_failed"] == 1
    state = known.state()
    assert state.error_kind == "network"
    assert "timeout" in (state.error or "")
    assert_stored_is_held(known, server)


def test_a_server_that_drips_at_the_sign_in(known: Desk, server: ScriptedImapServer) -> None:
    drips = [Reply(b"* OK " + b"-" * 4000, drip=True)]
    server.script["LOGIN"] = lambda _: drips.pop() if drips else None
    report = known.run()
    server.drip.set()
    assert report.counts["mailboxes_failed"] == 1
    assert "timeout" in (known.state().error or "")
    assert_stored_is_held(known, server)


def test_a_server_that_omits_flags_and_dates(known: Desk, server: ScriptedImapServer) -> None:
    def bare(command: Command) -> Reply | None:
        if not asks_for_bodies(command):
            return None
        uids = command.arguments.split(b" ")[0]
        lines = server.rows(server.folders["INBOX"], uids, b"BODY.PEEK[]")
        return Reply(b"\r\n".join([*lines, b"{tag} OK done"]))

    server.script["UID FETCH"] = bare
    assert_stored_is_held(known, server)


def test_a_server_that_answers_every_range_with_its_last_uid(
    known: Desk, server: ScriptedImapServer
) -> None:
    """What RFC 3501 (6.4.8) wants for `n:*`, and some servers do for any range."""
    folder = server.folders["INBOX"]

    def always_the_last(command: Command) -> Reply:
        uids, _, items = command.arguments.partition(b" ")
        lines = [*server.rows(folder, uids, items), fetch_row(folder, max(folder.mails), items)]
        return Reply(b"\r\n".join([*dict.fromkeys(lines), b"{tag} OK done"]))

    server.script["UID FETCH"] = always_the_last
    until_calm(known)
    put(server, 30)
    assert_stored_is_held(known, server)


def test_a_server_that_renumbers_in_the_middle_of_a_run(
    known: Desk, server: ScriptedImapServer
) -> None:
    def renumber(command: Command) -> Reply:
        lines = rows(server, command)
        old = server.folders["INBOX"]
        mails = {uid + 100: raw for uid, raw in old.mails.items()}
        server.folders["INBOX"] = Folder(uidvalidity=old.uidvalidity + 1, mails=mails)
        return Reply(b"\r\n".join([*lines, b"* BYE renumbered"]), close=True)

    server.script["UID FETCH"] = Once(renumber)
    known.run()
    subjects = Counter(f"mail {uid - 100}" for uid in server.folders["INBOX"].mails)
    until_calm(known)
    assert Counter(known.subjects()) == subjects
    assert known.sync() == {"mailboxes": 1}


def test_a_server_that_renumbers_between_status_and_examine(
    known: Desk, server: ScriptedImapServer
) -> None:
    def examine(command: Command) -> None:
        if "Sent" not in command.arguments.decode():
            server.script.pop("EXAMINE")
            server.folders["INBOX"].uidvalidity += 1

    server.script["EXAMINE"] = examine
    known.run()
    assert_stored_is_held(known, server)


def test_a_server_that_tells_of_changes_in_between(known: Desk, server: ScriptedImapServer) -> None:
    def chatty(command: Command) -> Reply:
        noise = [b"* 1 FETCH (FLAGS (\\Seen))", b"* 2 FETCH (UID 12 FLAGS ())", b"* 99 EXISTS"]
        lines = [line for row in rows(server, command) for line in (*noise, row)]
        return Reply(b"\r\n".join([*lines, *noise, b"* 3 EXPUNGE", b"{tag} OK done"]))

    server.script["UID FETCH"] = chatty
    assert_stored_is_held(known, server)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"", close=True),
        Reply(b"* BYE", close=True),
        Reply(b"{tag} NO [UNAVAILABLE] later"),
        Reply(b"{tag} NO [AUTHENTICATIONFAILED] no"),
        Reply(b"{tag} NO [LIMIT] Too many connections"),
    ],
)
def test_a_server_that_closes_or_refuses_at_login(
    known: Desk, server: ScriptedImapServer, reply: Reply
) -> None:
    refused = [reply, reply]
    server.script["LOGIN"] = lambda command: refused.pop() if refused else None
    assert known.run().counts["mailboxes_failed"] == 1
    assert_stored_is_held(known, server)


def test_a_server_that_throttles(known: Desk, server: ScriptedImapServer) -> None:
    server.script["UID FETCH"] = Once(
        lambda command: Reply(b"{tag} NO [OVERQUOTA] Account exceeded bandwidth limits")
    )
    assert known.run().counts["mailboxes_failed"] == 1
    state = known.state()
    assert state.error_kind == "throttled"
    assert_stored_is_held(known, server)
