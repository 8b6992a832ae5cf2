"""One line for each company and mailbox, those that need somebody first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy.orm import Session

from backend.app.models import LedgerState
from backend.app.operate.status import MailboxHealth, mailbox_health
from backend.app.store import admin_mailboxes, admin_tenants, report_figures
from backend.app.store.admin_records import CompanyRow, MailboxRow

MOST_LINES = 200
MOST_UIDS = 500_000  # of the ledger, looked at for one page
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Lines(Generic[T]):
    """The first MOST_LINES; `left` others are not shown, though `all` counts on."""

    shown: list[T]
    left: int
    all: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompanyLine:
    """mails: from people, in the last day. sent: reminders, in the last day and month."""

    id: int
    name: str
    mailboxes: int
    failing: int
    mails: int
    sent_day: int
    sent_month: int
    held: int
    uncertain: int
    quarantine: int

    @property
    def needs(self) -> int:
        return self.failing + self.held + self.uncertain + self.quarantine


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxLine:
    """The ledger's balance: met = stored + duplicate + ignored + quarantined.

    raw: mails kept in quarantine, which must be as many as the ledger says. missing: what the
    last audit found at the server and not here; None before the first. met None: not counted,
    since the mailbox's part of the ledger is larger than a page may look at.
    """

    id: int
    email: str
    company: str
    health: MailboxHealth
    lag_seconds: float | None
    error_kind: str | None
    failing_since: datetime | None
    met: int | None
    states: Mapping[str, int]
    raw: int
    missing: int | None
    audited_at: datetime | None

    @property
    def balanced(self) -> bool:
        quarantined = self.states.get(LedgerState.QUARANTINED.value, 0)
        return not self.missing and (self.met is None or quarantined == self.raw)

    @property
    def needs(self) -> int:
        return (self.health is MailboxHealth.FAILING) + (not self.balanced) + (self.raw > 0)


def load_tables(
    session: Session, company_id: int | None, now: datetime, day: datetime, month: datetime
) -> tuple[Lines[CompanyLine], Lines[MailboxLine]]:
    """day, month: since when mails and reminders are counted."""
    companies = _companies(session, company_id)
    boxes = admin_mailboxes.list_mailboxes(session, company_id)
    raw = report_figures.count_quarantine_by_mailbox(session, company_id)
    names = {company.id: company.name for company in companies}
    mailboxes = [
        _mailbox_line(row, now, names[row.company_id], raw.get(row.id, 0)) for row in boxes
    ]
    company_lines = _company_lines(session, company_id, companies, boxes, raw, day, month)
    return (
        _lines(company_lines, lambda line: (-line.needs, -line.mails, line.id)),
        _counted(session, _lines(mailboxes, lambda line: (-line.needs, line.id))),
    )


def _companies(session: Session, company_id: int | None) -> list[CompanyRow]:
    if company_id is None:
        return admin_tenants.list_companies(session)
    return [admin_tenants.load_company_row(session, company_id)]


def _company_lines(
    session: Session,
    company_id: int | None,
    companies: Sequence[CompanyRow],
    boxes: Sequence[MailboxRow],
    raw: Mapping[int, int],
    day: datetime,
    month: datetime,
) -> list[CompanyLine]:
    mails = report_figures.count_mails_by_company(session, company_id, day)
    sent_day = report_figures.count_sent_by_company(session, company_id, day)
    sent_month = report_figures.count_sent_by_company(session, company_id, month)
    held = report_figures.count_held_by_company(session, company_id)
    uncertain = report_figures.count_uncertain_by_company(session, company_id)
    active = Counter(box.company_id for box in boxes if box.is_active)
    failing = Counter(box.company_id for box in boxes if box.is_active and box.failures)
    quarantine: Counter[int] = Counter()
    for box in boxes:
        quarantine[box.company_id] += raw.get(box.id, 0)
    return [
        CompanyLine(
            id=company.id,
            name=company.name,
            mailboxes=active[company.id],
            failing=failing[company.id],
            mails=mails.get(company.id, 0),
            sent_day=sent_day.get(company.id, 0),
            sent_month=sent_month.get(company.id, 0),
            held=held.get(company.id, 0),
            uncertain=uncertain.get(company.id, 0),
            quarantine=quarantine[company.id],
        )
        for company in companies
    ]


def _mailbox_line(row: MailboxRow, now: datetime, company: str, raw: int) -> MailboxLine:
    lag = None if row.fresh_at is None else max(0.0, (now - row.fresh_at).total_seconds())
    return MailboxLine(
        id=row.id,
        email=row.email,
        company=company,
        health=mailbox_health(row, now),
        lag_seconds=lag,
        error_kind=row.error_kind,
        failing_since=row.error_since,
        met=None,
        states={},
        raw=raw,
        missing=None if row.audit is None else row.audit.get("missing", 0),
        audited_at=row.audited_at,
    )


def _lines(found: Sequence[T], order: Callable[[T], Any]) -> Lines[T]:
    names = ("failing", "held", "uncertain", "quarantine", "raw", "missing")
    sums = {
        name: sum(getattr(line, name) or 0 for line in found if hasattr(line, name))
        for name in names
    }
    shown = sorted(found, key=order)[:MOST_LINES]
    return Lines(shown, len(found) - len(shown), sums)


def _counted(session: Session, lines: Lines[MailboxLine]) -> Lines[MailboxLine]:
    """With the ledger's counts, as long as a page may go on counting."""
    budget = MOST_UIDS
    shown = []
    for line in lines.shown:
        states = report_figures.count_ledger_of(session, line.id, budget + 1)
        met = sum(states.values())
        whole = met <= budget
        budget -= met if whole else 0
        shown.append(_with_ledger(line, states, met) if whole else line)
    return Lines(shown, lines.left, lines.all)


def _with_ledger(line: MailboxLine, states: Mapping[str, int], met: int) -> MailboxLine:
    return replace(line, met=met, states=states)
