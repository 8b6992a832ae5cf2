"""The crontab on three hosts against one PostgreSQL, one of which loses its network in mid-run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from backend.app.db import database_now
from backend.app.models import CronRun, Followup, InboxMessage, OutboxMail
from tests.coexistence.books import delivery_faults, imbalances, unaccounted
from tests.coexistence.figures import Figures
from tests.coexistence.hosts import Network, network
from tests.coexistence.scenes import Mailbox, due_reminders, fill, threads
from tests.installation import Installation
from tests.servers.databases import Database
from tests.servers.faulty_smtp import FaultySmtpServer

pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)

HOSTS, MAILBOXES, CLIENTS, REMINDERS = 3, 4, 2, 3
LEASE_SECONDS = 2
PATIENCE_SECONDS = 60
# Of a host that finds its connection closed: in a statement it looks again at what others did
# meanwhile; in a commit nobody can know, and the run ends.
ENDS = (0, 1, 75)


@pytest.fixture
def hosts(installation: Installation, database: Database, tmp_path: Path) -> Iterator[Network]:
    installation.extra |= {
        "SYNC_LEASE_SECONDS": str(LEASE_SECONDS),
        "SEND_LEASE_SECONDS": str(LEASE_SECONDS),
        "SYNC_WORKERS": "1",
    }
    with network(tmp_path, database.url, HOSTS) as made:
        installation.extra["ALLOW_PLAINTEXT_HOSTS"] = made.gateway
        yield made


@pytest.fixture
def imap(hosts: Network, embedded_imap: Any) -> Iterator[Any]:
    with hosts.way_to((embedded_imap.host, embedded_imap.port)) as link:
        yield link


@pytest.fixture
def smtp(hosts: Network, faulty_smtp: FaultySmtpServer) -> Iterator[Any]:
    with hosts.way_to((faulty_smtp.host, faulty_smtp.port)) as link:
        yield link


@pytest.fixture
def boxes(
    installation: Installation, hosts: Network, embedded_imap: Any, imap: Any, smtp: Any
) -> list[Mailbox]:
    """Mailboxes of companies of their own, at servers that all hosts reach by the same address."""
    made = []
    for _ in range(MAILBOXES):
        company_id, account = installation.add_company(), embedded_imap.add_user()
        mailbox_id = installation.add_mailbox(
            company_id,
            account,
            embedded_imap,
            imap_host=hosts.gateway,
            imap_port=imap.port,
            imap_security="plain",
            smtp_host=hosts.gateway,
            smtp_port=smtp.port,
            smtp_security="plain",
            smtp_username="",
        )
        made.append(Mailbox(mailbox_id, company_id, account))
    assert not installation.sync().failed
    return made


def test_three_hosts_share_the_work_and_do_none_twice(
    installation: Installation,
    hosts: Network,
    boxes: list[Mailbox],
    embedded_imap: Any,
    imap: Any,
    smtp: Any,
    faulty_smtp: FaultySmtpServer,
    figures: Figures,
) -> None:
    mails = fill_all(embedded_imap, boxes)
    for box in boxes:
        due_reminders(installation, box, REMINDERS)
    for link, script in ((imap, "sync"), (smtp, "followups")):
        link.gather(HOSTS)  # nobody is done before each of them has begun
        started = [host.start(installation, script) for host in hosts.hosts]
        assert [each.end()[0] for each in started] == [0] * HOSTS

    assert imbalances(installation) == []
    assert delivery_faults(installation, faulty_smtp.accepted()) == []
    assert_all_read(installation, embedded_imap, boxes)
    shares = shares_of(installation)
    sent = {host: n for (host, what), n in shares.items() if what == "sent"}
    stored = {host: n for (host, what), n in shares.items() if what == "stored"}
    names = {host.name for host in hosts.hosts}
    assert (set(sent), set(stored)) == (names, names)
    assert (sum(stored.values()), sum(sent.values())) == (mails, MAILBOXES * REMINDERS)
    figures.add(
        "three hosts share the work",
        **{f"{host}_{what}": number for (host, what), number in sorted(shares.items())},
    )


def shares_of(installation: Installation) -> Counter[tuple[str, str]]:
    """What each host says to have stored and sent."""
    shares: Counter[tuple[str, str]] = Counter()
    for run in installation.rows(CronRun):
        for what in ("stored", "sent"):
            if run.counts.get(what):
                shares[run.host, what] += run.counts[what]
    return shares


def fill_all(imap: Any, boxes: list[Mailbox]) -> int:
    return sum(fill(imap, b.account, threads(b.account.address, CLIENTS, 1)) for b in boxes)


def assert_all_read(installation: Installation, imap: Any, boxes: list[Mailbox]) -> None:
    for box in boxes:
        assert unaccounted(installation, imap, box.id, box.account) == []


def test_host_cut_off_while_it_stores_a_mail_is_replaced_and_writes_nothing_late(
    installation: Installation,
    hosts: Network,
    boxes: list[Mailbox],
    embedded_imap: Any,
    figures: Figures,
) -> None:
    """In the middle of a transaction, which holds the mailbox's and the client's rows."""
    lost, spare = hosts.hosts[:2]
    mails = fill_all(embedded_imap, boxes)
    cut_off = lost.database.when_said(b"INSERT INTO inbox_messages", lost.cut)
    run = lost.start(installation, "sync")
    assert cut_off.wait(PATIENCE_SECONDS), "the host stored nothing"
    seconds = until_all_is_done(
        lambda: spare.run(installation, "sync"),
        lambda: installation.count(InboxMessage) == mails,
    )
    assert run.process.poll() is None, "the host was to be cut off, and not to end"
    lost.mend()
    status, log = run.end()

    assert status in ENDS, log
    assert "server closed the connection" in log
    assert imbalances(installation) == []
    assert_all_read(installation, embedded_imap, boxes)
    assert installation.count(InboxMessage) == mails
    figures.add(
        "a host is cut off while it stores", hosts=HOSTS, mails=mails, seconds=round(seconds)
    )


def test_host_cut_off_before_it_takes_responsibility_is_replaced_and_sends_nothing_late(
    installation: Installation,
    hosts: Network,
    boxes: list[Mailbox],
    faulty_smtp: FaultySmtpServer,
    figures: Figures,
) -> None:
    """Between DATA and the commit of `sending`: the server waits for a body."""
    lost, spare = hosts.hosts[:2]
    due_reminders(installation, boxes[0], REMINDERS)
    cut_off = lost.database.when_said(b"sending_at=", lost.cut)
    run = lost.start(installation, "followups")
    assert cut_off.wait(PATIENCE_SECONDS), "the host came to no reminder"

    look_again = sa.update(Followup).values(next_action_at=database_now())

    def send() -> None:
        installation.change(lambda s: s.execute(look_again))
        spare.run(installation, "followups")

    seconds = until_all_is_done(
        send, lambda: installation.count(OutboxMail, OutboxMail.state == "sent") == REMINDERS
    )
    assert run.process.poll() is None, "the host was to be cut off, and not to end"
    lost.mend()
    status, log = run.end()

    assert status in ENDS, log
    assert "server closed the connection" in log
    assert imbalances(installation) == []
    assert delivery_faults(installation, faulty_smtp.accepted()) == []
    assert len(faulty_smtp.accepted()) == REMINDERS
    assert lost.name not in {host for host, _ in shares_of(installation)}
    figures.add(
        "a host is cut off while it sends",
        hosts=HOSTS,
        reminders=REMINDERS,
        seconds=round(seconds),
    )


def until_all_is_done(act: Any, is_done: Any) -> float:
    """The crontab of the other hosts goes on; how many seconds it took."""
    begun = time.monotonic()
    while not is_done():
        assert time.monotonic() < begun + PATIENCE_SECONDS, "nobody does the rest"
        act()
    return time.monotonic() - begun
