"""What went out lately and what of it came back, as the sender's budgets and holds count it.

Only reads, across the outbox and the inbox. `sending_at` is there from the moment at which the body
may be out until it is known that it did not go; so it counts what was sent and what is uncertain.
A mail that carries the steps of several follow-ups is one mail: its own row alone is counted.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.mail.message import MailKind
from backend.app.models import InboxIntegration, InboxMessage, OutboxMail, OutboxState
from backend.app.store.clients import lock_client
from backend.app.store.records import Spent
from backend.app.store.tables import table_of
from backend.app.store.unsettled import UNSETTLED

# Built once, see tables.py. Each part of a statement is found by an index of its own; together they
# are one, so that a reminder waits for one answer.
_O = table_of(OutboxMail).c
_M = table_of(InboxMessage).c
_I = table_of(InboxIntegration).c
_HOLD_MAILBOX = (
    sa.select(_I.id).where(_I.id == sa.bindparam("mailbox")).with_for_update(key_share=True)
)
_TODAY = _O.sending_at >= sa.bindparam("day_began")
_BEFORE = sa.and_(
    _O.sending_at >= sa.bindparam("weeks_began"), _O.sending_at < sa.bindparam("day_began")
)
_OF_CLIENT = _O.client_id == sa.bindparam("client_id")
_OF_MAILBOX = _O.integration_id == sa.bindparam("mailbox")
_OF_COMPANY = _O.company_id == sa.bindparam("company_id")
_MAILS = _O.carried_by.is_(None)


def _count(
    counted: sa.ColumnElement[int], *conditions: sa.ColumnElement[bool] | sa.TextClause
) -> sa.ScalarSelect[int]:
    """Of mails, whatever the statement around it counts."""
    query = sa.select(counted).select_from(table_of(OutboxMail)).where(_MAILS, *conditions)
    return query.correlate(None).scalar_subquery()


def _under_way(which: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
    """`which` stands beside the condition: few are under way at all, and are found by that."""
    return _count(sa.func.count().filter(which), UNSETTLED, _O.state == OutboxState.CLAIMED.value)


# Of our own reminders: anybody can forge bounces of mail that we never sent.
_BOUNCED = sa.select(sa.func.count(sa.distinct(_M.about_external_id))).where(
    _M.company_id == sa.bindparam("company_id"),
    _M.kind == MailKind.BOUNCE.value,
    _M.bounce_hard.is_(True),
    _M.arrived_at >= sa.bindparam("day_ago"),
    sa.exists().where(_O.message_id == _M.about_external_id, _OF_COMPANY),
)
_COMPANY_TODAY = sa.func.count()
# The company's mails of today are what it counts; all else beside them in the same answer. The
# usual number, over weeks, is counted only where today's could be a surge.
_SPENT = (
    sa.select(
        _COMPANY_TODAY.label("company_today"),
        _COMPANY_TODAY.filter(_OF_MAILBOX).label("mailbox_today"),
        sa.case(
            (
                sa.bindparam("surge_minimum") <= _COMPANY_TODAY,
                _count(sa.func.count(), _BEFORE, _OF_COMPANY),
            ),
            else_=0,
        ).label("company_before"),
        _under_way(_OF_MAILBOX).label("mailbox_waits"),
        _under_way(_OF_CLIENT).label("client_waits"),
        sa.select(sa.func.max(_O.sending_at))
        .where(_OF_CLIENT)
        .correlate(None)
        .scalar_subquery()
        .label("client_mail_at"),
        _BOUNCED.correlate(None).scalar_subquery().label("bounced_today"),
    )
    .select_from(table_of(OutboxMail))
    .where(_OF_COMPANY, _TODAY, _MAILS)
)
_PASSING = sa.and_(_M.bounce_hard.is_(False), _M.arrived_at >= sa.bindparam("soft_since"))
# What came back of our reminders to this address of the client, in the order of Bounces. Bounces
# and complaints alone are about another mail.
BOUNCES = sa.select(
    sa.func.max(sa.case((_M.bounce_hard.is_(True), _M.arrived_at))).label("hard_at"),
    sa.func.count(sa.distinct(sa.case((_PASSING, _M.about_external_id)))).label("soft"),
    sa.func.max(sa.case((_PASSING, _M.arrived_at))).label("soft_at"),
    sa.func.max(sa.case((_M.kind == MailKind.COMPLAINT.value, _M.arrived_at))).label(
        "complained_at"
    ),
).where(
    _M.company_id == sa.bindparam("company_id"),
    _M.about_external_id.in_(
        sa.select(_O.message_id).where(_OF_CLIENT, _O.recipient == sa.bindparam("address"))
    ),
)


def hold_budgets(session: Session, integration_id: int, client_id: int) -> None:
    """Hold the mailbox's and the client's rows until the commit, after whoever holds them now.

    Whoever counts and then claims holds them, so that two runs cannot both find room for one.
    """
    session.execute(_HOLD_MAILBOX, {"mailbox": integration_id}).scalar_one()
    lock_client(session, client_id)


def load_spent(
    session: Session,
    *,
    company_id: int,
    integration_id: int,
    client_id: int,
    day_began: datetime,
    weeks_began: datetime,
    day_ago: datetime,
    surge_minimum: int,
) -> Spent:
    """weeks_began: from when on the usual number is counted, up to the beginning of today.

    surge_minimum: company_before is 0 where the company has sent fewer than these today.
    """
    given = {
        "company_id": company_id,
        "mailbox": integration_id,
        "client_id": client_id,
        "day_began": day_began,
        "weeks_began": weeks_began,
        "day_ago": day_ago,
        "surge_minimum": surge_minimum,
    }
    row = session.execute(_SPENT, given).one()
    return Spent(
        client_mail_at=row.client_mail_at,
        client_waits=row.client_waits > 0,
        mailbox_today=row.mailbox_today + row.mailbox_waits,
        company_today=row.company_today,
        company_before=row.company_before,
        bounced_today=row.bounced_today,
    )
