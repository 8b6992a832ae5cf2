"""`manage.py doctor`: everything that can be looked at, in a bounded time, writing nothing.

What one check needs and another has not found (settings, a database, a key) leaves the first out;
all others are done.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from backend.app import db
from backend.app.config import Settings
from backend.app.credentials import Vault
from backend.app.operate.health import host, records
from backend.app.operate.health.dns import check_domain, sending_domains
from backend.app.operate.health.finding import Finding, Level
from backend.app.operate.health.mailboxes import check_mailbox, load_accounts
from backend.app.operate.health.standing import standing_findings
from backend.app.operate.status import load_status

PARALLEL = 8
Task = tuple[str, Callable[[], list[Finding]]]


@dataclass(frozen=True, slots=True)
class Scope:
    """What to look at. seconds: for all that goes over the network together."""

    company_id: int | None = None
    mailbox_id: int | None = None
    network: bool = True
    dns: bool = True
    seconds: float = 60.0


def examine(scope: Scope, is_alive: Callable[[str, int], bool | None]) -> list[Finding]:
    """Never raises for what it finds. is_alive: see load_status."""
    settings, vault, found = host.check_settings()
    if settings is None:
        return found
    found += host.check_directories(settings)
    usable, opened = records.open_and_check(settings)
    found += opened
    if not usable:
        return found
    try:
        found += _recorded(settings, vault, scope, is_alive)
        if scope.network:
            found += run_all(_network_tasks(settings, vault, scope), scope.seconds)
    except SQLAlchemyError as error:
        fault = db.fault_of(error)
        if fault is None:
            raise
        fix = "see the database server's log"
        found.append(Finding("database", Level.FAULT, f"it went away: {fault}", fix))
    return found


def _recorded(
    settings: Settings,
    vault: Vault | None,
    scope: Scope,
    is_alive: Callable[[str, int], bool | None],
) -> Iterator[Finding]:
    yield records.check_clock(settings)
    if vault is not None:
        yield from records.check_secrets(vault)
    yield from records.check_companies(scope.company_id)
    yield from records.check_chosen(scope.mailbox_id)
    standing = standing_findings(db.read(load_status, scope.company_id, is_alive))
    yield from standing
    if not any(each.check == "cron" for each in standing) and records.has_mailboxes():
        yield Finding("cron", Level.OK, "both scripts run")


def _network_tasks(settings: Settings, vault: Vault | None, scope: Scope) -> list[Task]:
    accounts = load_accounts(scope.company_id, scope.mailbox_id)
    tasks: list[Task] = []
    if vault is not None:
        now = db.utc_now()
        for each in accounts:
            tasks.append(
                (
                    f"mailbox {each.id}",
                    lambda account=each: check_mailbox(account, settings, vault, now),  # type: ignore[misc]
                )
            )
    if scope.dns:
        senders = [each.email for each in accounts if each.smtp_host]
        for domain in sending_domains(senders):
            tasks.append((domain, lambda name=domain: check_domain(name)))  # type: ignore[misc]
    return tasks


def run_all(tasks: Sequence[Task], seconds: float) -> list[Finding]:
    """The tasks side by side. Those that are not done in time are named, and left behind."""
    waiting: queue.SimpleQueue[tuple[int, Task]] = queue.SimpleQueue()
    for numbered in enumerate(tasks):
        waiting.put(numbered)
    done: queue.SimpleQueue[tuple[int, list[Finding]]] = queue.SimpleQueue()

    def work() -> None:
        while True:
            try:
                number, (_, task) = waiting.get_nowait()
            except queue.Empty:
                return
            done.put((number, _tried(task)))

    for _ in range(min(PARALLEL, len(tasks))):
        # Daemons: a thread that hangs in a resolver must not keep the command from ending.
        threading.Thread(target=work, daemon=True).start()
    results = _collected(done, len(tasks), time.monotonic() + seconds)
    late = [name for number, (name, _) in enumerate(tasks) if number not in results]
    found = [finding for number in sorted(results) for finding in results[number]]
    return [*found, *(_too_late(name, seconds) for name in late)]


def _collected(
    done: queue.SimpleQueue[tuple[int, list[Finding]]], expected: int, deadline: float
) -> dict[int, list[Finding]]:
    results: dict[int, list[Finding]] = {}
    while len(results) < expected:
        try:
            number, findings = done.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        results[number] = findings
    return results


def _tried(task: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return task()
    except Exception as error:  # noqa: BLE001 (one check must not stop the others)
        words = f"the check itself failed: {type(error).__name__}: {error}"
        return [Finding("internal", Level.FAULT, words)]


def _too_late(name: str, seconds: float) -> Finding:
    words = f"timeout: not looked at within {seconds:.0f} s"
    return Finding("network", Level.WARNING, words, "manage.py doctor --seconds 300", name)
