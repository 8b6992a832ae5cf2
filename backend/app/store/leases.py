"""Leases: who may read a mailbox now, which one is due, and in what health it is given back.

Lease times are the database's clock. Every transaction of a worker first renews its lease under
its token (`hold_lease`): that locks the row until the commit, so nobody can take the mailbox over
in between, and a worker that woke up late writes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.db import database_now
from backend.app.errors import LeaseLost
from backend.app.models import InboxIntegration, MailboxState
from backend.app.store.records import Lease
from backend.app.store.tables import table_of
from backend.app.store.upsert import insert_unless_there

_STATES = table_of(MailboxState)
_BOXES = table_of(InboxIntegration)
_I = _BOXES.c
_HOLD_LEASE = (
    sa.update(_STATES)
    .where(
        _STATES.c.integration_id == sa.bindparam("mailbox"),
        _STATES.c.lease_token == sa.bindparam("token"),
        _STATES.c.lease_until.is_not(None),
    )
    .values(lease_until=database_now(sa.bindparam("seconds", type_=sa.Float())))
    .returning(_STATES.c.integration_id)
)
_LEFT = sa.bindparam("left", type_=sa.Boolean())
_RELEASE = (
    sa.update(_STATES)
    .where(_STATES.c.integration_id == sa.bindparam("mailbox"))
    .values(
        lease_owner=None,
        lease_until=None,
        next_sync_at=database_now(),
        last_success_at=database_now(),
        backlog=_LEFT,
        failures=0,
        error_kind=None,
        error=None,
        error_since=None,
        fresh_at=sa.case(
            (_LEFT, _STATES.c.fresh_at),
            else_=sa.bindparam("started", type_=_STATES.c.fresh_at.type),
        ),
    )
)


def add_missing_states(session: Session) -> None:
    """Give every active mailbox its state row, so that it can be claimed."""
    missing = (
        sa.select(_I.id, _I.company_id)
        .outerjoin_from(_BOXES, _STATES, _STATES.c.integration_id == _I.id)
        .where(_I.is_active, _STATES.c.integration_id.is_(None))
    )
    for integration_id, company_id in session.execute(missing).all():
        insert_unless_there(
            session,
            MailboxState,
            {"integration_id": integration_id, "company_id": company_id},
            from_now={"connected_at": 0},
        )


def _due_filter(*, company: bool, mailbox: bool) -> list[sa.SQLColumnExpression[bool]]:
    """Active, not leased, not backing off, and not visited since `since` unless mail was left."""
    state = _STATES.c
    since = sa.bindparam("since", type_=state.last_attempt_at.type)
    free = sa.or_(state.lease_until.is_(None), state.lease_until < database_now())
    unvisited = sa.or_(
        state.last_attempt_at.is_(None),
        state.last_attempt_at < since,
        state.last_attempt_at > database_now(),  # by a clock that has been put back since
        state.backlog,
    )
    filters: list[sa.SQLColumnExpression[bool]] = [_I.is_active, free, unvisited]
    if company:
        filters.append(_I.company_id == sa.bindparam("company"))
    if mailbox:  # named by hand: the back-off does not hold
        filters.append(_I.id == sa.bindparam("mailbox"))
    else:
        filters.append(sa.or_(state.failures == 0, state.next_sync_at <= database_now()))
    return filters


def _chosen(company_id: int | None, mailbox: int | None) -> tuple[dict[str, bool], dict[str, Any]]:
    """Which statement it is, and what it is given."""
    given = {"company": company_id, "mailbox": mailbox}
    wanted = {name: value for name, value in given.items() if value is not None}
    return {name: name in wanted for name in given}, wanted


def count_due(
    session: Session, since: datetime, company_id: int | None, integration_id: int | None
) -> int:
    """How many mailboxes wait for a worker now."""
    which, given = _chosen(company_id, integration_id)
    return int(session.execute(_count_due(**which), {**given, "since": since}).scalar_one())


@lru_cache(maxsize=4)
def _count_due(*, company: bool, mailbox: bool) -> sa.Select[Any]:
    return (
        sa.select(sa.func.count())
        .select_from(_STATES)
        .join(_BOXES, _I.id == _STATES.c.integration_id)
        .where(*_due_filter(company=company, mailbox=mailbox))
    )


def claim_due(
    session: Session,
    owner: str,
    seconds: int,
    since: datetime,
    company_id: int | None = None,
    integration_id: int | None = None,
    per_host: int | None = None,
    resting: Collection[str] = (),
) -> Lease | None:
    """Take the lease of the mailbox that has waited longest; None when none is due.

    since: the start of this run, which visits each mailbox once, and again where mail was left
    after a slice, when all others have had their turn. per_host: how many mailboxes of one mail
    server may be read at once; two claims at the same instant may overstep it by one. resting:
    mail servers that are passed over.
    """
    which, given = _chosen(company_id, integration_id)
    given |= {"since": since, "owner": owner, "seconds": seconds}
    limited = per_host is not None and integration_id is None
    if limited:
        given["per_host"] = per_host
    if resting:
        given["resting"] = list(resting)
    statement = _claim(limited=limited, passing_over=bool(resting), **which)
    taken = session.execute(statement, given).one_or_none()
    if taken is None:
        return None
    integration, company, token, started_at, *health = taken
    return Lease(integration, company, token, seconds, started_at, *health)


@lru_cache(maxsize=16)
def _claim(*, limited: bool, passing_over: bool, company: bool, mailbox: bool) -> Any:
    """Built once: a run asks it for each mailbox."""
    state = _STATES.c
    filters = _due_filter(company=company, mailbox=mailbox)
    if limited:
        filters.append(_I.imap_host.not_in(_busy_hosts()))
    if passing_over:
        filters.append(_I.imap_host.not_in(sa.bindparam("resting", expanding=True)))
    longest_waiting = (
        sa.select(state.integration_id)
        .join_from(_STATES, _BOXES, _I.id == state.integration_id)
        .where(*filters)
        .order_by(state.last_attempt_at.asc().nulls_first(), state.integration_id)
        .limit(1)
        .with_for_update(of=_STATES, skip_locked=True)
    )
    return (
        sa.update(_STATES)
        .where(
            state.integration_id == longest_waiting.scalar_subquery(),
            sa.or_(state.lease_until.is_(None), state.lease_until < database_now()),
        )
        .values(
            lease_owner=sa.bindparam("owner"),
            lease_token=state.lease_token + 1,
            abandoned=sa.case((state.lease_until.is_(None), 0), else_=state.abandoned + 1),
            lease_until=database_now(sa.bindparam("seconds", type_=sa.Float())),
            last_attempt_at=database_now(),
        )
        .returning(
            state.integration_id,
            state.company_id,
            state.lease_token,
            state.last_attempt_at,
            state.failures,
            state.error_kind,
            state.connected_at,
            state.audited_at,
            state.abandoned,
        )
    )


def _busy_hosts() -> sa.Select[Any]:
    """Mail servers of which so many mailboxes are being read now."""
    return (
        sa.select(_I.imap_host)
        .join_from(_BOXES, _STATES, _STATES.c.integration_id == _I.id)
        .where(_STATES.c.lease_until >= database_now())
        .group_by(_I.imap_host)
        .having(sa.func.count() >= sa.bindparam("per_host", type_=sa.Integer()))
    )


def hold_lease(session: Session, lease: Lease) -> None:
    """Renew the lease, and lock it until the commit. Raises LeaseLost."""
    given = {"mailbox": lease.integration_id, "token": lease.token, "seconds": lease.seconds}
    if session.execute(_HOLD_LEASE, given).one_or_none() is None:
        raise LeaseLost(f"mailbox {lease.integration_id} was taken over by another worker")


def release_after_success(session: Session, lease: Lease, *, caught_up: bool) -> None:
    """Give the mailbox back. caught_up: nothing that had arrived before the start was left."""
    hold_lease(session, lease)
    given = {"mailbox": lease.integration_id, "started": lease.started_at, "left": not caught_up}
    session.execute(_RELEASE, given)


def release_after_failure(
    session: Session, lease: Lease, kind: str, error: str, retry_in: float
) -> None:
    """Give the mailbox back after an error, not to be tried again for retry_in seconds."""
    hold_lease(session, lease)
    session.execute(
        sa.update(MailboxState)
        .where(MailboxState.integration_id == lease.integration_id)
        .values(
            lease_owner=None,
            lease_until=None,
            next_sync_at=database_now(retry_in),
            backlog=False,
            failures=MailboxState.failures + 1,
            error_kind=kind,
            error=error[:500],
            error_since=sa.func.coalesce(MailboxState.error_since, database_now()),
        )
    )


def spend_bytes(session: Session, lease: Lease, size: int, day: date, allowance: int) -> bool:
    """Enter `size` bytes into the day's account; False when they would overdraw it.

    The first of a day are always given: one mail may be larger than the allowance.
    """
    hold_lease(session, lease)
    state = MailboxState
    spent = sa.case((state.traffic_day == day, state.traffic_bytes), else_=0)
    entered = session.execute(
        sa.update(state)
        .where(
            state.integration_id == lease.integration_id,
            sa.or_(spent == 0, spent + size <= allowance),
        )
        .values(traffic_day=day, traffic_bytes=spent + size)
        .returning(state.integration_id)
    )
    return entered.one_or_none() is not None


def record_audit(session: Session, lease: Lease, counts: Mapping[str, int]) -> None:
    hold_lease(session, lease)
    session.execute(
        sa.update(MailboxState)
        .where(MailboxState.integration_id == lease.integration_id)
        .values(audited_at=database_now(), audit=dict(counts))
    )
