"""What goes wrong with one mail, one folder or one mailbox, and what goes on all the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from backend.app import db
from backend.app.errors import Refused
from backend.app.inbox import ingest as ingest_module
from backend.app.inbox.files import attachment_path
from backend.app.mail.folder import FetchedMail
from backend.app.mail.imap import MailboxConnection
from backend.app.models import (
    Conversation,
    InboxIntegration,
    LedgerEntry,
    MailboxState,
    MessageAttachment,
    QuarantinedMail,
)
from backend.app.operate import quarantine
from tests.inbox.desk import Desk, ago, open_desk
from tests.installation import Installation
from tests.servers.shared import free_ports

POISON = "poison@client.test"
PDF = b"%PDF-1.4 the same bytes\n"


def with_attachment(desk: Desk, subject: str, content: bytes = PDF) -> bytes:
    head, _, text = desk.mail(subject).partition(b"\r\n\r\n")
    head = head.replace(
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit",
        b'Content-Type: multipart/mixed; boundary="b"',
    )
    parts = (
        b"--b\r\nContent-Type: text/plain\r\n\r\n" + text,
        b'--b\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename="a.pdf"'
        b"\r\n\r\n" + content,
        b"--b--\r\n",
    )
    return head + b"\r\n\r\n" + b"\r\n".join(parts)


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The transaction of one mail fails after all its writes, until the patch is undone."""
    real = ingest_module.ingest

    def ingest(*arguments: Any) -> Any:
        result = real(*arguments)
        if arguments[-1].mail.message_id == POISON:
            raise ValueError("this mail cannot be handled")
        return result

    with monkeypatch.context() as patch:
        patch.setattr(ingest_module, "ingest", ingest)
        yield patch


def receive_poison(desk: Desk) -> None:
    desk.receive(desk.mail("before"))
    desk.receive(desk.mail("poison", message_id=f"<{POISON}>"))
    desk.receive(desk.mail("behind"))


def end_quarantine_pause(desk: Desk) -> None:
    desk.installation.change(
        lambda s: s.execute(sa.update(QuarantinedMail).values(next_attempt_at=ago(minutes=1)))
    )


def quarantined(desk: Desk) -> QuarantinedMail:
    (found,) = desk.installation.rows(QuarantinedMail)
    assert isinstance(found, QuarantinedMail)
    return found


# -- one mail ----------------------------------------------------------------------------------


def test_a_mail_that_fails_is_kept_raw_and_those_behind_it_come(
    desk: Desk, poisoned: pytest.MonkeyPatch
) -> None:
    receive_poison(desk)
    report = desk.run()
    assert report.counts == {"mailboxes": 1, "stored": 2, "quarantined": 1}
    assert report.failed
    assert desk.ledger() == {"stored": 2, "quarantined": 1}
    assert desk.subjects() == ["before", "behind"]
    assert desk.installation.count(Conversation) == 2  # its own was rolled back
    kept = quarantined(desk)
    assert b"Subject: poison" in kept.raw
    assert kept.sender_key == "jean@client.test"
    assert "this mail cannot be handled" in kept.error
    assert desk.state().error_kind is None  # the mailbox is not to blame
    assert desk.sync() == {"mailboxes": 1}  # its pause is not over


def test_a_quarantined_mail_comes_by_itself_once_it_can_be_handled(
    desk: Desk, poisoned: pytest.MonkeyPatch
) -> None:
    receive_poison(desk)
    desk.sync()
    poisoned.undo()
    end_quarantine_pause(desk)
    assert desk.sync() == {"mailboxes": 1, "stored": 1}
    assert desk.ledger() == {"stored": 3}
    assert desk.installation.count(QuarantinedMail) == 0
    message = desk.message("poison")
    entries = desk.installation.rows(LedgerEntry, LedgerEntry.message_id == message.id)
    assert [entry.reason for entry in entries] == ["after quarantine"]


def test_a_quarantined_mail_is_tried_less_and_less_often_then_left_to_a_person(
    embedded_desk: Desk, poisoned: pytest.MonkeyPatch
) -> None:
    desk = embedded_desk
    receive_poison(desk)
    desk.sync()
    pauses = []
    while (due := quarantined(desk).next_attempt_at) is not None:
        pauses.append(due - ago())
        end_quarantine_pause(desk)
        assert desk.sync() == {"mailboxes": 1, "quarantined": 1}
        assert len(pauses) < 10
    assert [round(pause.total_seconds() / 3600, 1) for pause in pauses] == [0.2, 6.0, 24.0]
    assert quarantined(desk).attempts == 4
    assert desk.ledger() == {"stored": 2, "quarantined": 1}
    assert desk.sync() == {"mailboxes": 1}


def given_up(desk: Desk) -> int:
    """A mail that could not be handled, and is not tried again by itself; its number."""
    receive_poison(desk)
    desk.sync()
    desk.installation.change(
        lambda s: s.execute(sa.update(QuarantinedMail).values(next_attempt_at=None))
    )
    assert desk.sync() == {"mailboxes": 1}
    return int(quarantined(desk).id)


def test_a_mail_that_was_given_up_is_tried_once_more_when_a_person_says_so(
    embedded_desk: Desk, poisoned: pytest.MonkeyPatch
) -> None:
    desk = embedded_desk
    kept = given_up(desk)
    db.write(quarantine.retry, desk.company, kept)
    assert desk.sync() == {"mailboxes": 1, "quarantined": 1}
    assert desk.sync() == {"mailboxes": 1}

    poisoned.undo()
    db.write(quarantine.retry, desk.company, kept)
    assert desk.sync() == {"mailboxes": 1, "stored": 1}
    assert desk.ledger() == {"stored": 3}


def test_a_mail_that_a_person_drops_is_not_fetched_again(
    embedded_desk: Desk, poisoned: pytest.MonkeyPatch
) -> None:
    desk = embedded_desk
    kept = given_up(desk)
    db.write(quarantine.drop, desk.company, kept, "Claire")
    poisoned.undo()
    past = {"audited_at": ago(hours=2)}
    desk.installation.change(lambda s: s.execute(sa.update(MailboxState).values(**past)))

    assert desk.sync() == {"mailboxes": 1}

    assert desk.ledger() == {"stored": 2, "ignored": 1}
    assert desk.installation.count(QuarantinedMail) == 0
    assert (desk.state().audit["ignored"], desk.state().audit["missing"]) == (1, 0)
    with pytest.raises(Refused, match="there is no quarantined mail"):
        db.write(quarantine.retry, desk.company, kept)


def test_a_replay_is_one_commit(
    embedded_desk: Desk, poisoned: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = embedded_desk
    receive_poison(desk)
    desk.sync()
    poisoned.undo()
    end_quarantine_pause(desk)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("backend.app.store.ledger.leave_quarantine", killed)
        with pytest.raises(KeyboardInterrupt):
            desk.run()
    desk.end_leases()
    assert desk.ledger() == {"stored": 2, "quarantined": 1}
    assert desk.subjects() == ["before", "behind"]
    assert desk.sync() == {"mailboxes": 1, "stored": 1}
    assert desk.ledger() == {"stored": 3}


def test_a_quarantined_mail_met_again_after_renumbering_is_one_message(
    embedded_desk: Desk, poisoned: pytest.MonkeyPatch
) -> None:
    desk = embedded_desk
    receive_poison(desk)
    desk.sync()
    poisoned.undo()
    desk.server.new_uidvalidity(desk.account)
    assert desk.sync() == {"mailboxes": 1, "duplicate": 2, "stored": 1}
    end_quarantine_pause(desk)
    assert desk.sync() == {"mailboxes": 1, "duplicate": 1}
    assert desk.ledger() == {"stored": 3, "duplicate": 3}
    assert len(desk.messages()) == 3


def test_a_quarantined_mail_of_a_sender_with_an_endless_address_stops_nobody(
    embedded_desk: Desk, poisoned: pytest.MonkeyPatch
) -> None:
    desk = embedded_desk
    # 240 letters that casefold to 720: longer than any column for addresses.
    sender = "ﬃ" * 240 + "@client.test"
    desk.receive(desk.mail("poison", sender=sender, message_id=f"<{POISON}>"))
    desk.receive(desk.mail("behind"))
    assert desk.sync() == {"mailboxes": 1, "quarantined": 1, "stored": 1}


@pytest.fixture
def bodyless(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The server lists the second mail of INBOX and does not give its body."""
    real = MailboxConnection.mails

    def mails(connection: MailboxConnection, uids: list[int]) -> list[FetchedMail]:
        return [mail for mail in real(connection, uids) if b"<" + POISON.encode() not in mail.raw]

    with monkeypatch.context() as patch:
        patch.setattr(MailboxConnection, "mails", mails)
        yield patch


def test_a_mail_whose_body_the_server_does_not_give_is_quarantined(
    desk: Desk, bodyless: pytest.MonkeyPatch
) -> None:
    receive_poison(desk)
    assert desk.sync() == {"mailboxes": 1, "stored": 2, "quarantined": 1}
    assert desk.ledger() == {"stored": 2, "quarantined": 1}
    assert quarantined(desk).raw == b""
    assert "no body" in quarantined(desk).error
    assert desk.sync() == {"mailboxes": 1}


def test_who_wrote_a_mail_without_a_body_is_known_from_its_headers(
    desk: Desk, bodyless: pytest.MonkeyPatch
) -> None:
    receive_poison(desk)
    desk.sync()
    # It may be an answer, so no reminder goes to its sender (I7).
    assert desk.has_in_quarantine("jean@client.test")


# -- attachments -------------------------------------------------------------------------------


def test_attachments_lie_on_disk_by_content_once(embedded_desk: Desk) -> None:
    desk = embedded_desk
    desk.receive(with_attachment(desk, "one"))
    desk.receive(with_attachment(desk, "two"))
    desk.receive(with_attachment(desk, "other", b"%PDF-1.4 other bytes\n"))
    assert desk.sync()["stored"] == 3
    rows = desk.installation.rows(MessageAttachment)
    assert [row.filename for row in rows] == ["a.pdf"] * 3
    root = desk.installation.settings.attachments_dir
    paths = [attachment_path(root, desk.company, row.sha256) for row in rows]
    assert paths[0] == paths[1] != paths[2]
    assert sorted(p for p in root.rglob("*") if p.is_file()) == sorted(set(paths))
    assert [path.stat().st_size for path in paths] == [row.size for row in rows]
    assert PDF.strip() == paths[0].read_bytes().strip()


def test_an_attachment_cut_short_by_a_crash_is_written_again(embedded_desk: Desk) -> None:
    desk = embedded_desk
    desk.receive(with_attachment(desk, "one"))
    desk.sync()
    (row,) = desk.installation.rows(MessageAttachment)
    path = attachment_path(desk.installation.settings.attachments_dir, desk.company, row.sha256)
    path.write_bytes(b"%PDF")
    desk.receive(with_attachment(desk, "two"))
    desk.sync()
    assert path.stat().st_size == row.size


def test_an_unwritable_directory_keeps_back_only_mails_with_attachments(
    embedded_desk: Desk, tmp_path: Path
) -> None:
    desk = embedded_desk
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, where a directory should be")
    desk.installation.extra["ATTACHMENTS_DIR"] = str(blocked / "attachments")
    desk.receive(with_attachment(desk, "with"))
    desk.receive(desk.mail("without"))
    assert desk.sync() == {"mailboxes": 1, "quarantined": 1, "stored": 1}
    assert quarantined(desk).error.startswith("StorageFault")
    # The mail is not to blame: however long it lasts, it is tried again.
    for _ in range(5):
        end_quarantine_pause(desk)
        assert desk.sync() == {"mailboxes": 1, "quarantined": 1}
        assert quarantined(desk).next_attempt_at is not None
    blocked.unlink()
    end_quarantine_pause(desk)
    assert desk.sync() == {"mailboxes": 1, "stored": 1}
    assert desk.subjects() == ["with", "without"]
    assert desk.ledger() == {"stored": 2}
    assert desk.installation.count(MessageAttachment) == 1


# -- one mailbox -------------------------------------------------------------------------------


def fails(desk: Desk, kind: str, minutes: float, **wrong: Any) -> None:
    """The mailbox fails, backs off, is left alone, fails again; the other one is read."""
    right = {name: getattr(desk_integration(desk), name) for name in wrong}
    other = desk.add_mailbox()
    desk.receive(desk.mail("elsewhere"), mailbox=other)
    desk.installation.set(InboxIntegration, desk.mailbox, **wrong)
    report = desk.run()
    assert report.counts == {"mailboxes": 2, "mailboxes_failed": 1, "stored": 1}
    assert report.failed
    state = desk.state()
    assert (state.error_kind, state.failures, state.fresh_at) == (kind, 1, None)
    assert pause(state) == pytest.approx(minutes * 0.875, rel=0.15)
    assert desk.sync() == {"mailboxes": 1}  # the other one alone
    desk.end_pauses()
    assert desk.sync()["mailboxes_failed"] == 1
    again = desk.state()
    assert (again.failures, again.error_since) == (2, state.error_since)
    assert pause(again) == pytest.approx(minutes * 2 * 0.875, rel=0.15)
    desk.installation.set(InboxIntegration, desk.mailbox, **right)


def desk_integration(desk: Desk) -> InboxIntegration:
    wanted = InboxIntegration.id == desk.mailbox
    (found,) = desk.installation.rows(InboxIntegration, wanted)
    assert isinstance(found, InboxIntegration)
    return found


def pause(state: MailboxState) -> float:
    assert state.next_sync_at is not None
    assert state.last_attempt_at is not None
    return (state.next_sync_at - state.last_attempt_at).total_seconds() / 60


def recovers(desk: Desk) -> None:
    desk.receive(desk.mail("late"))
    desk.end_pauses()
    assert desk.sync()["stored"] == 1
    state = desk.state()
    assert (state.failures, state.error_kind, state.error, state.error_since) == (0,) + (None,) * 3
    assert state.fresh_at is not None


def test_a_wrong_password(desk: Desk) -> None:
    wrong = desk.installation.vault.encrypt("not the password")
    fails(desk, "credentials", 10, secret=wrong)
    recovers(desk)


def test_a_password_under_a_lost_key(embedded_desk: Desk) -> None:
    fails(embedded_desk, "key", 1, secret="not a token of ours")
    recovers(embedded_desk)


def test_a_host_that_does_not_answer(embedded_desk: Desk) -> None:
    fails(embedded_desk, "network", 1, imap_port=free_ports(1)[0])
    recovers(embedded_desk)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "mail..example.test", "x" * 70 + ".test"])
def test_a_host_name_that_cannot_be_resolved(embedded_desk: Desk, host: str) -> None:
    embedded_desk.installation.set(InboxIntegration, embedded_desk.mailbox, imap_host=host)
    assert embedded_desk.sync() == {"mailboxes": 1, "mailboxes_failed": 1}
    assert embedded_desk.state().error_kind == "network"
    assert host in (embedded_desk.state().error or "")


def test_a_plain_connection_to_a_host_elsewhere_is_refused(embedded_desk: Desk) -> None:
    wrong = {"imap_host": "192.0.2.1", "imap_security": "plain"}
    fails(embedded_desk, "settings", 10, **wrong)
    recovers(embedded_desk)


def test_a_certificate_that_nobody_vouches_for(desk: Desk) -> None:
    trusted, desk.installation.ca_file = desk.installation.ca_file, None
    desk.receive(desk.mail("question"))
    assert desk.sync() == {"mailboxes": 1, "mailboxes_failed": 1}
    assert desk.state().error_kind == "network"
    assert "not trusted" in (desk.state().error or "")
    desk.installation.ca_file = trusted
    desk.end_pauses()
    assert desk.sync() == {"mailboxes": 1, "stored": 1}


def test_a_certificate_for_another_name(embedded_desk: Desk) -> None:
    embedded_desk.installation.set(InboxIntegration, embedded_desk.mailbox, imap_host="127.0.0.2")
    assert embedded_desk.sync() == {"mailboxes": 1, "mailboxes_failed": 1}
    assert embedded_desk.state().error_kind == "network"


def test_an_authority_file_that_is_none(embedded_desk: Desk, tmp_path: Path) -> None:
    broken = tmp_path / "ca.pem"
    broken.write_text("no certificate")
    embedded_desk.installation.ca_file = broken
    assert embedded_desk.sync() == {"mailboxes": 1, "mailboxes_failed": 1}
    assert embedded_desk.state().error_kind == "settings"


def test_starttls_is_verified_and_used(desk: Desk) -> None:
    desk.installation.set(
        InboxIntegration, desk.mailbox, imap_security="starttls", imap_port=desk.server.port
    )
    desk.receive(desk.mail("question"))
    assert desk.sync() == {"mailboxes": 1, "stored": 1}
    desk.installation.ca_file = None
    assert desk.sync() == {"mailboxes": 1, "mailboxes_failed": 1}
    assert desk.state().error_kind == "network"


@pytest.mark.parametrize(("database", "imap_server"), [("sqlite", "dovecot")], indirect=True)
def test_a_wrong_password_that_is_not_ascii_is_a_wrong_password(
    installation: Installation, imap_server: Any
) -> None:
    desk = open_desk(installation, imap_server)
    wrong = desk.installation.vault.encrypt("mot de passé à 3 €")
    desk.installation.set(InboxIntegration, desk.mailbox, secret=wrong)
    assert desk.sync() == {"mailboxes": 1, "mailboxes_failed": 1}
    assert desk.state().error_kind == "credentials"


def test_a_backed_off_mailbox_is_read_when_named(embedded_desk: Desk) -> None:
    desk = embedded_desk
    right = desk_integration(desk).secret
    wrong = desk.installation.vault.encrypt("not the password")
    desk.installation.set(InboxIntegration, desk.mailbox, secret=wrong)
    desk.sync()
    desk.installation.set(InboxIntegration, desk.mailbox, secret=right)
    assert desk.sync() == {}
    assert desk.sync(mailbox_id=desk.mailbox) == {"mailboxes": 1}
    assert desk.state().failures == 0


def test_an_inactive_mailbox_is_left_alone(embedded_desk: Desk) -> None:
    embedded_desk.installation.set(InboxIntegration, embedded_desk.mailbox, is_active=False)
    assert embedded_desk.sync() == {}


def test_no_password_stands_in_any_log_line(
    embedded_desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk = embedded_desk
    for secret in ("S3cret-word", "S3cret-wörd"):
        wrong = desk.installation.vault.encrypt(secret)
        desk.installation.set(InboxIntegration, desk.mailbox, secret=wrong)
        with caplog.at_level("DEBUG"):
            desk.sync()
        ours = [r.getMessage() for r in caplog.records if r.name.startswith("relance")]
        assert ours
        assert "S3cret" not in " ".join(ours)
        assert "S3cret" not in (desk.state().error or "")
        desk.end_pauses()


def test_an_answer_that_the_database_refuses_stops_only_its_mailbox(
    embedded_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = embedded_desk
    other = desk.add_mailbox()
    desk.receive(desk.mail("elsewhere"), mailbox=other)
    real = MailboxConnection.status

    def status(connection: MailboxConnection, name: str) -> Any:
        answer = real(connection, name)
        mine = connection._endpoint.username == desk.account.username
        return replace(answer, uidvalidity=2**80) if mine else answer

    monkeypatch.setattr(MailboxConnection, "status", status)
    assert desk.sync() == {"mailboxes": 2, "mailboxes_failed": 1, "stored": 1}
    assert desk.state().failures == 1
