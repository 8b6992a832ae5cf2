"""Servers that say what no well-behaved one would, at each step of a visit (mail/imap.py)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from backend.app.errors import (
    CredentialsRefused,
    FolderGone,
    MailboxError,
    NetworkFault,
    ServerFault,
    Throttled,
)
from backend.app.mail.endpoint import Endpoint
from backend.app.mail.folder import FolderStatus, Role, ServerFolder
from backend.app.mail.imap import MailboxConnection, open_mailbox
from tests.installation import mail
from tests.servers.scripted_imap import Command, Folder, Reply, ScriptedImapServer, fetch_row

MAILS = {uid: mail(sender="jean@client.test", to="us@dubois.test") for uid in (3, 5, 8)}


@pytest.fixture
def server() -> Iterator[ScriptedImapServer]:
    with ScriptedImapServer() as running:
        running.folders["INBOX"].mails.update(MAILS)
        yield running


def endpoint(server: ScriptedImapServer, **more: object) -> Endpoint:
    values: dict[str, object] = {
        "host": server.host,
        "port": server.port,
        "security": "plain",
        "username": "claire",
        "password": "secret",
        "timeout": 5,
    }
    return Endpoint(**(values | more))  # type: ignore[arg-type]


@pytest.fixture
def inbox(server: ScriptedImapServer) -> Iterator[MailboxConnection]:
    """A connection with INBOX open."""
    with open_mailbox(endpoint(server)) as connection:
        connection.examine("INBOX")
        yield connection


# -- signing in --------------------------------------------------------------------------------

GREETINGS = [
    (Reply(b"* BYE Too many connections", close=True), Throttled),
    (Reply(b"* BYE [UNAVAILABLE] later", close=True), Throttled),
    (Reply(b"* BYE gone", close=True), ServerFault),
    (Reply(b"", close=True), NetworkFault),
    (Reply(b"HTTP/1.1 400 Bad Request", close=True), MailboxError),
    (Reply(b"* OK \xff\xfe \x00", close=True), MailboxError),
]


@pytest.mark.parametrize(("greeting", "error"), GREETINGS)
def test_greeting(server: ScriptedImapServer, greeting: Reply, error: type[MailboxError]) -> None:
    server.greeting = greeting
    with pytest.raises(error), open_mailbox(endpoint(server)):
        pass


LOGINS = [
    (b"{tag} NO [AUTHENTICATIONFAILED] Invalid credentials", False, CredentialsRefused),
    (b"{tag} NO Login failed", False, CredentialsRefused),
    (b"{tag} NO [AUTHENTICATIONFAILED] Temporary password expired", False, CredentialsRefused),
    (b"{tag} NO [LIMIT] Rate exceeded", False, Throttled),
    (b"{tag} NO [UNAVAILABLE] Temporary authentication failure", False, Throttled),
    (b"{tag} NO [ALERT] Too many simultaneous connections. (Failure)", False, Throttled),
    (b"{tag} NO [INUSE] Mailbox locked", False, Throttled),
    # A server that goes away has not refused the password.
    (b"* BYE shutting down", True, NetworkFault),
    (b"* BYE Connection limit exceeded: too many", True, Throttled),
    (b"", True, NetworkFault),
]


@pytest.mark.parametrize(("text", "close", "error"), LOGINS)
def test_login(
    server: ScriptedImapServer, text: bytes, close: bool, error: type[MailboxError]
) -> None:
    server.script["LOGIN"] = lambda command: Reply(text, close=close)
    with pytest.raises(error) as raised, open_mailbox(endpoint(server)):
        pass
    assert raised.type is error
    assert "secret" not in str(raised.value)


def test_a_user_name_and_password_outside_ascii_are_sent_as_utf_8(
    server: ScriptedImapServer,
) -> None:
    with open_mailbox(endpoint(server, username="hélène", password="mot de passé")):
        pass
    assert "+ \0hélène\0mot de passé" in server.commands


def test_quotes_in_a_password_are_escaped(server: ScriptedImapServer) -> None:
    with open_mailbox(endpoint(server, password='a "b" \\ c')):
        pass
    assert server.asked("LOGIN") == ['LOGIN claire "a \\"b\\" \\\\ c"']


def test_silence_is_a_timeout(server: ScriptedImapServer) -> None:
    server.script["STATUS"] = lambda command: Reply()
    with (
        pytest.raises(NetworkFault, match="timeout: no answer"),
        open_mailbox(endpoint(server, timeout=1)) as connection,
    ):
        connection.status("INBOX")


def test_a_visit_ends_with_logout(server: ScriptedImapServer) -> None:
    with open_mailbox(endpoint(server)):
        pass
    assert server.commands[-1] == "LOGOUT"


# -- folders -----------------------------------------------------------------------------------

FOLDERS = [
    (b'* LIST () "/" INBOX\r\n* LIST (\\Sent) "/" "Out"', "Out"),
    (b'* LIST () "/" INBOX', None),
    (b'* LIST () NIL NIL\r\n* LIST () "/" "Sent"', "Sent"),
    (b'* LIST () "." "INBOX.Sent Items"', "INBOX.Sent Items"),
    (b'* LIST () "/" "&AMk-l&AOk-ments envoy&AOk-s"', "Éléments envoyés"),
    (b'* LIST () "/" "2026"\r\n* LIST () "/" "Sent"', "Sent"),
    # A name outside modified UTF-7 (a bare `&`) must not keep the whole mailbox from being read.
    (b'* LIST () "/" "R&D"\r\n* LIST () "/" "Sent"', "Sent"),
    (b'* LIST () "/" "Entw\xfcrfe"\r\n* LIST () "/" "Sent"', "Sent"),
    # What cannot be opened is no Sent folder (RFC 3501, 7.2.2; RFC 5258, 3).
    (b'* LIST (\\Noselect) "/" "Sent"\r\n* LIST () "/" "Sent/Sent Items"', "Sent/Sent Items"),
    (b'* LIST (\\Sent \\NonExistent) "/" "Old"\r\n* LIST () "/" "Sent"', "Sent"),
    (b'* LIST (\\Sent) "/" INBOX', None),
]


@pytest.mark.parametrize(("listed", "sent"), FOLDERS)
def test_folders(server: ScriptedImapServer, listed: bytes, sent: str | None) -> None:
    server.script["LIST"] = lambda command: Reply(listed + b"\r\n{tag} OK done")
    with open_mailbox(endpoint(server)) as connection:
        folders = connection.folders()
    expected = [ServerFolder("INBOX", Role.INBOX)]
    assert list(folders) == expected + ([ServerFolder(sent, Role.SENT)] if sent else [])


def test_a_folder_name_goes_out_in_modified_utf_7(server: ScriptedImapServer) -> None:
    name = "Envoyés & Co"
    server.folders["Envoy&AOk-s &- Co"] = Folder(uidvalidity=4)
    with open_mailbox(endpoint(server)) as connection:
        assert connection.status(name).uidvalidity == 4
        assert connection.examine(name) == 4


STATUSES = [
    (
        b'* STATUS "INBOX" (MESSAGES 3 UIDNEXT 9 UIDVALIDITY 1)\r\n{tag} OK done',
        FolderStatus(1, 9, 3),
    ),
    # A folder that keeps no mod-sequences: 0 says nothing of what is in it.
    (
        b'* STATUS "INBOX" (UIDNEXT 9 UIDVALIDITY 1 HIGHESTMODSEQ 0)\r\n{tag} OK done',
        FolderStatus(1, 9, 0, None),
    ),
    (
        b'* STATUS "INBOX" (UIDNEXT 9 UIDVALIDITY 1 HIGHESTMODSEQ 7)\r\n{tag} OK done',
        FolderStatus(1, 9, 0, 7),
    ),
    (b'* STATUS "INBOX" (UIDVALIDITY 4294967295 UIDNEXT 9)\r\n{tag} OK done', None),
    (b"{tag} OK nothing to say", ServerFault),
    (b'* STATUS "INBOX"\r\n{tag} OK done', ServerFault),
    (b'* STATUS "INBOX" ()\r\n{tag} OK done', ServerFault),
    (b'* STATUS "INBOX" (UIDNEXT nine UIDVALIDITY 1)\r\n{tag} OK done', ServerFault),
    (b'* STATUS "INBOX" (UIDNEXT 9)\r\n{tag} OK done', ServerFault),
    (b'* STATUS "INBOX" (UIDNEXT -1 UIDVALIDITY 1)\r\n{tag} OK done', ServerFault),
    (
        b'* STATUS "INBOX" (UIDNEXT 9 UIDVALIDITY 99999999999999999999999)\r\n{tag} OK done',
        ServerFault,
    ),
    (
        b'* STATUS "INBOX" (UIDNEXT 99999999999999999999999 UIDVALIDITY 1)\r\n{tag} OK done',
        ServerFault,
    ),
    (b'* STATUS "INBOX" (UIDNEXT 9 UIDVALIDITY 1\r\n{tag} OK done', ServerFault),
    (b"* STATUS )))(((\r\n{tag} OK done", ServerFault),
    (b"\x00\xff\r\n{tag} OK done", MailboxError),
    (b"{tag} NO Mailbox does not exist", FolderGone),
    (b"{tag} NO [LIMIT] slow down", Throttled),
    (b"* BYE restart", NetworkFault),
]


@pytest.mark.parametrize(("text", "expected"), STATUSES)
def test_status(server: ScriptedImapServer, text: bytes, expected: object) -> None:
    server.script["STATUS"] = lambda command: Reply(text, close=b"BYE" in text)
    with open_mailbox(endpoint(server)) as connection:
        if isinstance(expected, type) and issubclass(expected, MailboxError):
            with pytest.raises(expected):
                connection.status("INBOX")
        else:
            status = connection.status("INBOX")
            assert expected is None or status == expected


EXAMINES = [
    (b"{tag} NO no such folder", FolderGone),
    (b"* 3 EXISTS\r\n{tag} OK done", ServerFault),
    (b"* OK [UIDVALIDITY x] ?\r\n{tag} OK done", ServerFault),
    (b"* BYE restart", NetworkFault),
]


@pytest.mark.parametrize(("text", "error"), EXAMINES)
def test_examine(server: ScriptedImapServer, text: bytes, error: type[MailboxError]) -> None:
    server.script["EXAMINE"] = lambda command: Reply(text, close=b"BYE" in text)
    with open_mailbox(endpoint(server)) as connection, pytest.raises(error):
        connection.examine("INBOX")


# -- mails -------------------------------------------------------------------------------------


def test_what_was_asked_for_comes_in_uid_order(
    server: ScriptedImapServer, inbox: MailboxConnection
) -> None:
    arrived = datetime(2026, 3, 2, 12, tzinfo=UTC)
    server.folders["INBOX"].dates.update(dict.fromkeys(MAILS, arrived))
    found = inbox.mails([8, 3, 5, 99])
    assert [(m.uid, m.raw) for m in found] == sorted(MAILS.items())
    assert {m.arrived_at for m in found} == {arrived}


def test_unsolicited_rows_are_no_mails(
    server: ScriptedImapServer, inbox: MailboxConnection
) -> None:
    def fetch(command: Command) -> Reply:
        _, _, items = command.arguments.partition(b" ")
        folder = server.folders["INBOX"]
        lines = [
            b"* 1 FETCH (FLAGS (\\Seen))",  # by its number, without a UID
            b"* 3 FETCH (UID 8 FLAGS (\\Seen))",
            fetch_row(folder, 5, items),
            b"* 2 FETCH (UID 5 FLAGS (\\Seen))",
            fetch_row(folder, 3, items),  # nobody asked for this one
            b"* 4 EXISTS",
            b"{tag} OK done",
        ]
        return Reply(b"\r\n".join(lines))

    server.script["UID FETCH"] = fetch
    assert [m.uid for m in inbox.mails([5, 8])] == [5]
    assert inbox.sizes([5]) == {5: len(MAILS[5])}
    assert list(inbox.identities([5])) == [5]


DATES = [
    (b"", None),
    (b'INTERNALDATE "never"', None),
    (b"INTERNALDATE NIL", None),
    (b'INTERNALDATE "02-Mar-2026 12:00:00"', None),  # no zone: no instant
    (b'INTERNALDATE "02-Mar-2026 12:00:00 +9999"', None),
    (b'INTERNALDATE " 2-Mar-2026 13:00:00 +0100"', datetime(2026, 3, 2, 12, tzinfo=UTC)),
]


@pytest.mark.parametrize(("item", "arrived_at"), DATES)
def test_internaldate(
    server: ScriptedImapServer,
    inbox: MailboxConnection,
    item: bytes,
    arrived_at: datetime | None,
) -> None:
    row = b"* 1 FETCH (UID 3 " + item + b" BODY[] {5}\r\nhello)\r\n{tag} OK done"
    server.script["UID FETCH"] = lambda command: Reply(row)
    (found,) = inbox.mails([3])
    assert (found.raw, found.arrived_at) == (b"hello", arrived_at)


def test_a_size_that_does_not_come_or_is_nonsense_hides_no_mail(
    server: ScriptedImapServer, inbox: MailboxConnection
) -> None:
    rows = [
        b"* 1 FETCH (UID 3 RFC822.SIZE NIL)",
        b"* 2 FETCH (UID 5 FLAGS ())",
        b"* 3 FETCH (UID 8 RFC822.SIZE -7)",
        b"* 9 FETCH (FLAGS ())",  # unsolicited, by its number
        b"{tag} OK done",
    ]
    server.script["UID FETCH"] = lambda command: Reply(b"\r\n".join(rows))
    assert inbox.sizes([3, 5, 8, 9]) == {3: 0, 5: 0, 8: 0}


FETCHES = [
    (b"* 1 FETCH (UID 3 BODY[] {500}\r\nonly the beg", True, NetworkFault),
    (b"* 1 FETCH (UID 3 BODY[] {5}\r\nhello", True, NetworkFault),
    (b"", True, NetworkFault),
    (b"* BYE too much", True, NetworkFault),
    (b"* BYE [OVERQUOTA] bandwidth limit exceeded", True, Throttled),
    (b"{tag} NO [SERVERBUG] cannot be converted", False, ServerFault),
    (b"{tag} BAD what", False, ServerFault),
    (b"{tag} NO [LIMIT] later", False, Throttled),
    (b"* 1 FETCH (UID three BODY[] {5}\r\nhello)\r\n{tag} OK done", False, ServerFault),
    (b"* 1 FETCH (UID 3 BODY[])\r\n{tag} OK done", False, ServerFault),
    (b"* 1 FETCH UID\r\n{tag} OK done", False, ServerFault),
    (
        b'* 1 FETCH (UID 3 INTERNALDATE "02-Mar-%s 12:00:00 +0000")\r\n{tag} OK done' % (b"9" * 20),
        False,
        ServerFault,
    ),
    (b"* 1 FETCH ((((\r\n{tag} OK done", False, ServerFault),
    (b"* 1 FETCH\r\n{tag} OK done", False, MailboxError),
]


@pytest.mark.parametrize(("text", "close", "error"), FETCHES)
def test_fetch(
    server: ScriptedImapServer,
    inbox: MailboxConnection,
    text: bytes,
    close: bool,
    error: type[MailboxError],
) -> None:
    server.script["UID FETCH"] = lambda command: Reply(text, close=close, raw=close)
    with pytest.raises(error):
        inbox.mails([3])


def test_only_uids_of_the_range_are_believed(
    server: ScriptedImapServer, inbox: MailboxConnection
) -> None:
    server.script["UID SEARCH"] = lambda command: Reply(
        b"* SEARCH 8 1 5 5000 301 5\r\n{tag} OK done"
    )
    assert inbox.uids(3, 400) == [5, 8, 301]


def test_a_search_without_an_answer_found_nothing(
    server: ScriptedImapServer, inbox: MailboxConnection
) -> None:
    server.script["UID SEARCH"] = lambda command: Reply(b"{tag} OK done")
    assert inbox.uids(1, 1000) == []
