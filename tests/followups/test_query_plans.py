"""No statement of a reminder's way reads a whole table that grows: held by the databases' plans.

Every SELECT and UPDATE of a real run is asked to explain itself on tables that are big enough for
the planner to prefer an index where there is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from backend.app import db
from backend.app.models import (
    Client,
    Conversation,
    Followup,
    FollowupHistory,
    InboxMessage,
    OutboxMail,
)
from backend.app.store import followups
from tests.followups.office import Office
from tests.followups.test_holds import incoming
from tests.installation import ALWAYS_OPEN

# Tables that grow with the years; the others have a handful of rows a company.
GROWING = ("followups", "followup_history", "outbox", "inbox_messages", "conversations", "clients")
MANY = 3000
# Of a first reminder, its three transactions' beginnings included. Each costs a fiftieth of a
# millisecond in this process and an answer of the server: what is asked together is one statement.
MOST_STATEMENTS = 35


def grow(office: Office) -> None:
    """Old rows in each growing table, some for each of many clients, none of them due."""
    now = db.utc_now()
    first = office.client("old")
    incoming(office, first, "human", now - timedelta(days=400), from_key="old@client.test")
    (message,) = office.messages()
    own = {"company_id": office.company}
    followup = {**own, "type": "invoice_unpaid", "auto_state": "stopped", "next_action_at": now}
    history = {**own, "step": 1, "status": "held", "sent_at": now}
    names = [f"{number}@old.test" for number in range(MANY)]

    def write(session: Any) -> None:
        def insert(model: Any, rows: list[dict[str, Any]]) -> None:
            session.execute(sa.insert(model), rows)

        insert(Client, [{**own, "email": name, "email_key": name} for name in names])
        clients = list(session.scalars(sa.select(Client.id)))
        insert(Followup, [{**followup, "client_id": each} for each in clients])
        pairs = session.execute(sa.select(Followup.id, Followup.client_id)).all()
        insert(OutboxMail, [_sent(office, client, each) for each, client in pairs])
        insert(FollowupHistory, [{**history, "followup_id": each} for each, _ in pairs])
        insert(InboxMessage, [_message(message, each) for each in clients])
        thread = {**own, "source": "email"}
        insert(
            Conversation,
            [{**thread, "client_id": each, "thread_key": f"client:{each}"} for each in clients],
        )

    office.installation.change(write)
    with db.SessionLocal.kw["bind"].connect() as connection:
        connection.exec_driver_sql("ANALYZE")
        connection.commit()


def _sent(office: Office, client: int, followup: int) -> dict[str, Any]:
    at = db.utc_now() - timedelta(days=200, minutes=followup)
    return {
        "company_id": office.company,
        "client_id": client,
        "followup_id": followup,
        "integration_id": office.mailbox,
        "step": 1,
        "message_id": f"{followup}@old.test",
        "fingerprint": f"{followup:064}",
        "recipient": "old@client.test",
        "subject": "",
        "content": "",
        "raw": b"",
        "state": "sent",
        "sending_at": at,
        "sent_at": at,
    }


def _message(message: Any, number: int) -> dict[str, Any]:
    at = message.arrived_at - timedelta(minutes=number)
    return {
        "company_id": message.company_id,
        "conversation_id": message.conversation_id,
        "external_id": f"{number}@old.test",
        "fingerprint": f"old-{number}",
        "from_key": f"{number}@client.test",
        "is_from_client": True,
        "kind": "human",
        "placement": "new",
        "sent_at": at,
        "arrived_at": at,
    }


def count_statements(work: Callable[[], object]) -> int:
    """Of all kinds, BEGIN or SET LOCAL among them: each is one answer to wait for."""
    engine, found = db.SessionLocal.kw["bind"], []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return len(found)


@contextmanager
def heard() -> Iterator[dict[str, Any]]:
    """statement -> one set of its parameters, of all that a block executes."""
    engine, found = db.SessionLocal.kw["bind"], {}

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if re.match(r"\s*(SELECT|UPDATE)", statement):
            found.setdefault(statement, parameters)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)


def plan_of(statement: str, parameters: Any) -> list[str]:
    engine = db.SessionLocal.kw["bind"]
    how = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN "
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(how + statement, parameters).all()
        connection.rollback()
    return [str(row[-1]) for row in rows]


def scans(statement: str, parameters: Any) -> list[str]:
    """The growing tables that this statement reads from end to end, or all of a company's rows."""
    sqlite = db.SessionLocal.kw["bind"].dialect.name == "sqlite"
    whole = r"\bSCAN (\w+)|SEARCH (\w+) USING [^(]*\(company_id=\?\)"
    pattern = whole if sqlite else r"Seq Scan on (\w+)()"
    found = re.findall(pattern, "\n".join(plan_of(statement, parameters)))
    return [name for name in map("".join, found) if name in GROWING]


def test_no_statement_of_a_run_reads_a_whole_table(office: Office) -> None:
    rules = {**ALWAYS_OPEN, "budgets": {"client_gap_days": 2}}
    office.installation.set_settings(office.company, {"followups": rules})
    grow(office)
    office.reminder("a", created_at=db.utc_now() - timedelta(days=30))
    office.reminder("b", status="paid")
    office.reminder("c", promised_until=db.utc_now().date() + timedelta(days=9))
    office.send()  # reads the tables' definitions
    office.reminder("d")

    with heard() as statements:
        assert office.send().counts == {"sent": 1}

    assert len(statements) > 15
    found = {each: scans(each, parameters) for each, parameters in statements.items()}
    assert {each: tables for each, tables in found.items() if tables} == {}


def test_one_more_reminder_asks_no_more_than_this(office: Office) -> None:
    office.send()  # reads the tables' definitions
    counted = []
    for due in (1, 4):
        for number in range(due):
            office.reminder(f"{due}-{number}")
        counted.append(count_statements(lambda: office.send()))
    assert (counted[1] - counted[0]) / 3 <= MOST_STATEMENTS


def test_what_is_due_is_found_by_its_own_index(office: Office) -> None:
    grow(office)
    with heard() as statements:
        db.read(followups.list_due, db.utc_now(), 100, company_id=None, followup_id=None)
    ((statement, parameters),) = statements.items()
    assert "ix_followups_due" in "\n".join(plan_of(statement, parameters))


def test_a_missing_index_would_be_seen(office: Office) -> None:
    grow(office)
    office.reminder("a")
    office.installation.change(lambda s: s.execute(sa.text("DROP INDEX ix_outbox_client_sent")))
    with heard() as statements:
        office.send()
    found = [table for each, given in statements.items() for table in scans(each, given)]
    assert found
