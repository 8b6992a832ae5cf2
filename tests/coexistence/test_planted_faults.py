"""The guards are guarded: each mistake below is planted, and a check of these tests must say so.

What runs is the check's own code, on the product with the fault in it. The product holds no switch:
faults.py patches. The end of the session prints which check said what:

    python -m pytest tests/coexistence/test_planted_faults.py
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from backend.app import db
from backend.app.models import InboxIntegration
from tests.coexistence import (
    test_interleavings,
    test_no_network_in_transactions,
    test_pgbouncer,
    test_sent_copies,
)
from tests.coexistence.crash import run_until
from tests.coexistence.encounters import ENCOUNTERS
from tests.coexistence.extent import LONG
from tests.coexistence.faults import FAULTS, planted, without_unique_key
from tests.coexistence.figures import Figures
from tests.coexistence.test_crash_points import (
    check_around_the_body,
    check_mails,
    mails_of_every_kind,
)
from tests.followups import test_outcomes, test_send
from tests.followups.office import FaultyPost, Office, open_office
from tests.inbox import test_conversations, test_lease
from tests.inbox.desk import Desk, Fetches, open_desk
from tests.installation import Installation
from tests.servers.databases import Database
from tests.servers.faulty_smtp import FaultySmtpServer

pytestmark = pytest.mark.usefixtures("clean_processes")

AFTER_THE_DOT = "after SMTP the final dot"


@dataclass
class Place:
    """What a check may ask for."""

    installation: Installation
    database: Database
    imap: Any
    smtp: FaultySmtpServer
    conflicts: list[str]
    monkeypatch: pytest.MonkeyPatch

    def office(self) -> Office:
        self.installation.extra["SMTP_TIMEOUT_SECONDS"] = "1"
        return open_office(self.installation, FaultyPost(self.smtp))

    def desk(self) -> Desk:
        return open_desk(self.installation, self.imap)


def encounter(name: str) -> Callable[[Place, str], None]:
    """A check of test_interleavings.py."""

    def check(place: Place, fault: str) -> None:
        (which,) = [each for each in ENCOUNTERS if each.name == name]
        arguments = (which, place.installation, place.database, place.conflicts)
        trials = test_interleavings.Trials(*arguments)
        with trials.scheduler.watching(), planted(*({fault} & FAULTS.keys())):
            trials.scheduler.in_snapshots = False
            trials.interrupt_everywhere()

    check.__name__ = f"test_interleavings.py: {name}"
    return check


def crash_around_the_body(place: Place, fault: str) -> None:
    in_the_killed_run = (fault,) if "after the body" in fault else ()
    with planted(*(() if in_the_killed_run else (fault,))):
        check_around_the_body(
            place.installation, place.imap, place.smtp, AFTER_THE_DOT, *in_the_killed_run
        )


def crash_points_of_sync(place: Place, fault: str) -> None:
    for point in range(0, 400, 3):
        box = mails_of_every_kind(place.installation, place.imap, place.smtp)
        crashed = run_until(place.installation, "sync", box.company_id, point, (fault,))
        check_mails(place.installation, place.imap, box, crashed)
        if crashed.label is None:
            return


crash_around_the_body.__name__ = "test_crash_points.py: around its body"
crash_points_of_sync.__name__ = "test_crash_points.py: test_every_mail_is_stored_once"


def existing(check: Callable[..., None], *arguments: Callable[[Place], Any]) -> Any:
    """A test as it is, with what its fixtures would give."""

    def run(place: Place, fault: str) -> None:
        given = [argument(place) for argument in arguments]
        with planted(fault):
            check(*given)

    run.__name__ = f"{check.__module__.rpartition('.')[2]}.py: {check.__name__}"
    return run


def leased_desk(place: Place) -> Desk:
    desk = place.desk()
    db.write(test_lease.leases.add_missing_states)
    return desk


def watched_fetches(place: Place) -> Fetches:
    watch = Fetches()
    watch.watch(place.monkeypatch)
    return watch


def mailbox_whose_provider_files_none(place: Place) -> tuple[Desk, Office]:
    desk, post = place.desk(), FaultyPost(place.smtp)
    outbound = {"smtp_host": post.host, "smtp_port": post.port, "smtp_security": "plain"}
    values = {**outbound, "smtp_username": ""}
    place.installation.set(InboxIntegration, desk.mailbox, **values)
    of_desk = (desk.account, desk.company, desk.mailbox)
    return desk, Office(place.installation, post, place.imap, *of_desk)


@dataclass(frozen=True)
class Planted:
    """says: what the check's message must hold. loses: (table, columns), a key that is dropped."""

    fault: str
    check: Callable[[Place, str], None]
    says: str
    database: str = "postgresql"
    loses: tuple[str, ...] = ()


TWO_MAILBOXES = "unknown client in two mailboxes, two syncs"
ONE_CONVERSATION = "mail, reminder in one conversation"
LOST_CLAIM = test_send.test_a_claim_that_is_taken_over_before_the_body_sends_nothing
LOST_LEASE = test_lease.test_a_visit_that_is_overtaken_leaves_everything_to_the_other
HELD = test_lease.test_a_second_worker_gets_nothing_while_the_lease_holds
LATE = test_conversations.test_a_late_older_mail_changes_neither_time_nor_turn
OUTCOMES = test_outcomes.test_each_outcome_on_a_server_that_fails
SPOKEN = test_no_network_in_transactions.test_no_transaction_is_open_while_a_server_is_spoken_to
COPIES = test_sent_copies.test_where_the_provider_files_a_copy_there_is_no_second
SESSIONS = test_pgbouncer.test_the_scripts_leave_nothing_in_a_session

PLANTED = (
    Planted(
        "missing unique key of clients",
        encounter("mails to an unknown client, two syncs"),
        "doubled in clients",
        loses=("clients", "company_id", "email_key"),
    ),
    Planted(
        "missing unique key of messages",
        encounter(TWO_MAILBOXES),
        "doubled in inbox_messages",
        loses=("inbox_messages", "company_id", "fingerprint"),
    ),
    Planted(
        "missing row lock: budgets are counted without holding them",
        encounter("two senders"),
        "2 mails were delivered",
    ),
    Planted("a counter read, changed and written", encounter("sync, company"), "unread_count"),
    Planted(
        "last_message_at is the last mail's, however old",
        existing(LATE, Place.desk),
        "last_message_at",
        "sqlite",
    ),
    Planted(
        "the checkpoint in a commit of its own",
        crash_points_of_sync,
        "rows in the ledger",
        "sqlite",
    ),
    Planted(
        "`sending` committed after the body",
        crash_around_the_body,
        "was delivered 2 times",
        "sqlite",
    ),
    Planted(
        "an automatic resend of what is uncertain",
        crash_around_the_body,
        "was delivered, but is planned",
        "sqlite",
    ),
    Planted(
        "a claim without condition: a lease that another holds",
        existing(HELD, leased_desk),
        "is None",
        "sqlite",
    ),
    Planted(
        "a token not checked: the reminder's claim",
        existing(LOST_CLAIM, Place.office, lambda place: place.smtp),
        "taken_over",
        "sqlite",
    ),
    Planted(
        "a token not checked: the mailbox's lease",
        existing(LOST_LEASE, Place.desk, watched_fetches, lambda place: None),
        "stored",
        "sqlite",
    ),
    Planted(
        "the stops are not asked again before the body",
        encounter("reply, reminder"),
        "a body went out after sync had committed",
    ),
    Planted(
        "mail may come in between the last look for an answer and `sending`",
        encounter("reply, reminder"),
        "a body went out after sync had committed",
    ),
    Planted(
        "deferred instead of immediate transactions",
        encounter(ONE_CONVERSATION),
        "database is locked",
        "sqlite",
    ),
    Planted(
        "network inside a transaction",
        existing(SPOKEN, lambda p: p.installation, lambda p: p.imap, lambda p: p.smtp),
        "in a transaction",
        "sqlite",
    ),
    Planted(
        "a session-level lock behind PgBouncer",
        existing(
            SESSIONS,
            lambda p: p.installation,
            lambda p: p.database,
            lambda p: p.imap,
            lambda p: p.smtp,
        ),
        "advisory locks",
        "pgbouncer",
    ),
    Planted(
        "a retry that sends again",
        existing(OUTCOMES, Place.office, lambda place: "drop-at-dot"),
        "2 == 1",
        "sqlite",
    ),
    Planted(
        "a copy for Sent filed without a look",
        existing(COPIES, mailbox_whose_provider_files_none),
        "copies_found",
        "sqlite",
    ),
    Planted("locks taken in another order", encounter(ONE_CONVERSATION), "deadlock"),
)
# What every run of the tests can afford; the long form does them all.
QUICK = ("a retry that sends again", "network inside a transaction", "mail may come in")
TRIED = [each for each in PLANTED if LONG or each.fault.startswith(QUICK)]


@pytest.mark.parametrize(
    ("planted_fault", "database"),
    [pytest.param(each, each.database, id=each.fault) for each in TRIED],
    indirect=["database"],
)
def test_planted_fault_is_caught(
    planted_fault: Planted,
    installation: Installation,
    database: Database,
    embedded_imap: Any,
    faulty_smtp: FaultySmtpServer,
    conflicts: list[str],
    monkeypatch: pytest.MonkeyPatch,
    figures: Figures,
) -> None:
    place = Place(installation, database, embedded_imap, faulty_smtp, conflicts, monkeypatch)
    if planted_fault.loses:
        without_unique_key(db.SessionLocal.kw["bind"], *planted_fault.loses)
    with pytest.raises((AssertionError, KeyError)) as caught:
        planted_fault.check(place, planted_fault.fault)
    message = " ".join(str(caught.value).split())
    assert planted_fault.says in message
    begin = max(0, message.index(planted_fault.says) - 60)
    figures.caught(planted_fault.fault, planted_fault.check.__name__, message[begin : begin + 140])


def test_every_fault_has_a_check() -> None:
    assert FAULTS.keys() <= {each.fault for each in PLANTED}
