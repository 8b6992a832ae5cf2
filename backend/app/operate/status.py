"""`manage.py status`: is mail coming in, are reminders going out, and what waits for a person?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy.orm import Session

from backend.app.db import load_now
from backend.app.errors import SettingsInvalid
from backend.app.models import AutoState, LedgerState, OutboxState
from backend.app.operate.company_settings import check_document
from backend.app.operate.explain import meaning_of
from backend.app.store import (
    admin_followups,
    admin_mailboxes,
    admin_tenants,
    admin_totals,
    admin_trouble,
    installation,
    senders,
)
from backend.app.store.admin_records import MailboxRow, OutboxRow, RunRow
from backend.app.store.admin_trouble import CannotSend, CopiesGivenUp

SCRIPTS = ("sync", "followups")
SHOWN_RUNS = 3
# A run on another host cannot be asked whether it lives; none takes as long as this.
LONGEST_RUN = timedelta(hours=2)


class MailboxHealth(StrEnum):
    """How a mailbox does, in one word."""

    OK = "ok"
    READING = "reading"  # a worker holds the lease now
    FAILING = "failing"  # see error_kind and error
    BEHIND = "behind"  # mail is left over for the next visit
    NEVER_READ = "never_read"
    INACTIVE = "inactive"


class RunState(StrEnum):
    """What became of a run."""

    RUNNING = "running"
    FINISHED = "finished"
    NEVER_FINISHED = "never_finished"  # killed, or its host went down


@dataclass(frozen=True, slots=True)
class MailboxStatus:
    """lag_seconds: how old the newest instant is before which everything is in the inbox.

    newest_mail_at: when the newest stored mail of its INBOX arrived; None for none.
    """

    health: MailboxHealth
    lag_seconds: float | None
    newest_mail_at: datetime | None
    mailbox: MailboxRow


@dataclass(frozen=True, slots=True)
class RunStatus:
    state: RunState
    run: RunRow


@dataclass(frozen=True, slots=True)
class HeldReason:
    reason: str
    meaning: str
    count: int


@dataclass(frozen=True, slots=True)
class UncertainStep:
    """A step that may have gone out, and the two commands one of which settles it.

    with_followups: those whose steps its mail carries; they are settled with it.
    """

    outbox: OutboxRow
    if_it_arrived: str
    if_it_did_not: str
    with_followups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class BrokenSettings:
    company_id: int
    error: str


@dataclass(frozen=True, slots=True)
class Storm:
    """A flood of one sender: so many mails in the hour that began then (aware UTC)."""

    company_id: int
    sender: str
    hour: datetime
    mails: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """at: the database's clock. ledger, followups, outbox: counts by state, every state named.

    left: mails older than the horizon of the first sync, which stay on the servers.

    restored_at: the database is a copy that was brought back; None when it is not.

    quarantine_for_person: those that are not tried again by themselves; quarantine_today: those
    of the last 24 hours. cannot_send: mailboxes whose reminders wait for the SMTP server.

    company_id None: all companies. Runs are the installation's, whatever the company.
    """

    at: datetime
    company_id: int | None
    mailboxes: list[MailboxStatus]
    runs: list[RunStatus]
    ledger: dict[str, int]
    left: int
    restored_at: datetime | None
    quarantine: int
    quarantine_for_person: int
    quarantine_today: int
    broken_settings: list[BrokenSettings]
    cannot_send: list[CannotSend]
    copies_given_up: list[CopiesGivenUp]
    followups: dict[str, int]
    held: list[HeldReason]
    outbox: dict[str, int]
    uncertain: list[UncertainStep]
    storms: list[Storm]


def load_status(
    session: Session, company_id: int | None, is_alive: Callable[[str, int], bool | None]
) -> Status:
    """is_alive(host, pid): None where nobody here can know."""
    now = load_now(session)
    mailboxes = admin_mailboxes.list_mailboxes(session, company_id)
    newest = admin_trouble.load_newest_mails(session, [row.id for row in mailboxes])
    by_reason = admin_totals.count_followups(session, company_id)
    for_person, today = admin_trouble.count_quarantine(session, company_id)
    uncertain = admin_followups.list_outbox(
        session, company_id=company_id, state=OutboxState.UNCERTAIN.value
    )
    return Status(
        at=now,
        company_id=company_id,
        mailboxes=[mailbox_status(row, now, newest.get(row.id)) for row in mailboxes],
        runs=[
            RunStatus(run_state(run, now, is_alive(run.host, run.pid)), run)
            for script in SCRIPTS
            for run in admin_totals.latest_runs(session, script, SHOWN_RUNS)
        ],
        ledger=_by_state(LedgerState, admin_totals.count_ledger(session, company_id)),
        left=admin_totals.count_left(session, company_id),
        restored_at=installation.load_restored_at(session),
        quarantine=admin_totals.count_quarantine(session, company_id),
        quarantine_for_person=for_person,
        quarantine_today=today,
        broken_settings=broken_settings(admin_tenants.list_documents(session, company_id)),
        cannot_send=admin_trouble.list_cannot_send(session, company_id),
        copies_given_up=admin_trouble.list_copies_given_up(session, company_id),
        followups=_followups_by_state(by_reason),
        held=held_reasons(by_reason),
        outbox=_by_state(OutboxState, admin_totals.count_outbox(session, company_id)),
        uncertain=settlements(uncertain),
        storms=[Storm(*row) for row in senders.list_storms(session, company_id)],
    )


def mailbox_status(
    row: MailboxRow, now: datetime, newest_mail_at: datetime | None
) -> MailboxStatus:
    lag = None if row.fresh_at is None else max(0.0, (now - row.fresh_at).total_seconds())
    return MailboxStatus(mailbox_health(row, now), lag, newest_mail_at, row)


def broken_settings(documents: Iterable[tuple[int, object]]) -> list[BrokenSettings]:
    """Of (company, settings document), those that the scripts cannot read."""
    found = []
    for company_id, document in documents:
        try:
            check_document(document)
        except SettingsInvalid as error:
            found.append(BrokenSettings(company_id, str(error)))
    return found


def mailbox_health(row: MailboxRow, now: datetime) -> MailboxHealth:
    if not row.is_active:
        return MailboxHealth.INACTIVE
    if row.failures:
        return MailboxHealth.FAILING
    if row.lease_until is not None and row.lease_until > now:
        return MailboxHealth.READING
    if row.last_success_at is None:
        return MailboxHealth.NEVER_READ
    return MailboxHealth.BEHIND if row.backlog else MailboxHealth.OK


def run_state(run: RunRow, now: datetime, alive: bool | None) -> RunState:
    """alive: whether its process is there; None for another host's."""
    if run.finished_at is not None:
        return RunState.FINISHED
    if alive is None:
        alive = now - run.started_at < LONGEST_RUN
    return RunState.RUNNING if alive else RunState.NEVER_FINISHED


def held_reasons(by_reason: dict[tuple[str, str | None], int]) -> list[HeldReason]:
    """The most frequent first; by code, without what follows the colon: a server's own words."""
    counts: Counter[str] = Counter()
    for (state, reason), count in by_reason.items():
        if state == AutoState.HELD:
            counts[(reason or "").partition(":")[0]] += count
    return [HeldReason(code, meaning_of(code) or "", n) for code, n in counts.most_common()]


def settlements(rows: Sequence[OutboxRow]) -> list[UncertainStep]:
    """One for each mail, of all uncertain steps."""
    return [
        UncertainStep(
            row,
            f"manage.py outbox sent {row.id}",
            f"manage.py outbox resend {row.id}",
            tuple(each.followup_id for each in rows if each.carried_by == row.id),
        )
        for row in rows
        if row.carried_by is None
    ]


def _followups_by_state(by_reason: dict[tuple[str, str | None], int]) -> dict[str, int]:
    return {
        state.value: sum(count for (found, _), count in by_reason.items() if found == state)
        for state in AutoState
    }


def _by_state(states: type[StrEnum], counts: dict[str, int]) -> dict[str, int]:
    return {state.value: counts.get(state.value, 0) for state in states}
