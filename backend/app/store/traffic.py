"""What went out lately and what of it came back, as the sender's budgets and holds count it.

Only reads, across the outbox and the inbox. `sending_at` is there from the moment at which the body
may be out until it is known that it did not go; so it counts what was sent and what is uncertain.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.mail.message import MailKind
from backend.app.models import InboxIntegration, InboxMessage, OutboxMail, OutboxState
from backend.app.store.clients import lock_client
from backend.app.store.outbox import UNSETTLED
from backend.app.store.records import Bounces, Spent


def hold_budgets(session: Session, integration_id: int, client_id: int) -> None:
    """Hold the mailbox's and the client's rows until the commit, after whoever holds them now.

    Whoever counts and then claims holds them, so that two runs cannot both find room for one.
    """
    session.execute(
        sa.select(InboxIntegration.id)
        .where(InboxIntegration.id == integration_id)
        .with_for_update(key_share=True)
    ).scalar_one()
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
) -> Spent:
    """weeks_began: from when on the usual number is counted, up to the beginning of today."""
    o = OutboxMail
    today = o.sending_at >= day_began
    before = (o.sending_at >= weeks_began, o.sending_at < day_began)
    under_way = sa.and_(UNSETTLED, o.state == OutboxState.CLAIMED.value)
    return Spent(
        client_mail_at=session.scalar(
            sa.select(sa.func.max(o.sending_at)).where(o.client_id == client_id)
        ),
        client_waits=_count(session, under_way, o.client_id == client_id) > 0,
        mailbox_today=_count(session, today, o.integration_id == integration_id)
        + _count(session, under_way, o.integration_id == integration_id),
        company_today=_count(session, today, o.company_id == company_id),
        company_before=_count(session, *before, o.company_id == company_id),
        bounced_today=_count_bounces(session, company_id, day_ago),
    )


def _count(session: Session, *conditions: sa.ColumnElement[bool]) -> int:
    query = sa.select(sa.func.count()).select_from(OutboxMail).where(*conditions)
    return session.execute(query).scalar_one()


def _count_bounces(session: Session, company_id: int, since: datetime) -> int:
    """Of our own reminders: anybody can forge bounces of mail that we never sent."""
    m, o = InboxMessage, OutboxMail
    ours = sa.exists().where(o.message_id == m.about_external_id, o.company_id == company_id)
    return session.execute(
        sa.select(sa.func.count(sa.distinct(m.about_external_id))).where(
            m.company_id == company_id,
            m.kind == MailKind.BOUNCE.value,
            m.bounce_hard.is_(True),
            m.arrived_at >= since,
            ours,
        )
    ).scalar_one()


def load_bounces(
    session: Session, company_id: int, client_id: int, address: str, since: datetime
) -> Bounces:
    """What came back of our reminders to this address of the client; passing ones since `since`."""
    o, m = OutboxMail, InboxMessage
    ours = sa.select(o.message_id).where(o.client_id == client_id, o.recipient == address)
    # Bounces and complaints alone are about another mail.
    came_back = sa.select(
        sa.func.max(sa.case((m.bounce_hard.is_(True), m.arrived_at))),
        sa.func.count(sa.distinct(sa.case((_passing(since), m.about_external_id)))),
        sa.func.max(sa.case((_passing(since), m.arrived_at))),
        sa.func.max(sa.case((m.kind == MailKind.COMPLAINT.value, m.arrived_at))),
    ).where(m.company_id == company_id, m.about_external_id.in_(ours))
    return Bounces(*session.execute(came_back).one())


def _passing(since: datetime) -> sa.ColumnElement[bool]:
    m = InboxMessage
    return sa.and_(m.bounce_hard.is_(False), m.arrived_at >= since)
