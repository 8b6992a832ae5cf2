"""Every order of what two actors do to the same rows, with up to two changes between them.

A goes some stops, B goes some stops, A ends, B ends: for all numbers of stops and both ways round.
Whatever the order: the books balance, nobody waits in a circle, and what is left is what the two
would have left with each transaction alone in the world: trials with stops between transactions
only say what that may be. The short form picks out a few schedules, the long one takes an even
choice where there are many (and COEXISTENCE=everything takes all).
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.coexistence.books import delivery_faults, imbalances
from tests.coexistence.encounters import ENCOUNTERS, Encounter, Stage
from tests.coexistence.extent import EVERY_DATABASE, EVERYTHING, LONG, SEED, one_in
from tests.coexistence.figures import Figures
from tests.coexistence.outcome import outcome, take_snapshot, wipe
from tests.coexistence.scheduler import TO_THE_END, Ran, Schedule, Scheduler
from tests.installation import Installation
from tests.servers.databases import Database
from tests.servers.faulty_smtp import AcceptedMail

pytestmark = EVERY_DATABASE

ALL = 1_000_000
MOST = ALL if EVERYTHING else 40  # schedules of each encounter and database in the long form
# PostgreSQL does the same work there.
MOST_THROUGH_A_PROXY = ALL if EVERYTHING else 20
EVERY_FIRST_STOP_THROUGH_A_PROXY = one_in(2)
PICKED = 2  # schedules of each encounter in the short form


class Trials:
    """All trials of one encounter on one database."""

    def __init__(
        self,
        encounter: Encounter,
        installation: Installation,
        database: Database,
        conflicts: list[str],
    ) -> None:
        self.encounter = encounter
        self.scheduler = Scheduler(database)
        self.tried = 0
        self.stops: dict[str, int] = {}  # of each actor that meets nobody
        self._delivered: set[int] = set()
        self._installation = installation
        self._conflicts = conflicts
        installation.change(wipe)
        self._stage = Stage(installation)
        with self._stage.servers.in_place():
            self._work = encounter.begin(self._stage)
        self._beginning = installation.change(take_snapshot)
        self._servers = self._stage.servers

    def run(self, schedule: Schedule) -> tuple[Ran, tuple[Any, ...]]:
        """One trial from the beginning; fails when it leaves anything wrong behind."""
        self._installation.change(self._beginning.restore)
        servers = self._stage.servers = self._servers.begin_again()
        servers.note = self.scheduler.note
        self._conflicts.clear()
        with servers.in_place():
            ran = self.scheduler.run(self._work, schedule)
        self.tried += 1
        self._delivered.add(len(servers.accepted()))
        wrong = self._wrong(ran, servers.accepted())
        assert not wrong, f"{wrong} in {self.encounter.name}, {schedule}: {ran.trace}"
        return ran, outcome(self._installation, servers.accepted())

    def _wrong(self, ran: Ran, accepted: list[AcceptedMail]) -> list[str]:
        wrong = [
            *(f"{actor}: {error!r}" for actor, error in ran.errors.items()),
            *self._conflicts,
            *imbalances(self._installation),
            *delivery_faults(self._installation, accepted),
            *self.encounter.wrong(ran),
        ]
        if len(accepted) not in self.encounter.mails:
            wrong.append(f"{len(accepted)} mails were delivered")
        return wrong

    def all_of_them(self, most: int, every: int = 1) -> Iterator[tuple[Schedule, tuple[Any, ...]]]:
        """Each schedule of at most two changes, and its outcome.

        Of more than `most`: each first stop (one in `every`), and an even choice of the second
        ones, which takes its turn from one first stop to the next.
        """
        for first, second in self.both_ways():
            stride = math.ceil(2 * math.prod(self.stops.values()) / most)
            for stops in itertools.count(1, every):
                schedule: Schedule = [(first, stops)]
                ran, left = self.run(schedule)
                yield schedule, left
                if ran.steps_taken[0] < stops:
                    break
                for further in itertools.count(1 + stops % stride, stride):
                    schedule = [(first, stops), (second, further), (first, TO_THE_END)]
                    ran, left = self.run(schedule)
                    yield schedule, left
                    if ran.steps_taken[1] < further:
                        break

    def interrupt_everywhere(self) -> None:
        """Each goes some stops, the other all its way: the schedules of one change."""
        for first, second in self.both_ways():
            for stops in itertools.count(1):
                ran, _ = self.run([(first, stops), (second, TO_THE_END), (first, TO_THE_END)])
                if ran.steps_taken[0] < stops:
                    break

    def both_ways(self) -> list[tuple[str, str]]:
        """The two names in both orders, when their footprints are known: each has begun once."""
        first, second = self._work
        for name in (first, second, first, second):
            ran, _ = self.run([(name, TO_THE_END)])
            self.stops[name] = ran.steps_taken[0]
        assert self._delivered == set(self.encounter.mails), "one of the two decides nothing here"
        return [(first, second), (second, first)]


@pytest.mark.parametrize("encounter", ENCOUNTERS, ids=lambda each: each.name)
def test_no_order_of_statements_does_what_no_order_of_transactions_would(
    installation: Installation,
    database: Database,
    conflicts: list[str],
    figures: Figures,
    encounter: Encounter,
) -> None:
    trials = Trials(encounter, installation, database, conflicts)
    sample = (MOST, 1)
    if figures.database == "pgbouncer":
        sample = (MOST_THROUGH_A_PROXY, EVERY_FIRST_STOP_THROUGH_A_PROXY)
    with trials.scheduler.watching():
        try_all(trials, *sample) if LONG else try_a_few(trials)
    possible = max(trials.tried, 2 * math.prod(trials.stops.values()))
    figures.add(f"interleavings: {encounter.name}", tried=trials.tried, of=possible)


def try_all(trials: Trials, most: int, every: int) -> None:
    seen = {left: schedule for schedule, left in trials.all_of_them(most, every)}
    if trials.encounter.passes_by:
        return
    tried, trials.scheduler.whole_transactions = trials.tried, True
    for _, left in trials.all_of_them(ALL):
        seen.pop(left, None)
        if not seen:
            break
    assert not seen, f"what no order of transactions leaves, and the schedule: {seen}"
    trials.tried = tried  # those with whole transactions were for comparison


def try_a_few(trials: Trials) -> None:
    picks = random.Random(SEED)
    first, second = trials.both_ways()[0]
    for _ in range(PICKED):
        order = [first, second] if picks.random() < 0.5 else [second, first]
        stops = [picks.randint(1, trials.stops[name]) for name in order]
        trials.run([*zip(order, stops, strict=True), (order[0], TO_THE_END)])


def test_no_reminder_goes_out_after_a_reply_that_was_committed_before_it(
    installation: Installation, database: Database, conflicts: list[str]
) -> None:
    """Wherever in the sender's run the whole of sync comes in between, and the other way round."""
    (encounter,) = [each for each in ENCOUNTERS if each.name == "reply, reminder"]
    trials = Trials(encounter, installation, database, conflicts)
    with trials.scheduler.watching():
        trials.interrupt_everywhere()
