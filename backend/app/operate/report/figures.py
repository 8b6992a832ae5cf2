"""What the report says, as frozen values: everything is counted here, nothing is drawn.

It shows companies' names, mailboxes' addresses and counts; no client, no subject, no text.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy.orm import Session

from backend.app.db import load_now
from backend.app.mail.message import MailKind
from backend.app.operate.report.attention import Attention, find_attention
from backend.app.operate.report.funnel import Funnel, load_funnel
from backend.app.operate.report.tables import CompanyLine, Lines, MailboxLine, load_tables
from backend.app.operate.status import LONGEST_RUN, SCRIPTS
from backend.app.store import admin_tenants, report_figures
from backend.app.store.admin_records import CompanyRow
from backend.app.store.report_figures import DELAY_BOUNDS, MailCount, RunBar, RunQuarter

HOURS = 24
DAYS = 30
ITEMS = {"sync": "stored", "followups": "sent"}  # what a run's counts call what it did


class RunFate(StrEnum):
    """What became of a run, in the order in which the pictures stack them."""

    DONE = "done"
    FAILED = "failed"  # some mailbox, mail or reminder of it
    KILLED = "killed"  # without an end
    RUNNING = "running"


@dataclass(frozen=True, slots=True)
class RunSpan:
    """until: of one that runs now, or whose end nobody knows, the present or the start."""

    fate: RunFate
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Day:
    """The runs of one script that began on a local day; items: mails stored or reminders sent."""

    day: date
    runs: int
    failed: int
    unfinished: int
    longest_seconds: int
    items: int


@dataclass(frozen=True, slots=True)
class Hour:
    """What arrived in one hour, from `begins` on: by people, by machines, and our own mail."""

    begins: datetime
    people: int
    machines: int
    ours: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """zone: an IANA name; None: this host's.

    delays: mails by DELAY_BOUNDS, the last ones took longer.
    company None: the whole installation. Runs are always the installation's.
    """

    at: datetime
    zone: str | None
    company: CompanyRow | None
    attention: list[Attention]
    hours_begin: datetime
    runs: dict[str, list[RunSpan]]
    days: dict[str, list[Day]]
    hours: list[Hour]
    delays: list[int]
    funnel: Funnel
    companies: Lines[CompanyLine]
    mailboxes: Lines[MailboxLine]


def load_report(
    session: Session, company_id: int | None, is_alive: Callable[[str, int], bool | None]
) -> Report:
    """is_alive(host, pid): None where nobody here can know. Raises Refused: no such company."""
    now = load_now(session)
    company = None if company_id is None else admin_tenants.load_company_row(session, company_id)
    zone = None if company is None else _zone_of(company)
    begin = now.astimezone(zone).replace(minute=0, second=0, microsecond=0)
    begin -= timedelta(hours=HOURS - 1)
    midnights = local_midnights(now, zone)
    bars = {script: report_figures.list_runs(session, script, begin) for script in SCRIPTS}
    runs = {script: [span_of(run, now, is_alive) for run in bars[script]] for script in SCRIPTS}
    quarters = {
        script: report_figures.count_runs(session, script, midnights[0], ITEMS[script])
        for script in SCRIPTS
    }
    mails = report_figures.count_mails(session, company_id, begin)
    funnel = load_funnel(session, company_id, midnights[0])
    companies, mailboxes = load_tables(session, company_id, now, begin, midnights[0])
    return Report(
        at=now,
        zone=str(zone) if zone else None,
        company=company,
        attention=find_attention(now, runs, companies, mailboxes),
        hours_begin=begin,
        runs=runs,
        days={script: fold_days(midnights, zone, quarters[script]) for script in SCRIPTS},
        hours=fold_hours(begin, mails),
        delays=fold_delays(mails),
        funnel=funnel,
        companies=companies,
        mailboxes=mailboxes,
    )


def _zone_of(company: CompanyRow) -> tzinfo | None:
    try:
        return ZoneInfo(company.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a directory, such as Europe
        return None


def local_midnights(now: datetime, zone: tzinfo | None) -> list[datetime]:
    """When each of the last DAYS days began, today's last; a day may have 23 or 25 hours."""
    today = now.astimezone(zone).date()
    days = [today - timedelta(days=back) for back in reversed(range(DAYS))]
    naive = [datetime(day.year, day.month, day.day) for day in days]  # noqa: DTZ001 (made local)
    return [each.replace(tzinfo=zone) if zone else each.astimezone() for each in naive]


def span_of(run: RunBar, now: datetime, is_alive: Callable[[str, int], bool | None]) -> RunSpan:
    if run.finished_at is not None:
        fate = RunFate.FAILED if run.exit_status else RunFate.DONE
        return RunSpan(fate, run.started_at, run.finished_at)
    alive = is_alive(run.host, run.pid)
    if alive is None:
        alive = now - run.started_at < LONGEST_RUN
    if alive:
        return RunSpan(RunFate.RUNNING, run.started_at, now)
    return RunSpan(RunFate.KILLED, run.started_at, run.started_at)


def fold_days(
    midnights: Sequence[datetime], zone: tzinfo | None, quarters: Sequence[RunQuarter]
) -> list[Day]:
    """Quarters of an hour, counted from the first midnight, into local days."""
    first = midnights[0].timestamp()
    starts = [(each.timestamp() - first) // report_figures.QUARTER for each in midnights]
    days: list[list[RunQuarter]] = [[] for _ in midnights]
    for quarter in quarters:
        days[bisect_right(starts, quarter.quarter) - 1].append(quarter)
    return [
        Day(
            day=midnight.astimezone(zone).date(),
            runs=sum(each.runs for each in found),
            failed=sum(each.failed for each in found),
            unfinished=sum(each.unfinished for each in found),
            longest_seconds=max((each.longest_seconds for each in found), default=0),
            items=sum(each.items for each in found),
        )
        for midnight, found in zip(midnights, days, strict=True)
    ]


def fold_hours(begin: datetime, mails: Sequence[MailCount]) -> list[Hour]:
    sums = [[0, 0, 0] for _ in range(HOURS)]
    for each in mails:
        if 0 <= each.hour < HOURS:  # a server's clock may be ahead
            sums[each.hour][_party(each.kind)] += each.mails
    return [Hour(begin + timedelta(hours=hour), *sums[hour]) for hour in range(HOURS)]


def _party(kind: str) -> int:
    return {MailKind.HUMAN.value: 0, MailKind.OWN.value: 2}.get(kind, 1)


def fold_delays(mails: Sequence[MailCount]) -> list[int]:
    counts = [0] * (len(DELAY_BOUNDS) + 1)
    for each in mails:
        if each.delay is not None:
            counts[each.delay] += each.mails
    return counts
