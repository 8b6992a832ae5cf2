"""No statement of a mail's way reads a whole table that grows: held by the databases' plans."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from backend.app import db
from backend.app.models import LedgerEntry, SenderHour
from tests.bench.growth import fill
from tests.followups import test_query_plans as plans
from tests.followups.test_query_plans import heard, scans
from tests.inbox.desk import Desk, ago

ROWS = 3000
FILLED = ("clients", "conversations", "inbox_messages", "message_ledger", "sender_hours")
# PostgreSQL reads a table of a few rows as a whole, and rightly so; SQLite takes its index anyway.
EMPTY = ("message_attachments", "quarantined_mails", "outbox", "sent_copies")


def grow(desk: Desk, *, analysed: bool) -> None:
    """Old clients, conversations, messages and follow-ups, and what the ledger says of them."""
    fill(desk, ROWS)
    place = {"integration_id": desk.mailbox, "folder": "Old", "uidvalidity": 1, "state": "stored"}
    ledger = [{**place, "uid": number, "message_id": number} for number in range(1, ROWS + 1)]
    hour = ago(hours=3).replace(minute=0, second=0, microsecond=0)
    hours = [
        {
            "company_id": desk.company,
            "sender_key": f"{n}@old.test",
            "hour": hour + timedelta(hours=n % 3),
        }
        for n in range(ROWS)
    ]

    def write(session: Any) -> None:
        session.execute(sa.insert(LedgerEntry), ledger)
        session.execute(sa.insert(SenderHour), hours)

    desk.installation.change(write)
    engine = db.SessionLocal.kw["bind"]
    with engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")
        if not analysed:
            connection.exec_driver_sql("DELETE FROM sqlite_stat1")
        connection.commit()
    engine.dispose()  # a connection keeps the statistics that it has read


def receive_each_kind(desk: Desk, name: str) -> None:
    """What opens a thread, answers one by reference and by subject, comes twice, and is ours."""
    desk.receive(desk.mail("Devis", message_id=f"<{name}.1@client.test>"))
    desk.receive(desk.reply(f"{name}.1@client.test", "Re: Devis"))
    desk.receive(desk.mail("Re: Devis", message_id=f"<{name}.2@client.test>"))
    both = f"<{name}.1@client.test> <{name}.2@client.test>"
    desk.receive(desk.mail("Re: Devis", message_id=f"<{name}.3@client.test>", References=both))
    desk.receive(desk.mail("Devis", message_id=f"<{name}.1@client.test>", text="Autre chose.\r\n"))
    desk.receive(desk.sent("jean@client.test", "Re: Devis"), "Sent")


def test_no_statement_of_a_run_reads_a_whole_table(embedded_desk: Desk, monkeypatch: Any) -> None:
    require_no_whole_table(embedded_desk, monkeypatch, analysed=True)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_nor_does_one_on_an_sqlite_without_statistics(
    embedded_desk: Desk, monkeypatch: Any
) -> None:
    """Nobody runs ANALYZE on a new SQLite; PostgreSQL does so itself."""
    require_no_whole_table(embedded_desk, monkeypatch, analysed=False)


def require_no_whole_table(desk: Desk, monkeypatch: Any, *, analysed: bool) -> None:
    sqlite = db.SessionLocal.kw["bind"].dialect.name == "sqlite"
    monkeypatch.setattr(plans, "GROWING", (*FILLED, *EMPTY) if sqlite else FILLED)
    grow(desk, analysed=analysed)
    receive_each_kind(desk, "first")
    desk.sync()  # reads the tables' definitions
    receive_each_kind(desk, "second")

    with heard() as statements:
        assert desk.sync()["stored"] == 6

    assert len(statements) > 20
    found = {each: scans(each, parameters) for each, parameters in statements.items()}
    assert {each: tables for each, tables in found.items() if tables} == {}
