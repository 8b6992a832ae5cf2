"""A copy of each reminder in Sent: one, whoever files it and whatever happens meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from backend.app.db import database_now
from backend.app.errors import Throttled
from backend.app.inbox import copies
from backend.app.mail.imap import MailboxConnection
from backend.app.mail.parse import parse_mail
from backend.app.models import (
    CompanySettings,
    InboxIntegration,
    InboxMessage,
    LedgerEntry,
    OutboxMail,
    SentCopy,
)
from backend.app.store.sent_copies import PAUSES_SECONDS
from tests.conftest import EmbeddedSmtpServer
from tests.followups.office import Office
from tests.inbox.desk import Desk, open_desk
from tests.installation import ALWAYS_OPEN, Installation


@pytest.fixture
def place(installation: Installation, imap_server: Any, embedded_smtp: EmbeddedSmtpServer) -> Any:
    """A company whose mailbox is read on each IMAP server, and whose provider files no copy."""
    desk = open_desk(installation, imap_server)
    smtp = {"smtp_host": embedded_smtp.host, "smtp_port": embedded_smtp.port}
    installation.set(
        InboxIntegration, desk.mailbox, smtp_security="plain", smtp_username="", **smtp
    )
    office = Office(
        installation, embedded_smtp, imap_server, desk.account, desk.company, desk.mailbox
    )
    return desk, office


def in_sent(desk: Desk) -> list[tuple[bytes, tuple[Any, ...]]]:
    """The mails that lie in Sent, with their flags."""
    with desk.client() as client:
        client.select_folder("Sent", readonly=True)
        rows = client.fetch(client.search(), ["BODY.PEEK[]", "FLAGS"])
        return [(row[b"BODY[]"], row[b"FLAGS"]) for _, row in sorted(rows.items())]


def patience_is_over(office: Office) -> None:
    past = sa.update(SentCopy).values(next_attempt_at=database_now(-1))
    office.installation.change(lambda s: s.execute(past))


def copy_row(office: Office) -> SentCopy:
    (row,) = office.installation.rows(SentCopy)
    return row  # type: ignore[no-any-return]


def sent_reminder(desk: Desk, office: Office) -> int:
    followup = office.reminder()
    desk.installation.sync()
    assert office.send().counts == {"sent": 1}
    return followup


def test_a_copy_is_appended_read_and_counted_as_the_reminder_that_it_is(place: Any) -> None:
    desk, office = place
    followup = sent_reminder(desk, office)
    assert in_sent(desk) == []
    assert "copies_appended" not in desk.installation.sync().counts  # the provider may yet file it
    patience_is_over(office)

    assert desk.installation.sync().counts["copies_appended"] == 1

    ((raw, flags),) = in_sent(desk)
    assert raw == office.outbox(followup).raw
    assert b"\\Seen" in flags
    assert parse_mail(raw).message_id == office.outbox(followup).message_id
    assert copy_row(office).state == "appended"
    counts = desk.installation.sync().counts  # it is met as what we know already
    assert counts["duplicate"] == 1
    assert "copies_appended" not in counts
    assert len(in_sent(desk)) == 1
    assert len(office.messages()) == 1
    assert office.outbox(followup).state == "sent"


def test_where_the_provider_files_a_copy_there_is_no_second(place: Any) -> None:
    desk, office = place
    followup = sent_reminder(desk, office)
    desk.receive(office.outbox(followup).raw, "Sent")
    patience_is_over(office)
    assert desk.installation.sync().counts["copies_found"] == 1
    assert len(in_sent(desk)) == 1
    assert copy_row(office).state == "found"


def test_a_run_that_is_killed_after_the_append_leaves_one_copy(
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, office = place
    followup = sent_reminder(desk, office)
    patience_is_over(office)

    class Killed(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(copies.sent_copies, "settle", die)
        with pytest.raises(Killed):
            desk.installation.sync()
    assert len(in_sent(desk)) == 1
    desk.installation.change(
        lambda s: s.execute(sa.text("UPDATE mailbox_states SET lease_until = NULL"))
    )

    assert desk.installation.sync().counts["copies_found"] == 1
    assert len(in_sent(desk)) == 1
    assert office.outbox(followup).state == "sent"


def test_a_copy_that_cannot_be_filed_is_tried_a_few_times_and_harms_nothing(
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, office = place
    followup = sent_reminder(desk, office)

    def full(*_: Any) -> None:
        raise Throttled("[OVERQUOTA] the mailbox is full")

    with monkeypatch.context() as patch:
        patch.setattr(MailboxConnection, "append_seen", full)
        for attempt in range(1, len(PAUSES_SECONDS) + 2):
            patience_is_over(office)
            report = desk.installation.sync()
            assert report.counts["copies_failed"] == 1
            assert "mailboxes_failed" not in report.counts  # it was read: reminders may go on
            assert copy_row(office).attempts == attempt
    assert copy_row(office).state == "given_up"
    assert "OVERQUOTA" in (copy_row(office).error or "")
    assert office.outbox(followup).state == "sent"
    patience_is_over(office)
    assert "copies_failed" not in desk.installation.sync().counts


def test_a_company_may_do_without_copies(place: Any) -> None:
    desk, office = place
    document = {"followups": {**ALWAYS_OPEN, "mail": {"copy_in_sent": False}}}
    office.installation.change(
        lambda s: s.merge(CompanySettings(company_id=office.company, settings=document))
    )
    sent_reminder(desk, office)
    assert office.installation.rows(SentCopy) == []


@pytest.mark.parametrize("state", ["uncertain", "planned", "sending", "failed"])
def test_only_what_the_outbox_calls_sent_gets_a_copy(place: Any, state: str) -> None:
    """A copy of an uncertain step would prove that it went out."""
    desk, office = place
    followup = sent_reminder(desk, office)
    values: dict[str, Any] = {"state": state}
    if state == "sending":
        values |= {"owner": "a", "lease_until": database_now(300)}
    office.installation.set(OutboxMail, office.outbox(followup).id, **values)
    patience_is_over(office)
    desk.installation.sync()
    assert in_sent(desk) == []


def test_nothing_else_in_the_mailbox_changes(place: Any) -> None:
    desk, office = place
    desk.receive(desk.mail("Autre chose"))
    sent_reminder(desk, office)
    patience_is_over(office)
    before = flags_of_inbox(desk)
    desk.installation.sync()
    assert flags_of_inbox(desk) == before
    entries = office.installation.count(LedgerEntry)
    desk.installation.sync()
    assert office.installation.count(LedgerEntry) == entries + 1
    assert office.installation.count(InboxMessage) == 2


def flags_of_inbox(desk: Desk) -> dict[int, tuple[Any, ...]]:
    with desk.client() as client:
        client.select_folder("INBOX", readonly=True)
        return {
            uid: tuple(flag for flag in row[b"FLAGS"] if flag != b"\\Recent")
            for uid, row in client.fetch(client.search(), ["FLAGS"]).items()
        }
