"""Two actors in one process, stopped between any two of their statements, in a given order.

A schedule is a list of (actor, stops): that actor goes on until it has passed so many of its stops,
then the next one; whoever is left at the end runs to its end. An actor that waits for a lock which
the other holds is recognised as blocked (PostgreSQL: pg_locks; SQLite: it is about to begin a
writing transaction while the other is in one), and the schedule goes on with the other: nothing
rests on time.

Stops: before each COMMIT of a transaction that has changed or locked something, before each
statement that reads what the other actor changes, and before each that changes or locks what the
other does too. What lies between two stops commutes with all that the other does: changes are not
seen before the commit, and the locks do not meet.
"""

from __future__ import annotations

import contextlib
import queue
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tests.coexistence.statements import touches
from tests.servers.databases import Database

Schedule = Sequence[tuple[str, int]]

TO_THE_END = 1_000_000
PATIENCE_SECONDS = 60.0
A_MOMENT = 0.003
BUSY_SECONDS = 1.0  # SQLite: who is away so long waits for a lock, though none of ours was begun
# pg_locks says who was granted what at the very instant of the commit; wait events come later.
LOCKING = re.compile(r" FOR (?:NO KEY )?(?:UPDATE|SHARE)(?: OF (?P<table>\w+))?")
WAITING = sa.text(
    "SELECT count(DISTINCT l.pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
    " WHERE NOT l.granted AND a.datname = current_database()"
)


@dataclass
class Footprint:
    """The tables that are read, of which rows are locked, and of which rows are changed."""

    reads: set[str] = field(default_factory=set)
    locks: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)

    def concerns(self, other: Footprint) -> bool:
        """Whether it matters which of the two comes first."""
        holds = self.locks | self.changes
        return bool(self.reads & other.changes or holds & (other.locks | other.changes))

    def add(self, more: Footprint) -> None:
        self.reads |= more.reads
        self.locks |= more.locks
        self.changes |= more.changes


@dataclass
class Actor:
    """footprint: what it has touched in any run so far."""

    name: str
    work: Callable[[], object]
    footprint: Footprint
    state: str = "ready"  # running, at a stop (ready), blocked, done
    passed: int = 0
    at: str = ""
    in_writing: bool = False
    error: BaseException | None = None
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))


@dataclass(frozen=True)
class Ran:
    """What happened: (actor, what) in order; how far each came before the schedule was used up."""

    trace: list[tuple[str, str]]
    steps_taken: list[int]
    errors: dict[str, BaseException]

    def where(self, actor: str, what: str) -> list[int]:
        return [n for n, (who, did) in enumerate(self.trace) if who == actor and what in did]


class Scheduler:
    """Runs schedules of the same two actors again and again, and learns their footprints."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sqlite = database.dialect == "sqlite"
        # There a transaction sees what was committed at its first statement, and one alone writes:
        # in between nothing of the other's can come.
        self.in_snapshots = self._sqlite
        self.footprints: dict[str, Footprint] = defaultdict(Footprint)
        self._actors: dict[str, Actor] = {}
        self._here = threading.local()
        self._events: queue.SimpleQueue[Actor] = queue.SimpleQueue()
        self._trace: list[tuple[str, str]] = []
        self.whole_transactions = False  # no stop within a transaction
        self._waiting: sa.Connection | None = None

    # -- the actors' side ------------------------------------------------------------------

    def note(self, what: str) -> None:
        """Something of an actor that no statement tells, such as a mail's body."""
        if actor := getattr(self._here, "actor", None):
            self._trace.append((actor.name, what))

    def _statement(
        self, _connection: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any
    ) -> None:
        actor: Actor | None = getattr(self._here, "actor", None)
        if actor is None or statement.startswith(("BEGIN ISOLATION", "BEGIN DEFERRED")):
            return
        touched = footprint(statement)
        actor.footprint.add(touched)
        text = " ".join(statement.split())[:90]
        if text == "BEGIN IMMEDIATE" or self._concerns_other(actor, touched):
            if not (self._here.stopped and (self.whole_transactions or self.in_snapshots)):
                self._stop(actor, text)
            self._here.stopped = True
        self._here.wrote |= bool(touched.locks | touched.changes)
        self._trace.append((actor.name, text))

    def _commit(self, _connection: Any) -> None:
        actor: Actor | None = getattr(self._here, "actor", None)
        if actor is None:
            return
        if self._here.wrote and not self.whole_transactions:
            self._stop(actor, "COMMIT")
        self._trace.append((actor.name, "COMMIT"))
        self._end()

    def _end(self, _connection: Any = None) -> None:
        if getattr(self._here, "actor", None):
            self._here.wrote = self._here.stopped = False
            self._here.ended = True

    def _stop(self, actor: Actor, at: str) -> None:
        actor.at = at
        if self._here.ended:
            actor.in_writing = self._here.ended = False
        self._events.put(actor)
        actor.go.acquire()

    def _concerns_other(self, actor: Actor, touched: Footprint) -> bool:
        others = (other for other in self._actors.values() if other is not actor)
        return any(touched.concerns(other.footprint) for other in others)

    def _run(self, actor: Actor) -> None:
        self._here.actor = actor
        self._here.wrote = self._here.stopped = self._here.ended = False
        actor.go.acquire()
        try:
            actor.work()
        except BaseException as error:  # noqa: BLE001 (it is the trial's, and told with it)
            actor.error = error
        actor.at, actor.in_writing = "the end", False
        actor.state = "done"
        self._events.put(actor)

    # -- the schedule's side ---------------------------------------------------------------

    def run(self, work: Mapping[str, Callable[[], object]], schedule: Schedule) -> Ran:
        self._trace = []
        self._actors = {name: Actor(name, fn, self.footprints[name]) for name, fn in work.items()}
        threads = [
            threading.Thread(target=self._run, args=(actor,), daemon=True)
            for actor in self._actors.values()
        ]
        with self._listening():
            for thread in threads:
                thread.start()
            taken = [self._take(self._actors[name], stops) for name, stops in schedule]
            self._finish()
            for thread in threads:
                thread.join(PATIENCE_SECONDS)
        errors = {a.name: a.error for a in self._actors.values() if a.error is not None}
        return Ran(self._trace, taken, errors)

    def _take(self, actor: Actor, stops: int) -> int:
        """How many stops it passed before it was blocked, or at its end."""
        for taken in range(stops):
            if not self._advance(actor):
                return taken
        return stops

    def _finish(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(actor.state != "done" for actor in self._actors.values()):
            assert time.monotonic() < deadline, self._trace[-20:]
            if not any(self._advance(actor) for actor in self._actors.values()):
                self._settle(deadlocked=True)

    def _advance(self, actor: Actor) -> bool:
        """One stop further; False when it is blocked or done."""
        if actor.state != "ready" or self._would_wait(actor):
            return False
        if self._sqlite and actor.at == "BEGIN IMMEDIATE":
            actor.in_writing = True
        actor.state = "running"
        actor.go.release()
        self._settle()
        return actor.state in ("ready", "done")

    def _would_wait(self, actor: Actor) -> bool:
        others = (other for other in self._actors.values() if other is not actor)
        return actor.at == "BEGIN IMMEDIATE" and any(other.in_writing for other in others)

    def _settle(self, *, deadlocked: bool = False) -> None:
        """Wait until each actor is at a stop, done, or known to wait for a lock.

        deadlocked: all wait; the database will tell one of them to give way.
        """
        since = time.monotonic()
        for actor in self._actors.values():
            actor.state = "running" if actor.state == "blocked" else actor.state
        while running := [a for a in self._actors.values() if a.state == "running"]:
            assert time.monotonic() < since + PATIENCE_SECONDS, [(a.name, a.at) for a in running]
            with contextlib.suppress(queue.Empty):
                arrived = self._events.get(timeout=A_MOMENT)
                arrived.state = "done" if arrived.state == "done" else "ready"
                deadlocked = False
                continue
            if not deadlocked and self._all_wait(len(running), since):
                for actor in running:
                    actor.state = "blocked"

    def _all_wait(self, number: int, since: float) -> bool:
        if self._waiting is None:
            return time.monotonic() > since + BUSY_SECONDS
        return int(self._waiting.execute(WAITING).scalar_one()) >= number

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Around all runs: a connection of its own to ask who waits."""
        if self._sqlite:
            yield
            return
        engine = sa.create_engine(
            self._database.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
        )
        with engine.connect() as self._waiting:
            yield

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        listeners = {
            "before_cursor_execute": self._statement,
            "commit": self._commit,
            "rollback": self._end,
        }
        for name, listener in listeners.items():
            event.listen(Engine, name, listener)
        try:
            yield
        finally:
            for name, listener in listeners.items():
                event.remove(Engine, name, listener)


def footprint(statement: str) -> Footprint:
    """SELECT ... FOR UPDATE reads and locks; OF names the tables whose rows it locks."""
    seen = touches(statement)
    made = Footprint(
        {table for table, operation in seen if operation == "read"},
        changes={table for table, operation in seen if operation != "read"},
    )
    if locking := LOCKING.search(statement):
        made.locks = {locking["table"]} if locking["table"] else set(made.reads)
    return made
