"""The first sync of a mailbox, beside what other programs need to fetch it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.demo.servers import Account
from tests.bench import measure, ours
from tests.bench.corpus import Corpus
from tests.bench.measure import Cost
from tests.bench.peers import PEERS, Peer, least_sync
from tests.bench.post_office import PostOffice, post_office
from tests.bench.table import Finding, Section, megabytes

FAST = ("mbsync", "mbsync without fsync")
COLUMNS = ("", "mails", "mails/s", "CPU ms/mail", "peak memory", "x mbsync", "x best Python peer")


def compare(directory: Path, mails: int, slow_mails: int, rounds: int) -> Section:
    """slow_mails: how many of the mails those get that would take minutes for all of them."""
    section = Section(f"First sync of {mails} mails", COLUMNS)
    with post_office(directory / "dovecot") as office, ours.databases(directory) as databases:
        full = office.fill(Corpus().mails(mails))
        part = full if slow_mails >= mails else office.fill(Corpus().mails(slow_mails))
        counts = {full: mails, part: min(mails, slow_mails)}
        contenders: dict[str, Callable[[], Cost]] = {}
        sizes: dict[str, int] = {}
        fresh_names = (directory / f"run{number}" for number in itertools.count())
        for name, server in databases.items():
            sizes[f"Relance, {name}"] = mails
            contenders[f"Relance, {name}"] = _ours(office, full, mails, server, fresh_names)
        for name, server in databases.items():
            least = least_sync(f"fetch, parse, one row, {name}", server)
            sizes[least.name] = mails
            contenders[least.name] = _theirs(office, full, mails, least, fresh_names)
        for peer in PEERS:
            if not peer.is_installed():
                section.notes.append(f"{peer.name} is not installed: {peer.how}")
                continue
            account = full if peer.name in FAST else part
            sizes[peer.name] = counts[account]
            contenders[peer.name] = _theirs(office, account, counts[account], peer, fresh_names)
        costs = measure.in_turns(contenders, rounds)
    _report(section, {name: measure.median(found) for name, found in costs.items()}, sizes)
    section.notes += [f"{name} could not be measured" for name in contenders if name not in costs]
    return section


def _ours(
    office: PostOffice, account: Account, mails: int, server: str, names: Iterator[Path]
) -> Callable[[], Cost]:
    def once() -> Cost:
        with _copied(office, account) as mine, ours.fresh(next(names), server) as relance:
            relance.add_mailbox(mine, office.server)
            return relance.sync_all(mails)

    return once


def _theirs(
    office: PostOffice, account: Account, mails: int, peer: Peer, names: Iterator[Path]
) -> Callable[[], Cost]:
    def once() -> Cost:
        with _copied(office, account) as mine:
            return peer.measure(mine, office.server, next(names), mails)

    return once


@contextmanager
def _copied(office: PostOffice, account: Account) -> Iterator[Account]:
    copy = office.copy(account)
    try:
        yield copy
    finally:
        office.forget(copy)


def _report(section: Section, costs: dict[str, Cost], sizes: dict[str, int]) -> None:
    rates = {name: sizes[name] / cost.wall for name, cost in costs.items()}
    mbsync = rates.get("mbsync")
    python = max((rates[p.name] for p in PEERS if p.python and p.name in rates), default=None)
    for name, cost in costs.items():
        rate = rates[name]
        section.rows.append(
            (
                name,
                sizes[name],
                rate,
                1000 * cost.cpu / sizes[name],
                megabytes(cost.peak),
                rate / mbsync if mbsync else "-",
                rate / python if python else "-",
            )
        )
    for name, least in (("sqlite", 1.2), ("postgresql", 1.0)):
        rate = rates[f"Relance, {name}"]
        if mbsync:
            section.findings.append(Finding(f"{name}, times mbsync", rate / mbsync, least, True))
        if python:
            what = f"{name}, times the best Python peer"
            section.findings.append(Finding(what, rate / python, 5, True))
