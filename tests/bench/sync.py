"""What a run of the minute job costs: in a small mailbox and a big one, and with many mailboxes.

    python -m tests.bench.sync [--small 100] [--big 50000] [--mailboxes 500]

A visit costs what is new: with nothing new, and with 10 new mails, the CPU time of a whole run in
the big mailbox is to be at most 1.2 times that in the small one. With many mailboxes and nothing
new, one run is to visit them all within its minute. The mail server is a scripted one in this
process; the run is a process of its own on SQLite, whose CPU time is measured, Python's start
included.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from backend.app import db
from backend.app.models import FolderCheckpoint, LedgerEntry, MailboxState
from backend.app.schema import upgrade
from backend.demo.servers import Account
from tests.installation import Installation, mail
from tests.servers.scripted_imap import ScriptedImapServer

ROUNDS = 7
NEW_MAILS = 10
LARGEST_RATIO = 1.2
LONG_AGO = datetime.now(UTC) - timedelta(days=90)


@dataclass(frozen=True)
class Cost:
    """cpu, wall: seconds. commands, statements: how many a run sent to each server."""

    cpu: float
    wall: float
    commands: int
    statements: int


class Bench:
    """An installation whose mailboxes all lie on one scripted server."""

    def __init__(self, directory: Path, server: ScriptedImapServer, mails: int) -> None:
        url = f"sqlite:///{directory / 'bench.db'}"
        upgrade(url)
        self.server, self.mails = server, mails
        self.installation = Installation(url, directory)
        self.company = self.installation.add_company()

    def add_mailbox(self, name: str) -> int:
        account = Account(f"{name}@bench.test", name, "secret")
        place = {"imap_port": self.server.port, "imap_security": "plain"}
        self.server.tls_port = self.server.port  # type: ignore[attr-defined]
        return self.installation.add_mailbox(self.company, account, self.server, **place)

    def fill(self, mailbox: int) -> None:
        """So many mails on the server, all of them in the ledger."""
        inbox = self.server.folders["INBOX"]
        raw = mail(sender="jean@client.test", to="us@bench.test")
        inbox.mails.update(dict.fromkeys(range(1, self.mails + 1), raw))
        inbox.dates.update(dict.fromkeys(inbox.mails, LONG_AGO))
        self.run()
        place = {"integration_id": mailbox, "folder": "INBOX", "uidvalidity": 1}
        rows = [{**place, "uid": uid, "state": "ignored"} for uid in inbox.mails]
        nothing_left = sa.update(FolderCheckpoint).values(history_left=0)
        self.installation.change(lambda s: s.execute(sa.insert(LedgerEntry), rows))
        self.installation.change(lambda s: s.execute(nothing_left))

    def receive(self, number: int) -> None:
        inbox = self.server.folders["INBOX"]
        for _ in range(number):
            uid = inbox.uidnext
            text = {"subject": f"new {uid}", "sender": f"new{uid}@client.test"}
            inbox.mails[uid] = mail(to="us@bench.test", **text)

    def run(self) -> float:
        """A run as cron starts it; the seconds of CPU time that it took."""
        before = _cpu()
        done = self.installation.script("sync")
        assert done.returncode == 0, done.stderr
        return _cpu() - before

    def cost(self, new: int) -> Cost:
        """The median of several runs, each with so many new mails."""
        cpu, wall = [], []
        for _ in range(ROUNDS):
            self.receive(new)
            began = time.perf_counter()
            cpu.append(self.run())
            wall.append(time.perf_counter() - began)
        self.receive(new)
        self.server.commands.clear()
        statements = self._count_statements()
        asked = len(self.server.commands)
        return Cost(statistics.median(cpu), statistics.median(wall), asked, statements)

    def _count_statements(self) -> int:
        counted: Counter[str] = Counter()
        self.installation.open()
        engine = db.SessionLocal.kw["bind"]

        def note(*_: object) -> None:
            counted["statements"] += 1

        sa.event.listen(engine, "before_cursor_execute", note)
        assert not self.installation.sync().failed
        sa.event.remove(engine, "before_cursor_execute", note)
        return counted["statements"]


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure_mailbox(mails: int) -> tuple[Cost, Cost]:
    """With nothing new, and with some new mails."""
    with tempfile.TemporaryDirectory() as directory, ScriptedImapServer() as server:
        bench = Bench(Path(directory), server, mails)
        bench.fill(bench.add_mailbox("bench"))
        costs = bench.cost(0), bench.cost(NEW_MAILS)
        bench.installation.close()
    return costs


def measure_many(mailboxes: int) -> bool:
    with tempfile.TemporaryDirectory() as directory, ScriptedImapServer() as server:
        bench = Bench(Path(directory), server, 0)
        for number in range(mailboxes):
            bench.add_mailbox(f"box{number}")
        while (
            bench.installation.count(MailboxState, MailboxState.fresh_at.is_not(None)) < mailboxes
        ):
            bench.run()
        server.commands.clear()
        began = time.perf_counter()
        cpu = bench.run()
        wall = time.perf_counter() - began
        visited = len(server.asked("LOGIN"))
        bench.installation.close()
    print(f"{mailboxes} mailboxes, nothing new, one run: visited={visited} wall={wall:.1f}s")
    print(f"  cpu={cpu:.1f}s connections={visited} commands={len(server.commands)}")
    return visited == mailboxes and wall < 60


def compare(what: str, small: Cost, big: Cost) -> bool:
    ratio = big.cpu / small.cpu
    print(f"{what}: cpu {small.cpu:.3f}s -> {big.cpu:.3f}s, ratio {ratio:.2f}")
    print(f"  wall {small.wall:.3f}s -> {big.wall:.3f}s")
    print(f"  IMAP commands {small.commands} -> {big.commands}")
    print(f"  statements {small.statements} -> {big.statements}")
    return ratio <= LARGEST_RATIO


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=100)
    parser.add_argument("--big", type=int, default=50_000)
    parser.add_argument("--mailboxes", type=int, default=500)
    given = parser.parse_args()
    small, big = measure_mailbox(given.small), measure_mailbox(given.big)
    print(f"mailboxes of {given.small} and {given.big} mails, {ROUNDS} runs each")
    held = [
        compare("nothing new", small[0], big[0]),
        compare(f"{NEW_MAILS} new mails", small[1], big[1]),
        measure_many(given.mailboxes),
    ]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
