"""grep -i "lock\\|deadlock\\|timeout" over the logs: exactly the conflicts that happened.

An unruly host application takes rows in the wrong order and holds them for too long. What happened
is counted where it happens: in the log of PostgreSQL, which has this one database, and on SQLite by
what the driver answers.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from backend.app import db
from backend.app.engines import create_engine
from backend.app.models import Conversation, MailboxState
from backend.app.schema import upgrade
from tests.coexistence.aftermath import end_leases
from tests.coexistence.books import delivery_faults, imbalances
from tests.coexistence.crowd import Crowd
from tests.coexistence.extent import LONG, SEED
from tests.coexistence.figures import Figures
from tests.coexistence.launch import OWNERS_GREP
from tests.coexistence.scenes import Mailbox, new_mailbox
from tests.conftest import or_skip
from tests.installation import Installation, mail
from tests.servers.faulty_smtp import FaultySmtpServer
from tests.servers.postgresql import private_postgresql

SCRIPTS = ("sync", "followups") * 2
CONFLICTS = 25 if LONG else 5
SENDER, ROOT = "jean@client.test", "<root@client.test>"
PATIENCE_SECONDS = 120
WAIT_SECONDS = 0.2  # of the scripts, for a lock
HELD_SECONDS = 0.5  # by the host application
IN_THE_SERVERS_LOG = {
    "deadlock": "ERROR:  deadlock detected",
    "lock timeout": "ERROR:  canceling statement due to lock timeout",
}


@dataclass
class UnrulyHost:
    """Each call of act() ends well, or in a conflict of its own, which it counts."""

    url: str
    conflicts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._engine = create_engine(self.url)

    def act(self) -> None:
        try:
            with self._engine.begin() as connection:
                connection.execute(sa.update(Conversation).values(subject="edited"))
                time.sleep(HELD_SECONDS)
                connection.execute(sa.update(MailboxState).values(audit=None))
        except OperationalError as error:
            conflict = db.conflict_of(error)
            if conflict is None:
                raise
            self.conflicts["deadlock" if "deadlock" in conflict else "lock timeout"] += 1


@pytest.fixture
def served(installation: Installation, open_directory: Path) -> Iterator[Path | None]:
    """The installation on a PostgreSQL of its own, whose log this is; None on SQLite."""
    if "sqlite" in installation.url:
        yield None
        return
    with or_skip(), private_postgresql(open_directory) as url:
        upgrade(url)
        administrator = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with administrator.connect() as connection:
            milliseconds = int(WAIT_SECONDS * 1000)
            connection.execute(sa.text(f"ALTER DATABASE postgres SET lock_timeout={milliseconds}"))
            connection.execute(sa.text("ALTER DATABASE postgres SET deadlock_timeout = 50"))
        installation.close()
        installation.url = url
        yield open_directory / "postgresql.log"
        installation.close()


@pytest.mark.usefixtures("clean_processes")
def test_grep_finds_exactly_the_conflicts_that_happened(
    installation: Installation,
    served: Path | None,
    embedded_imap: Any,
    faulty_smtp: FaultySmtpServer,
    figures: Figures,
) -> None:
    installation.extra |= {"SYNC_WORKERS": "1", "SYNC_LEASE_SECONDS": "5"}
    box = new_mailbox(installation, embedded_imap, faulty_smtp)
    root = mail(sender=SENDER, to=box.account.address, message_id=ROOT)
    embedded_imap.append(box.account, root)
    assert not installation.sync().failed
    host = UnrulyHost(installation.url)
    with Crowd(installation, SCRIPTS, SEED, busy_seconds=WAIT_SECONDS) as crowd:
        with going_on(host.act), going_on(lambda: work_for_them(embedded_imap, box)):
            wait_for(lambda: crowd.papers.conflicts_met.total() >= CONFLICTS)
        crowd.end()

    met = crowd.papers.conflicts_met
    lines = [line for line in crowd.papers.lines(crowd.papers.log) if OWNERS_GREP.search(line)]
    assert len(lines) == met.total(), lines
    if served is not None:
        assert happened(served) == met + host.conflicts
        deadlocks = [line for line in lines if "deadlock" in line]
        assert len(deadlocks) == met["deadlock"]
    end_leases(installation)
    installation.sync()
    installation.send()
    assert imbalances(installation) == []
    assert delivery_faults(installation, faulty_smtp.accepted()) == []
    figures.add("conflicts found by the owner's grep", found=len(lines), **met)


def happened(server_log: Path) -> Counter[str]:
    text = server_log.read_text()
    return Counter({kind: n for kind, say in IN_THE_SERVERS_LOG.items() if (n := text.count(say))})


@contextlib.contextmanager
def going_on(act: Callable[[], object]) -> Iterator[None]:
    """In a thread, over and over."""
    over, ended = threading.Event(), list[bool]()

    def work() -> None:
        while not over.is_set():
            act()
        ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert ended, "it did not go on to the end"


def work_for_them(imap: Any, box: Mailbox) -> None:
    """New mail in one old thread, so that its conversation is wanted by all."""
    imap.append(box.account, mail(sender=SENDER, to=box.account.address, In_Reply_To=ROOT))
    time.sleep(HELD_SECONDS / 2)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "too few conflicts"
        time.sleep(0.05)
