"""What an incoming mail does to conversations: where it goes, whose turn it is, and I4."""

from __future__ import annotations

from datetime import datetime

import pytest

from backend.app.models import (
    Client,
    Conversation,
    InboxMessage,
    LedgerEntry,
    MessageAttachment,
    OutboxMail,
)
from tests.inbox.desk import CLIENT, Desk, ago, date_header
from tests.installation import Installation, mail


def dated(raw: bytes, moment: datetime) -> bytes:
    """The mail as if it had been written then."""
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Date: ")]
    return b"\r\n".join([*lines, b"Date: " + date_header(moment).encode(), b"", body])


def status(desk: Desk) -> tuple[str, int]:
    conversation = desk.conversation()
    return conversation.status, conversation.unread_count


# -- whose turn it is --------------------------------------------------------------------------


def test_a_question_is_open_and_our_answer_waits(embedded_desk: Desk) -> None:
    desk = embedded_desk
    desk.receive(desk.mail("Devis", message_id="<q@client.test>"))
    desk.sync()
    assert status(desk) == ("open", 1)
    desk.receive(desk.sent(CLIENT, "Re: Devis", In_Reply_To="<q@client.test>"), folder="Sent")
    desk.sync()
    assert status(desk) == ("waiting", 1)
    desk.receive(desk.reply("q@client.test", "Re: Devis"))
    desk.sync()
    assert status(desk) == ("open", 2)


def test_a_mail_opens_a_closed_conversation_again(embedded_desk: Desk) -> None:
    desk = embedded_desk
    desk.receive(desk.mail("Devis", message_id="<q@client.test>"))
    desk.sync()
    desk.installation.set(Conversation, desk.conversation().id, status="closed")
    desk.receive(desk.reply("q@client.test", "Re: Devis"))
    desk.sync()
    assert desk.conversation().status == "open"


@pytest.mark.parametrize("before", ["closed", "waiting"])
def test_an_auto_reply_changes_nobodys_turn(embedded_desk: Desk, before: str) -> None:
    desk = embedded_desk
    desk.receive(desk.mail("Devis", message_id="<q@client.test>"))
    desk.sync()
    desk.installation.set(Conversation, desk.conversation().id, status=before)
    desk.receive(desk.reply("q@client.test", "Absence", Auto_Submitted="auto-replied"))
    assert desk.sync()["stored"] == 1
    assert desk.message("Absence").kind == "auto_reply"
    assert status(desk) == (before, 2)


def test_a_late_older_mail_changes_neither_time_nor_turn(embedded_desk: Desk) -> None:
    desk = embedded_desk
    desk.receive(desk.mail("Devis", message_id="<q@client.test>"))
    ours = desk.sent(CLIENT, "Re: Devis", In_Reply_To="<q@client.test>")
    desk.receive(ours, folder="Sent")
    desk.sync()
    before = desk.conversation()
    assert before.status == "waiting"
    late = dated(desk.reply("q@client.test", "Devis, late"), ago(hours=5))
    desk.receive(late, when=ago(hours=4))
    desk.sync()
    after = desk.conversation()
    assert after.last_message_at == before.last_message_at
    assert (after.status, after.unread_count) == ("waiting", 2)


def test_an_answer_from_a_slow_clock_is_an_answer_all_the_same(embedded_desk: Desk) -> None:
    desk = embedded_desk
    desk.receive(desk.mail("Devis", message_id="<q@client.test>"))
    ours = desk.sent(CLIENT, "Re: Devis", In_Reply_To="<q@client.test>")
    desk.receive(ours, folder="Sent")
    desk.sync()
    assert status(desk)[0] == "waiting"
    desk.receive(dated(desk.reply("q@client.test", "Devis, slow"), ago(hours=5)))
    desk.sync()
    assert status(desk) == ("open", 2)


def test_a_conversation_that_the_company_deleted_is_opened_anew(embedded_desk: Desk) -> None:
    desk = embedded_desk
    desk.receive(desk.mail("Devis", message_id="<q@client.test>"))
    desk.sync()

    def delete_all(session: object) -> None:
        for model in (LedgerEntry, InboxMessage, Conversation):
            session.query(model).delete()  # type: ignore[attr-defined]

    desk.installation.change(delete_all)
    desk.receive(desk.reply("q@client.test", "Re: Devis"))
    assert desk.sync()["stored"] == 1
    assert status(desk) == ("open", 1)


# -- where it goes -----------------------------------------------------------------------------


def test_a_thread_is_followed_through_references(desk: Desk) -> None:
    desk.receive(desk.mail("Devis", message_id="<one@client.test>"))
    ours = desk.sent(CLIENT, "Re: Devis", message_id="<two@us>", In_Reply_To="<one@client.test>")
    desk.receive(ours, folder="Sent")
    assert desk.sync()["stored"] == 2
    desk.receive(desk.mail("Le devis", References="<one@client.test> <two@us>"))
    assert desk.sync()["stored"] == 1
    assert len(desk.conversations()) == 1
    assert desk.message("Le devis").placement == "references"


def test_the_last_of_the_references_is_the_nearest(embedded_desk: Desk) -> None:
    desk = embedded_desk
    desk.receive(desk.mail("Devis", message_id="<one@client.test>"))
    desk.receive(desk.mail("Facture", message_id="<two@client.test>"))
    desk.receive(desk.mail("Facture, suite", References="<one@client.test> <two@client.test>"))
    desk.receive(
        desk.mail("Devis, fin", In_Reply_To="<one@client.test>", References="<two@client.test>")
    )
    assert desk.sync()["stored"] == 4
    assert desk.message("Facture, suite").conversation_id == desk.message("Facture").conversation_id
    assert desk.message("Devis, fin").conversation_id == desk.message("Devis").conversation_id


def test_a_stranger_with_a_stolen_message_id_opens_a_new_conversation(desk: Desk) -> None:
    desk.receive(desk.mail("Devis", message_id="<one@client.test>"))
    desk.sync()
    desk.receive(desk.reply("one@client.test", "Re: Devis", sender="Eve <eve@stranger.test>"))
    desk.sync()
    assert len(desk.conversations()) == 2
    assert desk.message("Re: Devis").placement == "new_thread"


def test_what_we_forward_to_another_client_is_a_conversation_with_that_one(
    embedded_desk: Desk,
) -> None:
    desk = embedded_desk
    desk.receive(desk.mail("Plan", message_id="<plan@client.test>"))
    desk.receive(
        desk.sent("Paul <paul@other.test>", "Fwd: Plan", References="<plan@client.test>"),
        folder="Sent",
    )
    assert desk.sync()["stored"] == 2
    first, second = desk.conversations()
    keys = {row.id: row.email_key for row in desk.installation.rows(Client)}
    assert keys[first.client_id or 0] == "jean@client.test"
    assert keys[second.client_id or 0] == "paul@other.test"


def test_a_reply_without_references_joins_by_its_subject(embedded_desk: Desk) -> None:
    desk = embedded_desk
    desk.receive(desk.mail("Devis n° 12"))
    desk.installation.add_client(desk.company, "paul@other.test", "Paul")
    desk.sync()
    desk.receive(desk.mail("RE: devis  N° 12"))
    desk.receive(desk.mail("Devis n° 12 "))  # no reply: a new matter
    desk.receive(desk.mail("Re: Devis n° 12", sender="Paul <paul@other.test>"))
    desk.sync()
    placements = {m.subject: (m.from_key, m.placement) for m in desk.messages()[1:]}
    assert placements["RE: devis N° 12"] == ("jean@client.test", "subject")
    assert placements["Re: Devis n° 12"] == ("paul@other.test", "new_thread")
    assert [m.placement for m in desk.messages()].count("subject") == 1


def test_a_bare_re_joins_nothing(embedded_desk: Desk) -> None:
    desk = embedded_desk
    desk.receive(desk.mail(""))
    desk.sync()
    desk.receive(desk.mail("Re:"))
    desk.sync()
    assert len(desk.conversations()) == 2


@pytest.mark.parametrize(
    ("conversation_days_ago", "reply_days_ago", "joins"),
    [
        (3, 0, True),
        (29, 0, True),
        (31, 0, False),
        (400, 399, True),
        # An old mailbox is added late: its replies belong to older talks of the same subject.
        (3, 400, False),
        (3, 20, False),
    ],
)
def test_a_subject_joins_only_within_thirty_days(
    embedded_desk: Desk, conversation_days_ago: int, reply_days_ago: int, joins: bool
) -> None:
    desk = embedded_desk
    desk.installation.extra["SYNC_HISTORY_DAYS"] = "500"
    written = ago(days=conversation_days_ago)
    desk.receive(dated(desk.mail("Devis"), written), when=written)
    desk.sync()
    answered = ago(days=reply_days_ago)
    desk.receive(dated(desk.mail("Re: Devis"), answered), when=answered)
    desk.sync()
    assert (desk.message("Re: Devis").placement == "subject") is joins


def test_a_subject_joins_through_any_message_of_the_conversation(embedded_desk: Desk) -> None:
    desk = embedded_desk
    desk.installation.extra["SYNC_HISTORY_DAYS"] = "500"
    for days, raw in (
        (200, desk.mail("Devis", message_id="<one@client.test>")),
        (0, desk.reply("one@client.test", "Re: Devis")),
    ):
        desk.receive(dated(raw, ago(days=days)), when=ago(days=days))
    desk.sync()
    desk.receive(dated(desk.mail("Re : Devis"), ago(days=190)), when=ago(days=190))
    desk.sync()
    assert desk.message("Re : Devis").placement == "subject"


def test_the_reply_to_a_reminder_opens_the_clients_conversation(embedded_desk: Desk) -> None:
    desk, installation = embedded_desk, embedded_desk.installation
    client = installation.add_client(desk.company, "jean@client.test")
    followup = installation.add_followup(desk.company, client)
    installation.add(
        OutboxMail(
            company_id=desk.company,
            followup_id=followup,
            client_id=client,
            step=1,
            integration_id=desk.mailbox,
            message_id="reminder@us",
            fingerprint="0" * 64,
            recipient="jean@client.test",
            subject="Facture",
            content="Bonjour",
            raw=b"",
            state="uncertain",
        )
    )
    desk.receive(desk.reply("reminder@us", "Re: Facture"))
    desk.receive(desk.reply("reminder@us", "Re: Facture ", sender="Eve <eve@stranger.test>"))
    desk.sync()
    by_client, by_stranger = desk.messages()
    assert (by_client.placement, by_stranger.placement) == ("reminder", "new_thread")
    first, second = desk.conversations()
    assert first.thread_key == f"client:{client}"
    assert (by_client.conversation_id, by_stranger.conversation_id) == (first.id, second.id)


# -- other companies ---------------------------------------------------------------------------


def test_nothing_crosses_between_companies(installation: Installation, embedded_desk: Desk) -> None:
    """Two companies share a client, a subject and a forged Message-ID."""
    desk = embedded_desk
    other = installation.add_company("Plomberie Martin")
    account = desk.server.add_user()
    theirs = installation.add_mailbox(other, account, desk.server)
    desk.accounts[theirs] = account
    raw = mail(sender=CLIENT, to="both@test", subject="Devis", message_id="<one@client.test>")
    # The very same mail to both, with a file.
    head, _, _ = raw.partition(b"MIME-Version")
    raw = head + (
        b'MIME-Version: 1.0\r\nContent-Type: application/pdf; name="a.pdf"\r\n'
        b'Content-Disposition: attachment; filename="a.pdf"\r\n\r\n%PDF-1.4\r\n'
    )
    desk.receive(raw)
    desk.receive(raw, mailbox=theirs)
    assert desk.sync() == {"mailboxes": 2, "stored": 2}
    # Each company answers, and the client's answers name the other company's message.
    for mailbox in (desk.mailbox, theirs):
        own = desk.accounts[mailbox].address
        answer = mail(
            sender=own, to=CLIENT, subject="Re: Devis", message_id=f"<{mailbox}@us>",
            In_Reply_To="<one@client.test>",
        )  # fmt: skip
        desk.receive(answer, folder="Sent", mailbox=mailbox)
    assert desk.sync()["stored"] == 2
    desk.receive(desk.reply(f"{theirs}@us", "Autre"))
    desk.receive(desk.reply(f"{desk.mailbox}@us", "Autre", sender=CLIENT), mailbox=theirs)
    assert desk.sync()["stored"] == 2
    for company, mailbox in ((desk.company, desk.mailbox), (other, theirs)):
        messages = installation.rows(InboxMessage, InboxMessage.company_id == company)
        assert [m.placement for m in messages] == ["new_thread", "references", "new_thread"]
        assert {m.integration_id for m in messages} == {mailbox}
        conversations = installation.rows(Conversation, Conversation.company_id == company)
        assert {m.conversation_id for m in messages} == {c.id for c in conversations}
        (client,) = installation.rows(Client, Client.company_id == company)
        assert {c.client_id for c in conversations} == {client.id}
    files = {row.company_id: row.sha256 for row in installation.rows(MessageAttachment)}
    root = installation.settings.attachments_dir
    assert sorted(files) == [desk.company, other]
    assert {p.parts[-3] for p in root.rglob("*") if p.is_file()} == {
        str(desk.company),
        str(other),
    }


def test_a_run_for_one_company_reads_only_its_mailboxes(
    installation: Installation, embedded_desk: Desk
) -> None:
    desk = embedded_desk
    other = installation.add_company("Plomberie Martin")
    account = desk.server.add_user()
    theirs = installation.add_mailbox(other, account, desk.server)
    desk.accounts[theirs] = account
    desk.receive(desk.mail("ours"))
    desk.receive(desk.mail("theirs"), mailbox=theirs)
    assert desk.sync(company_id=other) == {"mailboxes": 1, "stored": 1}
    assert desk.subjects() == ["theirs"]


def test_a_reply_under_another_subject_begins_a_conversation_of_its_own(
    embedded_desk: Desk,
) -> None:
    desk = embedded_desk
    desk.receive(desk.mail("Devis toiture", message_id="<one@client.test>"))
    desk.receive(
        desk.reply("one@client.test", "Rendez-vous cuisine", message_id="<two@client.test>")
    )
    desk.receive(desk.reply("two@client.test", "Re: Rendez-vous cuisine"))
    desk.sync()
    assert sorted(row.subject for row in desk.conversations()) == [
        "Devis toiture",
        "Rendez-vous cuisine",
    ]
    assert desk.message("Rendez-vous cuisine").placement == "other_subject"
    assert desk.message("Re: Rendez-vous cuisine").placement == "references"


def test_ancestors_that_arrive_last_join_what_answers_them(embedded_desk: Desk) -> None:
    desk = embedded_desk
    desk.receive(desk.reply("two@us", "Re: Devis", message_id="<three@client.test>"))
    desk.sync()
    ours = desk.sent(CLIENT, "Re: Devis", message_id="<two@us>", In_Reply_To="<one@client.test>")
    desk.receive(ours, folder="Sent")
    desk.sync()
    desk.receive(desk.mail("Devis", message_id="<one@client.test>"))
    desk.sync()
    assert len(desk.conversations()) == 1
    assert desk.message("Devis").placement == "answered_by"


def test_a_stranger_with_an_awaited_message_id_opens_his_own_conversation(
    embedded_desk: Desk,
) -> None:
    desk = embedded_desk
    desk.receive(desk.reply("awaited@us", "Re: Devis"))
    desk.receive(desk.mail("Moi", sender="eve@stranger.test", message_id="<awaited@us>"))
    desk.sync()
    assert len(desk.conversations()) == 2
    assert desk.message("Moi").placement == "new_thread"


def test_the_thirty_second_reference_from_the_end_still_finds_its_thread(
    embedded_desk: Desk,
) -> None:
    desk = embedded_desk
    desk.receive(desk.mail("Devis", message_id="<root@client.test>"))
    for name, before in (("found", 1), ("lost", 2)):
        unknown = " ".join(f"<{name}{number}@x.test>" for number in range(30 + before))
        references = f"<root@client.test> {unknown}"
        desk.receive(desk.mail(f"Sans préfixe {name}", References=references))
    desk.sync()
    # Under another subject, so that only the reference can have found it.
    assert desk.message("Sans préfixe found").placement == "other_subject"
    assert desk.message("Sans préfixe lost").placement == "new_thread"
