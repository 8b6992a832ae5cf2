"""What `manage.py report` counts. Only reads, each statement bounded by time, index and rows.

Mails are found through the conversations in which something was said lately, since
`last_message_at` never goes back, so that the inbox needs no index on the time of arrival. Every
statement begins at the companies, whose indexes lead to the rest.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import FunctionElement

from backend.app.mail.message import MailKind
from backend.app.models import (
    Company,
    Conversation,
    CronRun,
    Followup,
    InboxIntegration,
    InboxMessage,
    LedgerEntry,
    MailboxState,
    OutboxMail,
    OutboxState,
    QuarantinedMail,
)
from backend.app.store.followups import LOOKED_AT
from backend.app.store.unsettled import UNSETTLED

# Word for word the condition of ix_followups_held, which SQLite would not recognise otherwise.
HELD = sa.text("followups.auto_state = 'held'")
MOST_RUNS = 5_000  # of one script, one by one
QUARTER = 900  # every time zone's midnight lies on a quarter of an hour
HOUR = 3_600
# How long a mail took from its arrival at the server into the inbox: up to so many seconds.
DELAY_BOUNDS = (60, 120, 300, 900, 3_600)


class whole_seconds(FunctionElement[int]):  # noqa: N801 (reads as an SQL function)
    """Seconds since 1970 of an instant, rounded down, so that they can be divided."""

    inherit_cache = True
    type = sa.BigInteger()


@compiles(whole_seconds, "postgresql")
def _seconds_postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    return f"floor(extract(epoch FROM {compiler.process(element.clauses, **kw)}))::bigint"


@compiles(whole_seconds, "sqlite")
def _seconds_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    return f"CAST(strftime('%s', {compiler.process(element.clauses, **kw)}) AS INTEGER)"


@dataclass(frozen=True, slots=True)
class RunBar:
    """finished_at None: it runs now, or it was killed."""

    host: str
    pid: int
    started_at: datetime
    finished_at: datetime | None
    exit_status: int | None


@dataclass(frozen=True, slots=True)
class RunQuarter:
    """The runs that began in one quarter of an hour; `quarter` counts from the period's start.

    unfinished: without an end. items: mails stored, or reminders sent. longest_seconds of those
    that ended.
    """

    quarter: int
    runs: int
    failed: int
    unfinished: int
    longest_seconds: int
    items: int


@dataclass(frozen=True, slots=True)
class MailCount:
    """hour: counted from the period's start; delay: index into DELAY_BOUNDS, its length: longer.

    delay is None for our own mail, and for what lay in the mailbox before it was connected.
    """

    hour: int
    kind: str
    delay: int | None
    mails: int


@dataclass(frozen=True, slots=True)
class FollowupCount:
    """`status`: the host application's word. lately: a step went out in the period."""

    state: str
    reason: str | None
    status: str
    lately: bool
    followups: int


def list_runs(session: Session, script: str, since: datetime) -> list[RunBar]:
    """The newest MOST_RUNS of those that began since, oldest first."""
    rows = session.execute(
        sa.select(*(getattr(CronRun, name) for name in RunBar.__dataclass_fields__))
        .where(CronRun.script == script, CronRun.started_at >= since)
        .order_by(CronRun.started_at.desc(), CronRun.id.desc())
        .limit(MOST_RUNS)
    ).all()
    return [RunBar(**row._mapping) for row in reversed(rows)]


def count_runs(session: Session, script: str, since: datetime, item: str) -> list[RunQuarter]:
    """By quarters of an hour from `since` on. item: the run's count that is added up."""
    r = CronRun
    quarter = _steps(r.started_at, since, QUARTER)
    took = whole_seconds(r.finished_at) - whole_seconds(r.started_at)
    items = sa.func.coalesce(r.counts[item].as_integer(), 0)
    rows = session.execute(
        sa.select(
            quarter.label("quarter"),
            sa.func.count().label("runs"),
            _count_if(r.exit_status != 0).label("failed"),
            _count_if(r.finished_at.is_(None)).label("unfinished"),
            sa.func.coalesce(sa.func.max(took), 0).label("longest_seconds"),
            sa.cast(sa.func.sum(items), sa.BigInteger).label("items"),
        )
        .where(r.script == script, r.started_at >= since)
        .group_by(quarter)
        .order_by(quarter)
    ).all()
    return [RunQuarter(**row._mapping) for row in rows]


def count_mails(session: Session, company_id: int | None, since: datetime) -> list[MailCount]:
    """What arrived since, by hours from then on."""
    m, s = InboxMessage, MailboxState
    hour = _steps(m.arrived_at, since, HOUR)
    took = whole_seconds(m.created_at) - whole_seconds(m.arrived_at)
    delay = sa.case(
        (sa.or_(m.kind == MailKind.OWN.value, s.connected_at > m.arrived_at), None),
        *((took <= bound, index) for index, bound in enumerate(DELAY_BOUNDS)),
        else_=len(DELAY_BOUNDS),
    )
    rows = session.execute(
        _recent_mails(company_id, since)
        .outerjoin(s, s.integration_id == m.integration_id)
        .with_only_columns(hour, m.kind, delay, sa.func.count())
        .group_by(hour, m.kind, delay)
    ).all()
    return [MailCount(*row) for row in rows]


def count_mails_by_company(
    session: Session, company_id: int | None, since: datetime
) -> dict[int, int]:
    """What came from people since."""
    rows = session.execute(
        _recent_mails(company_id, since)
        .where(InboxMessage.kind == MailKind.HUMAN.value)
        .with_only_columns(Company.id, sa.func.count())
        .group_by(Company.id)
    ).all()
    return dict(rows)


def _recent_mails(company_id: int | None, since: datetime) -> sa.Select[Any]:
    c, m = Conversation, InboxMessage
    query = (
        sa.select(Company.id)
        .join(c, sa.and_(c.company_id == Company.id, c.last_message_at >= since))
        # `+ 0`: so that SQLite, which has no statistics, does not begin at the messages.
        .join(m, sa.and_(m.conversation_id == c.id + 0, m.arrived_at >= since))
    )
    return query if company_id is None else query.where(Company.id == company_id)


def count_reminded(
    session: Session, company_id: int | None, since: datetime
) -> list[FollowupCount]:
    """How the follow-ups stand of which a reminder went out since, each counted once."""
    sent = _sent_since(company_id, since).with_only_columns(OutboxMail.followup_id).distinct()
    f, which = Followup, sent.subquery()
    return _counted(session, sa.select(f.id).join(which, which.c.followup_id == f.id), since)


def count_sent_by_company(
    session: Session, company_id: int | None, since: datetime
) -> dict[int, int]:
    """Reminders that went out since."""
    rows = session.execute(
        _sent_since(company_id, since)
        .with_only_columns(Company.id, sa.func.count())
        .group_by(Company.id)
    ).all()
    return dict(rows)


def _sent_since(company_id: int | None, since: datetime) -> sa.Select[Any]:
    o = OutboxMail
    query = (
        sa.select(Company.id)
        .join(o, sa.and_(o.company_id == Company.id, o.sending_at >= since))
        .where(o.state == OutboxState.SENT.value)
    )
    return query if company_id is None else query.where(Company.id == company_id)


def count_held(session: Session, company_id: int | None, since: datetime) -> list[FollowupCount]:
    return _counted(session, _followups(company_id, HELD), since)


def count_waiting(session: Session, company_id: int | None, since: datetime) -> list[FollowupCount]:
    """Active ones that a run has looked at and put off, with its reason."""
    looked_at = Followup.auto_reason.is_not(None)
    return _counted(session, _followups(company_id, LOOKED_AT).where(looked_at), since)


def count_held_by_company(session: Session, company_id: int | None) -> dict[int, int]:
    f = Followup
    held = _followups(company_id, HELD).with_only_columns(f.company_id, sa.func.count())
    return dict(session.execute(held.group_by(f.company_id)).all())


def _followups(company_id: int | None, which: sa.TextClause) -> sa.Select[Any]:
    query = sa.select(Followup.id).where(which)
    return query if company_id is None else query.where(Followup.company_id == company_id)


def _counted(session: Session, which: sa.Select[Any], since: datetime) -> list[FollowupCount]:
    """By reason code: what follows its colon are a server's own words, different each time."""
    f = Followup
    lately = sa.case((f.last_step_at >= since, 1), else_=0)
    by = (f.auto_state, f.auto_reason, f.status, lately)
    counts: Counter[tuple[str, str | None, str, bool]] = Counter()
    for row in session.execute(which.with_only_columns(*by, sa.func.count()).group_by(*by)):
        state, reason, status, sent, followups = row
        counts[state, reason and reason.partition(":")[0], status, bool(sent)] += followups
    return [FollowupCount(*key, number) for key, number in counts.most_common()]


def count_uncertain_by_company(session: Session, company_id: int | None) -> dict[int, int]:
    o = OutboxMail
    query = sa.select(o.company_id, sa.func.count()).where(
        UNSETTLED, o.state == OutboxState.UNCERTAIN.value
    )
    if company_id is not None:
        query = query.where(o.company_id == company_id)
    return dict(session.execute(query.group_by(o.company_id)).all())


def count_quarantine_by_mailbox(session: Session, company_id: int | None) -> dict[int, int]:
    q, i = QuarantinedMail, InboxIntegration
    query = sa.select(q.integration_id, sa.func.count()).group_by(q.integration_id)
    if company_id is not None:
        query = query.join(i, i.id == q.integration_id).where(i.company_id == company_id)
    return dict(session.execute(query).all())


def count_ledger_of(session: Session, integration_id: int, most: int) -> dict[str, int]:
    """How many UIDs of a mailbox are in each state, looking at no more than `most` of them."""
    e = LedgerEntry
    some = sa.select(e.state).where(e.integration_id == integration_id).limit(most).subquery()
    rows = session.execute(sa.select(some.c.state, sa.func.count()).group_by(some.c.state)).all()
    return dict(rows)


def _count_if(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0)


def _steps(moment: Any, start: datetime, seconds: int) -> sa.ColumnElement[int]:
    """How many whole steps after `start`."""
    return (whole_seconds(moment) - sa.literal_column(str(int(start.timestamp())))) // (
        sa.literal_column(str(seconds), sa.BigInteger())
    )
