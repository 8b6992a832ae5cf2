"""Whole visits to servers that fail half-way: nothing is lost, nobody behind is kept back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from backend.app.inbox import reader
from backend.app.models import FolderCheckpoint, InboxIntegration, LedgerEntry, QuarantinedMail
from tests.inbox.desk import CLIENT, Desk, ago, open_desk
from tests.installation import Installation, mail
from tests.servers.scripted_imap import Command, Reply, ScriptedImapServer


@pytest.fixture
def server() -> Iterator[ScriptedImapServer]:
    with ScriptedImapServer() as running:
        yield running


@pytest.fixture
def odd_desk(installation: Installation, embedded_imap: object, server: ScriptedImapServer) -> Desk:
    """A company whose first mailbox lies on the scripted server."""
    desk = open_desk(installation, embedded_imap)
    desk.installation.set(
        InboxIntegration, desk.mailbox, imap_port=server.port, imap_security="plain"
    )
    return desk


def fill(server: ScriptedImapServer, *subjects: str, size: int = 0) -> None:
    """INBOX holds a mail for each subject, from UID 11 on."""
    for uid, subject in enumerate(subjects, 11):
        raw = mail(sender=CLIENT, to="us@dubois.test", subject=subject, text="x" * size)
        server.folders["INBOX"].mails[uid] = raw


def fails_on(
    server: ScriptedImapServer, uid: int, reply: Reply
) -> Callable[[Command], Reply | None]:
    """The body of one mail cannot be had, alone or with others."""

    def fetch(command: Command) -> Reply | None:
        uids = command.arguments.split()[0].split(b",")
        asked = b"BODY.PEEK[]" in command.arguments and b"%d" % uid in uids
        return reply if asked else None

    server.script["UID FETCH"] = fetch
    return fetch


REFUSED = Reply(b"{tag} NO [SERVERBUG] The message could not be converted")
CUT = Reply(b"* 2 FETCH (UID 12 BODY[] {5000}\r\nFrom: ", close=True, raw=True)


def test_a_mail_that_spoils_its_batch_is_set_aside_and_the_others_come(
    odd_desk: Desk, server: ScriptedImapServer
) -> None:
    fill(server, "one", "two", "three")
    fails_on(server, 12, REFUSED)
    assert odd_desk.sync() == {"mailboxes": 1, "stored": 2, "quarantined": 1}
    assert odd_desk.subjects() == ["one", "three"]
    assert odd_desk.ledger() == {"stored": 2, "quarantined": 1}
    assert odd_desk.state().error_kind is None


def test_a_server_that_gives_no_body_at_all_has_its_own_trouble(
    odd_desk: Desk, server: ScriptedImapServer
) -> None:
    fill(server, "one", "two")
    server.script["UID FETCH"] = lambda command: (
        REFUSED if b"BODY.PEEK[]" in command.arguments else None
    )
    assert odd_desk.sync() == {"mailboxes": 1, "mailboxes_failed": 1}
    assert odd_desk.state().error_kind == "server"
    assert odd_desk.ledger() == {}
    server.script.clear()
    odd_desk.end_pauses()
    assert odd_desk.sync() == {"mailboxes": 1, "stored": 2}


@pytest.mark.parametrize("reply", [REFUSED, CUT], ids=["refused", "cut"])
def test_a_mail_that_breaks_off_every_visit_does_not_keep_back_those_behind_it(
    odd_desk: Desk, server: ScriptedImapServer, reply: Reply
) -> None:
    desk = odd_desk
    fill(server, "one", "two", "three", size=600)
    desk.installation.extra["SYNC_BATCH_BYTES"] = "1000"  # each mail is a batch by itself
    fails_on(server, 12, reply)
    for _ in range(reader.PATIENCE):
        assert desk.sync()["mailboxes_failed"] == 1
        assert desk.ledger() == {"stored": 1}
        desk.end_pauses()
    assert desk.sync() == {"mailboxes": 1, "mailboxes_failed": 1, "quarantined": 1}
    desk.end_pauses()
    assert desk.sync() == {"mailboxes": 1, "stored": 1}
    assert desk.subjects() == ["one", "three"]
    assert desk.ledger() == {"stored": 2, "quarantined": 1}
    assert desk.state().failures == 0


def test_the_mail_that_cuts_the_connection_is_found_among_those_of_its_batch(
    odd_desk: Desk, server: ScriptedImapServer
) -> None:
    desk = odd_desk
    fill(server, "one", "two", "three")
    fails_on(server, 12, CUT)
    for _ in range(reader.PATIENCE):
        assert desk.sync() == {"mailboxes": 1, "mailboxes_failed": 1}
        desk.end_pauses()
    assert desk.sync() == {"mailboxes": 1, "stored": 1, "mailboxes_failed": 1, "quarantined": 1}
    desk.end_pauses()
    assert desk.sync() == {"mailboxes": 1, "stored": 1}
    assert desk.subjects() == ["one", "three"]


def test_a_body_that_was_not_given_comes_by_itself_later(
    odd_desk: Desk, server: ScriptedImapServer
) -> None:
    desk = odd_desk
    fill(server, "one", "two")
    fails_on(server, 12, REFUSED)
    assert desk.sync() == {"mailboxes": 1, "stored": 1, "quarantined": 1}
    assert desk.has_in_quarantine("jean@client.test")
    end_quarantine_pause(desk)
    assert desk.sync() == {"mailboxes": 1}  # it still is not given
    server.script.clear()
    end_quarantine_pause(desk)
    assert desk.sync() == {"mailboxes": 1}  # it is fetched
    assert desk.sync() == {"mailboxes": 1, "stored": 1}
    assert desk.subjects() == ["one", "two"]
    assert desk.ledger() == {"stored": 2}
    assert desk.installation.count(QuarantinedMail) == 0


def test_a_body_that_is_never_given_is_left_to_a_person(
    odd_desk: Desk, server: ScriptedImapServer
) -> None:
    desk = odd_desk
    fill(server, "one", "two")
    fails_on(server, 12, REFUSED)
    desk.sync()
    for _ in range(3):
        end_quarantine_pause(desk)
        assert desk.sync() == {"mailboxes": 1}
    (kept,) = desk.installation.rows(QuarantinedMail)
    assert (kept.attempts, kept.next_attempt_at, kept.raw) == (4, None, b"")


def test_a_mail_without_a_body_that_is_deleted_leaves_the_quarantine(
    odd_desk: Desk, server: ScriptedImapServer
) -> None:
    desk = odd_desk
    fill(server, "one", "two", "three")
    fails_on(server, 12, REFUSED)
    desk.sync()
    del server.folders["INBOX"].mails[12]
    end_quarantine_pause(desk)
    assert desk.sync() == {"mailboxes": 1}
    assert desk.ledger() == {"stored": 2, "ignored": 1}
    assert desk.installation.count(QuarantinedMail) == 0


def end_quarantine_pause(desk: Desk) -> None:
    desk.installation.change(
        lambda s: s.execute(sa.update(QuarantinedMail).values(next_attempt_at=ago(minutes=1)))
    )


def test_a_mail_that_is_gone_when_it_is_fetched_is_ignored(
    odd_desk: Desk, server: ScriptedImapServer
) -> None:
    fill(server, "one", "two", "three")

    def fetch(command: Command) -> None:
        if b"BODY.PEEK[]" in command.arguments:
            server.folders["INBOX"].mails.pop(12, None)

    server.script["UID FETCH"] = fetch
    assert odd_desk.sync() == {"mailboxes": 1, "stored": 2, "ignored": 1}
    assert odd_desk.ledger() == {"stored": 2, "ignored": 1}
    assert odd_desk.sync() == {"mailboxes": 1}


def test_a_connection_cut_in_a_literal_loses_nothing(
    odd_desk: Desk, server: ScriptedImapServer
) -> None:
    desk = odd_desk
    desk.sync()  # what comes from now on is new mail
    fill(server, "one", "two", "three", size=600)
    desk.installation.extra["SYNC_BATCH_BYTES"] = "1000"
    fails_on(server, 12, CUT)
    assert desk.sync() == {"mailboxes": 1, "mailboxes_failed": 1, "stored": 1}
    assert desk.state().error_kind == "network"
    (checkpoint,) = desk.installation.rows(FolderCheckpoint, FolderCheckpoint.name == "INBOX")
    assert checkpoint.last_uid == 11
    server.script.clear()
    desk.end_pauses()
    assert desk.sync() == {"mailboxes": 1, "stored": 2}


def test_an_unsolicited_row_does_not_move_the_checkpoint_past_a_mail(
    odd_desk: Desk, server: ScriptedImapServer
) -> None:
    fill(server, "one", "two")
    seen = b"* 1 FETCH (UID 11 FLAGS (\\Seen))\r\n* 2 FETCH (FLAGS (\\Seen))\r\n* 9 EXISTS\r\n"

    def fetch(command: Command) -> Reply:
        lines = server_answer(server, command)
        return Reply(seen + lines)

    server.script["UID FETCH"] = fetch
    assert odd_desk.sync() == {"mailboxes": 1, "stored": 2}
    entries = odd_desk.installation.rows(LedgerEntry)
    assert [entry.uid for entry in entries] == [11, 12]


def server_answer(server: ScriptedImapServer, command: Command) -> bytes:
    uids, _, items = command.arguments.partition(b" ")
    return b"\r\n".join([*server.rows(server.folders["INBOX"], uids, items), b"{tag} OK done"])


def test_an_absurd_uidnext_ends_with_the_run(odd_desk: Desk, server: ScriptedImapServer) -> None:
    server.script["STATUS"] = lambda command: Reply(
        b'* STATUS "INBOX" (MESSAGES 0 UIDNEXT 2000000 UIDVALIDITY 1)\r\n{tag} OK done'
    )
    odd_desk.sync(stopping=lambda: len(server.asked("UID SEARCH")) >= 3)
    assert len(server.asked("UID SEARCH")) == 3


def test_what_a_server_says_cannot_break_the_record_of_its_failure(
    odd_desk: Desk, server: ScriptedImapServer
) -> None:
    server.script["LOGIN"] = lambda command: Reply(b"{tag} NO \x00 \xed\xa0\x80 \x1b[31m no")
    server.script["LIST"] = lambda command: Reply(b"{tag} NO a\x00b\x1bc")
    assert odd_desk.sync() == {"mailboxes": 1, "mailboxes_failed": 1}
    del server.script["LOGIN"]
    odd_desk.end_pauses()
    assert odd_desk.sync() == {"mailboxes": 1, "mailboxes_failed": 1}
    state = odd_desk.state()
    assert (state.error_kind, state.failures) == ("server", 2)
    assert (state.error or "").isprintable()


def test_a_folder_name_that_fits_no_column_stops_only_its_mailbox(
    odd_desk: Desk, server: ScriptedImapServer
) -> None:
    desk = odd_desk
    other = desk.add_mailbox()
    desk.receive(desk.mail("elsewhere"), mailbox=other)
    folder = server.folders.pop("Sent")
    server.folders["x" * 900] = folder
    counts = desk.sync()
    assert counts["stored"] == 1
    assert counts["mailboxes"] == 2
    assert desk.state(other).failures == 0


def test_a_server_date_in_the_future_does_not_hold_the_conversation_there(
    odd_desk: Desk, server: ScriptedImapServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.servers.scripted_imap.INTERNALDATE", b"31-Dec-2999 12:00:00 +0000")
    raw = mail(sender=CLIENT, to="us@dubois.test", subject="tomorrow")
    lines = [
        b"Date: Tue, 31 Dec 2999 12:00:00 +0000" if line.startswith(b"Date: ") else line
        for line in raw.split(b"\r\n")
    ]
    server.folders["INBOX"].mails[1] = b"\r\n".join(lines)
    assert odd_desk.sync()["stored"] == 1
    soon = ago(minutes=-1)
    message = odd_desk.message("tomorrow")
    assert message.sent_at < soon
    assert message.arrived_at < soon
    last = odd_desk.conversation().last_message_at
    assert last is not None
    assert last < soon


def test_a_mail_without_internaldate_arrived_now(
    odd_desk: Desk, server: ScriptedImapServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.servers.scripted_imap.INTERNALDATE", b"")
    fill(server, "one")
    before = ago(seconds=1)
    assert odd_desk.sync()["stored"] == 1
    assert odd_desk.message("one").arrived_at > before


def test_bodies_are_asked_for_by_explicit_uids_without_touching_flags(
    odd_desk: Desk, server: ScriptedImapServer
) -> None:
    fill(server, "one", "two")
    odd_desk.sync()
    for command in server.asked("UID FETCH"):
        assert "*" not in command
        assert "BODY[" not in command
        assert "RFC822 " not in command
    changing = ("SELECT", "STORE", "UID STORE", "EXPUNGE", "APPEND", "COPY", "UID COPY", "MOVE")
    assert not [c for c in server.commands if c.split(" ")[0] in changing]
    assert [c for c in server.commands if c.startswith("EXAMINE")]


def test_an_idle_mailbox_costs_a_login_a_list_and_a_status_for_each_folder(
    odd_desk: Desk, server: ScriptedImapServer
) -> None:
    fill(server, "one", "two")
    odd_desk.sync()
    server.commands.clear()
    assert odd_desk.sync() == {"mailboxes": 1}
    names = [command.split(" ")[0] for command in server.commands]
    assert [name for name in names if name != "CAPABILITY"] == [
        "LOGIN",
        "LIST",
        "STATUS",
        "STATUS",
        "LOGOUT",
    ]
