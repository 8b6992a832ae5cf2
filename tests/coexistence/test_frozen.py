"""SIGSTOP at the points of a run, for longer than its lease; another takes over; SIGCONT.

The one that wakes up late sends nothing and writes nothing, but for what was on the wire already: a
mail whose body was on its way when it froze is nobody else's to send, and its 2xx is the best proof
that there is; an APPEND of a copy to Sent cannot be taken back either, and makes a second copy.

Frozen in the middle of a transaction it keeps its rows: PostgreSQL ends that transaction after a
while (db.IDLE_IN_TRANSACTION_SECONDS, shortened here), SQLite has no such thing, and nobody can
take over there before it goes on.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from backend.app.models import (
    Base,
    Client,
    Conversation,
    FollowupHistory,
    InboxMessage,
    LedgerEntry,
    MessageAttachment,
    OutboxMail,
    OutboxState,
)
from tests.coexistence.aftermath import end_leases
from tests.coexistence.books import delivery_faults, imbalances
from tests.coexistence.crash import Started, frozen_at
from tests.coexistence.extent import LONG, SEED, each_with_a_database, one_in
from tests.coexistence.figures import Figures
from tests.coexistence.scenes import Mailbox
from tests.coexistence.test_crash_points import (
    ENDS,
    check_mails,
    check_reminders,
    mails_of_every_kind,
    reminders_of_every_kind,
)
from tests.installation import Installation
from tests.servers.databases import Database
from tests.servers.faulty_smtp import FaultySmtpServer
from tests.servers.shared import wait_until

pytestmark = pytest.mark.usefixtures("clean_processes")

STRIDE = 37 if LONG else 67
EVERY_POINT = each_with_a_database(SEED, range(0, STRIDE, one_in(8)), 4)
MOST_POINTS = 2000
IRREVOCABLE = ("before IMAP APPEND", "before IMAP literal")
EXIT_STATUSES = (*ENDS, 75)  # 75: PostgreSQL had ended its transaction
CONTENT: tuple[type[Base], ...] = (
    Client,
    Conversation,
    InboxMessage,
    MessageAttachment,
    LedgerEntry,
    OutboxMail,
    FollowupHistory,
)


def content(installation: Installation) -> dict[str, list[tuple[Any, ...]]]:
    """All that the two scripts are for: mails, reminders, and what is said of them."""

    def read(session: Any) -> dict[str, list[tuple[Any, ...]]]:
        return {
            model.__tablename__: [
                tuple(map(repr, row))
                for row in session.execute(
                    sa.select(model.__table__).order_by(*model.__table__.primary_key)
                )
            ]
            for model in CONTENT
        }

    return dict(installation.change(read))


def changed(before: dict[str, list[Any]], after: dict[str, list[Any]]) -> list[str]:
    return [
        f"{table}: {sorted(set(before[table]) ^ set(after[table]), key=repr)}"
        for table in before
        if before[table] != after[table]
    ]


def holds_the_database(database: Database) -> bool:
    """Whether somebody is in a writing transaction on SQLite, where that keeps everybody out."""
    if database.dialect != "sqlite":
        return False
    connection = sqlite3.connect(sa.make_url(database.url).database or "", timeout=0)
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return True
    finally:
        connection.close()
    return False


def uncertain(installation: Installation) -> int:
    return installation.count(OutboxMail, OutboxMail.state == OutboxState.UNCERTAIN.value)


def wake(run: Started) -> str:
    """Let it go on to its end, which is one that a run may have; returns where it had stopped."""
    at = run.label
    run.go_on()
    ended = run.end()
    assert ended.status in EXIT_STATUSES, ended.log
    return at or "the end"


def points(first: int) -> Iterator[int]:
    return iter(range(first, MOST_POINTS, STRIDE))


@EVERY_POINT
def test_a_sender_that_wakes_up_late_sends_and_writes_nothing(
    installation: Installation,
    database: Database,
    embedded_imap: Any,
    faulty_smtp: FaultySmtpServer,
    figures: Figures,
    first: int,
) -> None:
    met: Counter[str] = Counter()
    for point in points(first):
        box = reminders_of_every_kind(installation, embedded_imap, faulty_smtp)
        with frozen_at(installation, "followups", box.company_id, point) as run:
            if run.label is None:
                break
            met["frozen"] += 1
            if holds_the_database(database):
                met["held the database"] += 1
                wake(run)
            else:
                take_over(installation, box)
                met["late answers"] += late_answers(installation, faulty_smtp, run)
            crashed = run.end()
        check_reminders(installation, embedded_imap, faulty_smtp, box, crashed)
    figures.add("frozen senders", **met)


def take_over(installation: Installation, box: Mailbox) -> None:
    """Do all that is due; rows that the frozen one has locked as soon as PostgreSQL frees them."""
    end_leases(installation)
    wait_until(
        lambda: "in_other_hands" not in installation.send(company_id=box.company_id).counts,
        "the rows of the frozen run are free",
    )


def late_answers(installation: Installation, smtp: FaultySmtpServer, run: Started) -> int:
    """Wakes the run, which may settle what was on its way, and nothing else. How often it did."""
    before, on_its_way = content(installation), uncertain(installation)
    accepted = len(smtp.accepted())
    at = wake(run)
    settled = on_its_way - uncertain(installation)
    if not settled:
        assert (changed(before, content(installation)), at) == ([], at)
    assert len(smtp.accepted()) - accepted <= settled, at
    assert (imbalances(installation), at) == ([], at)
    assert (delivery_faults(installation, smtp.accepted()), at) == ([], at)
    return settled


@EVERY_POINT
def test_a_sync_that_wakes_up_late_writes_nothing(
    installation: Installation,
    database: Database,
    embedded_imap: Any,
    faulty_smtp: FaultySmtpServer,
    figures: Figures,
    first: int,
) -> None:
    met: Counter[str] = Counter()
    for point in points(first):
        box = mails_of_every_kind(installation, embedded_imap, faulty_smtp)
        with frozen_at(installation, "sync", box.company_id, point) as run:
            if run.label is None:
                break
            met["frozen"] += 1
            if holds_the_database(database):
                met["held the database"] += 1
                wake(run)
            else:
                take_over_and_wake(installation, box, run)
            crashed = run.end()
            copies = len(embedded_imap.messages(box.account, "Sent"))
            assert copies == 1 or (copies == 2 and run.label in IRREVOCABLE), run.label
            met["late copies"] += copies - 1
        check_mails(installation, embedded_imap, box, crashed, copies)
    figures.add("frozen syncs", **met)


def take_over_and_wake(installation: Installation, box: Mailbox, run: Started) -> None:
    for _ in range(2):  # the second one meets the copy that the first has filed in Sent
        end_leases(installation)
        installation.sync(company_id=box.company_id)
    before = content(installation)
    at = wake(run)
    assert (changed(before, content(installation)), at) == ([], at)
    assert (imbalances(installation), at) == ([], at)
