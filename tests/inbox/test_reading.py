"""Mail on a server becomes messages, each once, and the server never notices (I1, I2, I3)."""

from __future__ import annotations

from typing import Any

import pytest
from imapclient import SEEN

from backend.app.inbox import folder, reader
from backend.app.mail.folder import FetchedMail
from backend.app.mail.imap import MailboxConnection
from backend.app.models import (
    Client,
    FolderCheckpoint,
    InboxFolder,
    InboxIntegration,
    InboxMessage,
    LedgerEntry,
    QuarantinedMail,
)
from tests.inbox.desk import CLIENT, Desk, Fetches, Killed, ago, date_header
from tests.servers.cyrus import CyrusServer
from tests.servers.embedded_imap import EmbeddedImapServer

STATUS_ITEMS = ["MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN"]


def snapshot(desk: Desk) -> dict[str, Any]:
    """All that a mail program could see of the mailbox."""
    seen: dict[str, Any] = {}
    with desk.client() as client:
        items = STATUS_ITEMS + (["HIGHESTMODSEQ"] if client.has_capability("CONDSTORE") else [])
        folders = sorted(name for _, _, name in client.list_folders())
        statuses = {folder: client.folder_status(folder, items) for folder in folders}
        for folder, status in statuses.items():
            client.select_folder(folder, readonly=True)
            uids = client.search("ALL")
            flags = client.fetch(uids, ["FLAGS", "RFC822.SIZE", "INTERNALDATE"])
            seen[folder] = (status, sorted((uid, repr(row)) for uid, row in flags.items()))
    return seen


def test_inbox_and_sent_are_read(desk: Desk) -> None:
    question = desk.mail("Devis", message_id="<question@client.test>")
    desk.receive(question)
    desk.receive(
        desk.sent(CLIENT, "Re: Devis", In_Reply_To="<question@client.test>"), folder="Sent"
    )
    assert desk.sync() == {"mailboxes": 1, "stored": 2}
    assert desk.ledger() == {"stored": 2}
    conversation = desk.conversation()
    assert (conversation.status, conversation.unread_count) == ("waiting", 1)
    received, sent = desk.messages()
    assert (received.is_from_client, received.placement) == (True, "new_thread")
    assert (sent.is_from_client, sent.kind, sent.placement) == (False, "own", "references")
    (client,) = desk.installation.rows(Client)
    assert (client.email_key, client.name) == ("jean@client.test", "Jean Petit")
    assert conversation.client_id == client.id


def test_nothing_is_stored_twice_and_no_known_body_is_fetched(desk: Desk, fetches: Fetches) -> None:
    desk.receive(desk.mail("one"))
    desk.receive(desk.mail("two"))
    assert desk.sync()["stored"] == 2
    assert fetches.uids == desk.uids()
    assert desk.sync() == {"mailboxes": 1}
    desk.receive(desk.mail("three"))
    assert desk.sync()["stored"] == 1
    assert fetches.uids == desk.uids()
    assert len(fetches.uids) == 3


def test_mail_read_elsewhere_still_comes(desk: Desk) -> None:
    desk.receive(desk.mail("read on the phone"))
    with desk.client() as client:
        client.select_folder("INBOX")
        client.add_flags(client.search("ALL"), [SEEN])
    assert desk.sync()["stored"] == 1
    assert desk.message("read on the phone").read is False


def test_the_mailbox_is_never_changed(desk: Desk) -> None:
    for number in range(3):
        desk.receive(desk.mail(f"mail {number}"))
    desk.receive(desk.sent(CLIENT), folder="Sent")
    with desk.client() as client:
        client.select_folder("INBOX")
        client.add_flags(client.search("ALL")[1:2], [SEEN])
    before = snapshot(desk)
    assert desk.sync()["stored"] == 4
    assert snapshot(desk) == before
    assert desk.sync() == {"mailboxes": 1}
    assert snapshot(desk) == before


def test_a_mail_in_two_folders_is_one_message(desk: Desk) -> None:
    raw = desk.sent(desk.account.address, "note to ourselves")
    desk.receive(raw)
    desk.receive(raw, folder="Sent")
    assert desk.sync() == {"mailboxes": 1, "stored": 1, "duplicate": 1}
    assert desk.ledger() == {"stored": 1, "duplicate": 1}
    (message,) = desk.messages()
    entries = desk.installation.rows(LedgerEntry)
    assert {entry.message_id for entry in entries} == {message.id}


def test_a_mail_in_two_mailboxes_of_a_company_is_one_message(desk: Desk) -> None:
    second = desk.add_mailbox()
    raw = desk.mail("to both")
    # The second server hands it over with trace fields of its own, folded elsewhere.
    copy = b"Received: by mx2.test; Mon, 2 Mar 2026 12:00:00 +0100\r\n" + raw
    desk.receive(raw)
    desk.receive(copy, mailbox=second)
    assert desk.sync() == {"mailboxes": 2, "stored": 1, "duplicate": 1}
    assert desk.ledger() == {"stored": 1}
    assert desk.ledger(second) == {"duplicate": 1}
    assert desk.conversation().unread_count == 1


@pytest.mark.parametrize("header", ["Subject", "From", "Date"])
def test_two_mails_with_the_same_message_id_are_both_kept(embedded_desk: Desk, header: str) -> None:
    desk, when = embedded_desk, date_header(ago(hours=1)).encode()
    raw = desk.mail("Bonjour", message_id="<same@client.test>")
    changed = {
        "Subject": raw.replace(b"Subject: Bonjour", b"Subject: Bonsoir"),
        "From": raw.replace(b"jean@client.test", b"paul@client.test"),
        "Date": b"\r\n".join(
            b"Date: " + when if line.startswith(b"Date: ") else line for line in raw.split(b"\r\n")
        ),
    }
    desk.receive(raw)
    desk.receive(changed[header])
    assert desk.sync()["stored"] == 2
    assert {m.external_id for m in desk.messages()} == {"same@client.test"}


def same_identity(desk: Desk, text: str) -> bytes:
    """Message-ID, From, Date and Subject are always the same."""
    raw = desk.mail("Relevé", message_id="<statement@printer.test>", text=text)
    lines = [
        b"Date: Mon, 02 Mar 2026 12:00:00 +0000" if line.startswith(b"Date: ") else line
        for line in raw.split(b"\r\n")
    ]
    return b"\r\n".join(lines)


def test_two_mails_in_a_folder_that_differ_in_their_text_alone_are_both_kept(desk: Desk) -> None:
    desk.receive(same_identity(desk, "page 1"))
    desk.receive(same_identity(desk, "page 2"))
    desk.receive(same_identity(desk, "page 2"))  # delivered twice
    assert desk.sync() == {"mailboxes": 1, "stored": 2, "duplicate": 1}
    assert sorted(m.content.strip() for m in desk.messages()) == ["page 1", "page 2"]


def test_two_such_mails_are_both_kept_where_the_first_was_known_from_another_mailbox(
    embedded_desk: Desk,
) -> None:
    desk = embedded_desk
    second = desk.add_mailbox()
    desk.receive(same_identity(desk, "page 1"))
    assert desk.sync()["stored"] == 1
    desk.receive(same_identity(desk, "page 1"), mailbox=second)
    assert desk.sync()["duplicate"] == 1
    desk.receive(same_identity(desk, "page 2"), mailbox=second)
    assert desk.sync()["stored"] == 1
    assert desk.ledger(second) == {"duplicate": 1, "stored": 1}


def test_a_mail_without_message_id_is_stored_once(desk: Desk) -> None:
    raw = desk.mail("no identity", message_id="<x@y>").replace(b"Message-ID: <x@y>\r\n", b"")
    desk.receive(raw)
    desk.receive(raw.replace(b"no identity", b"another"))
    desk.receive(raw, folder="Sent")
    assert desk.sync() == {"mailboxes": 1, "stored": 2, "duplicate": 1}
    assert len({m.external_id for m in desk.messages()}) == 2


def test_a_mail_without_usable_headers_is_stored(embedded_desk: Desk) -> None:
    embedded_desk.receive(b"just text\r\n")
    embedded_desk.receive(b"From: <>\r\nTo: undisclosed-recipients:;\r\n\r\nhello\r\n")
    assert embedded_desk.sync()["stored"] == 2
    assert embedded_desk.installation.count(Client) == 0


def test_what_is_deleted_between_listing_and_fetching_is_ignored(
    desk: Desk, fetches: Fetches
) -> None:
    for number in (1, 2, 3):
        desk.receive(desk.mail(f"mail {number}"))

    def delete_the_second(uids: list[int]) -> None:
        if fetches.uids == []:
            desk.expunge(uids[1])

    fetches.before = delete_the_second
    counts = desk.sync()
    if isinstance(desk.server, EmbeddedImapServer):
        # It may give what it has not yet told us to be gone (RFC 2180, 4.1.2).
        assert counts == {"mailboxes": 1, "stored": 3}
    else:
        assert counts == {"mailboxes": 1, "stored": 2, "ignored": 1}
        assert desk.ledger() == {"stored": 2, "ignored": 1}
    assert desk.sync() == {"mailboxes": 1}


def test_new_uids_beyond_a_gap_are_read(desk: Desk) -> None:
    for number in (1, 2, 3):
        desk.receive(desk.mail(f"mail {number}"))
    first, second, third = desk.uids()
    desk.expunge(second, third)
    assert desk.sync()["stored"] == 1
    desk.receive(desk.mail("mail 4"))
    assert desk.sync() == {"mailboxes": 1, "stored": 1}
    assert desk.uids() == [first, third + 1]


def test_a_range_wider_than_an_answer_may_be_is_searched(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.app.mail.imap.SHORT_RANGE", 1)
    monkeypatch.setattr(folder, "WINDOW_UIDS", 30)
    monkeypatch.setattr(reader, "CHUNK_MAILS", 2)
    for number in range(8):
        desk.receive(desk.mail(f"mail {number}"))
    uids = desk.uids()
    desk.expunge(*(uids[number] for number in (0, 3, 4, 5)))
    assert desk.sync() == {"mailboxes": 1, "stored": 4}
    entries = desk.installation.rows(LedgerEntry)
    assert [entry.uid for entry in entries] == desk.uids()


# -- renumbering -------------------------------------------------------------------------------


def test_a_new_uidvalidity_stores_nothing_twice_and_fetches_no_known_body(
    desk: Desk, fetches: Fetches
) -> None:
    for number in range(4):
        desk.receive(desk.mail(f"mail {number}"))
    desk.receive(desk.sent(CLIENT), folder="Sent")
    assert desk.sync()["stored"] == 5
    fetches.uids.clear()
    desk.server.new_uidvalidity(desk.account)
    # Cyrus makes the other folders anew with INBOX.
    known = 5 if isinstance(desk.server, CyrusServer) else 4
    assert desk.sync() == {"mailboxes": 1, "duplicate": known}
    assert fetches.uids == []
    assert desk.ledger() == {"stored": 5, "duplicate": known}
    assert desk.sync() == {"mailboxes": 1}
    assert len(desk.messages()) == 5


def test_what_is_new_in_a_renumbered_folder_comes(desk: Desk, fetches: Fetches) -> None:
    desk.receive(desk.mail("known"))
    assert desk.sync()["stored"] == 1
    desk.server.new_uidvalidity(desk.account)
    desk.receive(desk.mail("new"))
    fetches.uids.clear()
    assert desk.sync() == {"mailboxes": 1, "duplicate": 1, "stored": 1}
    assert fetches.uids == [desk.uids()[-1]]
    assert desk.subjects() == ["known", "new"]


@pytest.mark.parametrize("killed_in", ["identities", "mails"])
def test_a_killed_renumbering_goes_on_recognising(
    desk: Desk, fetches: Fetches, monkeypatch: pytest.MonkeyPatch, killed_in: str
) -> None:
    for number in range(3):
        desk.receive(desk.mail(f"mail {number}"))
    assert desk.sync()["stored"] == 3
    desk.server.new_uidvalidity(desk.account)
    desk.receive(desk.mail("new"))

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(MailboxConnection, killed_in, killed)
        desk.kill()
    fetches.uids.clear()
    desk.sync()
    assert fetches.uids == [desk.uids()[-1]]
    assert desk.ledger() == {"stored": 4, "duplicate": 3}
    assert len(desk.messages()) == 4


def test_a_lost_checkpoint_fetches_nothing_again(embedded_desk: Desk, fetches: Fetches) -> None:
    desk = embedded_desk
    for number in range(3):
        desk.receive(desk.mail(f"mail {number}"))
    assert desk.sync()["stored"] == 3
    desk.installation.change(lambda s: s.query(FolderCheckpoint).delete())
    fetches.uids.clear()
    assert desk.sync() == {"mailboxes": 1}
    assert fetches.uids == []
    assert desk.ledger() == {"stored": 3}


def test_mails_that_differ_in_text_alone_are_both_kept_after_a_renumbering(
    embedded_desk: Desk,
) -> None:
    desk = embedded_desk
    desk.receive(same_identity(desk, "page 1"))
    assert desk.sync()["stored"] == 1
    desk.server.new_uidvalidity(desk.account)
    assert desk.sync()["duplicate"] == 1
    desk.receive(same_identity(desk, "page 2"))
    assert desk.sync()["stored"] == 1
    assert sorted(m.content.strip() for m in desk.messages()) == ["page 1", "page 2"]


def test_a_mail_that_differs_in_text_alone_comes_in_the_midst_of_a_renumbering(
    embedded_desk: Desk,
) -> None:
    desk = embedded_desk
    desk.receive(same_identity(desk, "page 1"))
    assert desk.sync()["stored"] == 1
    desk.server.new_uidvalidity(desk.account)
    desk.receive(same_identity(desk, "page 2"))
    assert desk.sync() == {"mailboxes": 1, "duplicate": 1, "stored": 1}
    assert sorted(m.content.strip() for m in desk.messages()) == ["page 1", "page 2"]


# -- the Sent folder ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["Éléments envoyés", "ENVOYÉS", "Gesendete Elemente", "Archives/Sent Items"]
)
def test_a_sent_folder_is_found_by_its_localised_name(embedded_desk: Desk, name: str) -> None:
    desk = embedded_desk
    with desk.client() as client:
        client.delete_folder("Sent")  # and with it the only SPECIAL-USE
    desk.server.create_folder(desk.account, name)
    desk.receive(desk.sent(CLIENT, "sent"), folder=name)
    assert desk.sync() == {"mailboxes": 1, "stored": 1}
    assert desk.message("sent").kind == "own"
    assert {row.name for row in desk.installation.rows(FolderCheckpoint)} == {"INBOX", name}


def test_special_use_counts_more_than_a_name(desk: Desk) -> None:
    desk.server.create_folder(desk.account, "Envoyés")
    desk.receive(desk.sent(CLIENT, "elsewhere"), folder="Envoyés")
    desk.receive(desk.sent(CLIENT, "sent"), folder="Sent")
    assert desk.sync() == {"mailboxes": 1, "stored": 1}
    assert desk.subjects() == ["sent"]


def test_the_sent_folder_that_the_company_names_counts_most(desk: Desk) -> None:
    desk.server.create_folder(desk.account, "Éléments envoyés")
    desk.installation.set(InboxIntegration, desk.mailbox, sent_folder="Éléments envoyés")
    desk.receive(desk.sent(CLIENT, "sent"), folder="Éléments envoyés")
    assert desk.sync() == {"mailboxes": 1, "stored": 1}


def test_a_sent_folder_that_is_gone_does_not_keep_inbox_back(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.receive(desk.mail("question"))
    desk.installation.set(InboxIntegration, desk.mailbox, sent_folder="Gone")
    report = desk.run()
    assert report.counts == {"mailboxes": 1, "stored": 1, "folders_failed": 1}
    assert report.failed
    assert desk.state().error_kind is None
    assert "folder 'Gone' on" in caplog.text
    assert f"manage.py mailbox set {desk.mailbox} --sent-folder NAME" in caplog.text


# -- drawers -----------------------------------------------------------------------------------


def test_drawers_are_made_on_first_use(embedded_desk: Desk) -> None:
    desk = embedded_desk
    assert desk.sync() == {"mailboxes": 1}
    assert desk.installation.count(InboxFolder) == 0
    desk.receive(desk.mail("question"))
    desk.receive(desk.mail("offers", sender="News <news@shop.test>", List_Id="<offers.shop.test>"))
    assert desk.sync()["stored"] == 2
    drawers = {row.id: row.slug for row in desk.installation.rows(InboxFolder)}
    assert sorted(drawers.values()) == ["inbox", "newsletters", "notices", "spam"]
    filed = {row.subject: drawers[row.folder_id] for row in desk.conversations()}
    assert filed == {"question": "inbox", "offers": "newsletters"}
    # A newsletter makes nobody a client.
    assert [row.email_key for row in desk.installation.rows(Client)] == ["jean@client.test"]


def test_mails_of_one_batch_are_read_in_the_order_of_their_uids(
    embedded_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = embedded_desk
    original = MailboxConnection.mails

    def backwards(connection: MailboxConnection, uids: list[int]) -> list[FetchedMail]:
        return original(connection, uids)[::-1]

    monkeypatch.setattr(MailboxConnection, "mails", backwards)
    desk.receive(desk.mail("first", message_id="<first@client.test>"))
    desk.receive(desk.reply("first@client.test", "Re: first"))
    assert desk.sync()["stored"] == 2
    assert [m.subject for m in desk.messages()] == ["first", "Re: first"]
    assert desk.installation.count(QuarantinedMail) == 0
    assert desk.installation.count(InboxMessage, InboxMessage.placement == "references") == 1
