"""A sender who floods a company: everything is stored, nothing is hidden, nobody is called."""

from __future__ import annotations

import logging

import pytest
import sqlalchemy as sa

from backend.app import db
from backend.app.models import Conversation, InboxMessage, SenderHour
from backend.app.store import senders
from backend.app.store.senders import STORM_MAILS
from tests.inbox.desk import Desk, ago
from tests.operate.conftest import Manage


def flood(desk: Desk, mails: int) -> None:
    for number in range(mails):
        desk.receive(desk.mail(f"Alarm {number}", sender="robot@machine.test"))


def test_flood_is_stored_told_once_and_does_not_fill_the_unread(
    embedded_desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk = embedded_desk
    caplog.set_level(logging.WARNING)
    flood(desk, STORM_MAILS + 4)
    desk.receive(desk.mail("Bonjour"))
    assert desk.sync()["stored"] == STORM_MAILS + 5
    assert caplog.text.count("storm: more than") == 1
    unread = sum(row.unread_count for row in desk.installation.rows(Conversation))
    assert unread == STORM_MAILS + 1
    quiet = desk.installation.rows(InboxMessage, InboxMessage.read)
    assert len(quiet) == 4
    assert all("one of a flood" in row.notes[-1] for row in quiet)
    assert "robot@machine.test" not in caplog.text


def test_storm_is_shown_by_status(embedded_desk: Desk) -> None:
    desk = embedded_desk
    flood(desk, STORM_MAILS + 1)
    desk.sync()
    manage = Manage(desk.installation)
    assert f"storm: {STORM_MAILS + 1} mails of robot@machine.test" in manage("status").stdout
    [storm] = manage.json("status")["storms"]
    assert storm["mails"] == STORM_MAILS + 1


def test_an_hour_that_another_worker_has_dropped_is_counted_anew(embedded_desk: Desk) -> None:
    desk, at = embedded_desk, ago(minutes=1)
    count = (senders.count_mail, desk.company, "x@y.test", at)
    assert [db.write(*count), db.write(*count)] == [1, 2]
    desk.installation.change(lambda session: session.execute(sa.delete(SenderHour)))
    assert db.write(*count) == 1


def test_old_hours_are_forgotten(embedded_desk: Desk) -> None:
    desk = embedded_desk
    old = SenderHour(company_id=desk.company, sender_key="x@y.test", hour=ago(days=5))
    desk.installation.change(lambda session: session.add(old))
    desk.receive(desk.mail("Neuf"))
    desk.sync()
    assert [row.sender_key for row in desk.installation.rows(SenderHour)] == ["jean@client.test"]
