"""What a reminder rests on, read across the tables: each in one statement, one answer to wait for.

Only reads. Built once, see tables.py.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.channel import Channel
from backend.app.models import (
    Client,
    Company,
    CompanySettings,
    Followup,
    InboxIntegration,
    Installation,
    OutboxMail,
    OutboxState,
    QuarantinedMail,
)
from backend.app.store import followups, mailboxes, messages, tenants, traffic
from backend.app.store.records import Bounces, CompanyProfile, DueFollowup
from backend.app.store.tables import table_of

_F = table_of(Followup).c
_I = table_of(InboxIntegration).c
_OUTBOX = table_of(OutboxMail)
_O = _OUTBOX.c
_Q = table_of(QuarantinedMail).c
_INSTALLATION = table_of(Installation)
_FOLLOWUP_WIDTH = len(followups.FOLLOWUP_COLUMNS)
_CASE = (
    sa.select(
        *followups.FOLLOWUP_COLUMNS,
        *tenants.PROFILE_COLUMNS,
        followups.SENDING_MAILBOX.scalar_subquery(),
    )
    .select_from(
        table_of(Followup)
        .join(table_of(Client), table_of(Client).c.id == _F.client_id)
        .join(table_of(Company), table_of(Company).c.id == _F.company_id)
        .outerjoin(table_of(CompanySettings), tenants.HAS_SETTINGS)
    )
    .where(_F.id == sa.bindparam("followup_id"))
)
# Whether a mail of this sender lies in the quarantine of one of the company's mailboxes.
IN_QUARANTINE = sa.exists().where(
    _I.id == _Q.integration_id,
    _I.company_id == sa.bindparam("company_id"),
    _Q.sender_key == sa.bindparam("client_key"),
)
_BESIDE_ITS_STEP = _INSTALLATION.outerjoin(
    _OUTBOX,
    sa.and_(_O.followup_id == sa.bindparam("followup"), _O.step == sa.bindparam("of_step")),
)
_IDENTITY = sa.select(_O.message_id, _INSTALLATION.c.secret).select_from(_BESIDE_ITS_STEP)
_CARRIER = _OUTBOX.alias()
_MESSAGE_IDS = (
    sa.select(sa.case((_O.carried_by.is_(None), _O.message_id), else_=_CARRIER.c.message_id))
    .select_from(_OUTBOX.outerjoin(_CARRIER, _CARRIER.c.id == _O.carried_by))
    .where(
        _O.followup_id == sa.bindparam("followup"),
        _O.state == OutboxState.SENT.value,
        _O.channel == Channel.EMAIL.value,
    )
    .order_by(_O.step)
)


@cache
def _heard(mailbox_number: int) -> Any:
    """The bounces are what it counts; all else beside them in the same answer.

    Built once for each number of mailboxes: a list of any length is written anew at each execution.
    """
    answered_at = sa.func.coalesce(
        messages.ANSWER_OF.correlate(None).scalar_subquery(),
        messages.ANSWER_IN.correlate(None).scalar_subquery(),
    )
    return traffic.BOUNCES.add_columns(
        answered_at.label("answered_at"),
        messages.RETURN.correlate(None).scalar_subquery().label("back_on"),
        mailboxes.fresh_at(mailbox_number).scalar_subquery().label("fresh_at"),
    )


@cache
def _gate(mailbox_number: int) -> Any:
    return sa.select(
        IN_QUARANTINE.label("in_quarantine"),
        mailboxes.history_since(mailbox_number).scalar_subquery().label("history_since"),
        _INSTALLATION.c.restored_at,
        _O.state,
        _O.next_attempt_at,
    ).select_from(_BESIDE_ITS_STEP)


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of a client, and of our reminders to it. fresh_at: of all mailboxes asked for,
    that which was read longest ago; None where one was never read whole, or none is given.
    """

    answered_at: datetime | None
    back_on: date | None
    bounces: Bounces
    fresh_at: datetime | None


@dataclass(frozen=True, slots=True)
class Gate:
    """What only a step that is to go out must pass.

    history_since: mail that arrived before this day (the server's calendar) was left on a server.
    restored_at: the database is a copy that was brought back then, and nobody ended it.
    state, next_attempt_at: of an outbox row of this very step; None where there is none.
    """

    in_quarantine: bool
    history_since: date | None
    restored_at: datetime | None
    state: str | None
    next_attempt_at: datetime | None


def load_case(session: Session, followup_id: int) -> tuple[DueFollowup, CompanyProfile, int | None]:
    """A follow-up with its client, its company, and the mailbox that would send; None for none."""
    row = session.execute(_CASE, {"followup_id": followup_id}).one()
    followup, company = row[:_FOLLOWUP_WIDTH], row[_FOLLOWUP_WIDTH:-1]
    return followups.due_followup(followup), tenants.profile(company), row[-1]


def load_heard(
    session: Session,
    followup: DueFollowup,
    mailbox_ids: Collection[int],
    *,
    begun: datetime,
    since: datetime,
    stored_since: datetime | None,
    soft_since: datetime,
) -> Heard:
    """begun, since, stored_since: see messages.ANSWER_OF. soft_since: of passing bounces.

    Without an address or a key of the client, nobody can have answered.
    """
    known = followup.client_key is not None
    given = {
        "company_id": followup.company_id,
        "client_key": followup.client_key,
        "conversation_id": followup.conversation_id if known else None,
        "earliest": min(begun, since),
        "since": since,
        "stored_since": stored_since or messages.BEGINNING,
        "client_id": followup.client_id,
        "address": followup.client_email,
        "soft_since": soft_since,
        **mailboxes.named(mailbox_ids),
    }
    row = session.execute(_heard(len(mailbox_ids)), given).one()
    *bounces, answered_at, back_on, fresh_at = row
    return Heard(answered_at, back_on, Bounces(*bounces), fresh_at)


def load_gate(
    session: Session, followup: DueFollowup, step: int, mailbox_ids: Collection[int]
) -> Gate:
    given = {
        "company_id": followup.company_id,
        "client_key": followup.client_key,
        "followup": followup.id,
        "of_step": step,
        **mailboxes.named(mailbox_ids),
    }
    return Gate(*session.execute(_gate(len(mailbox_ids)), given).one())


def load_identity(session: Session, followup_id: int, step: int) -> tuple[str | None, str]:
    """The Message-ID that a step has from an earlier attempt, and the installation's secret."""
    given = {"followup": followup_id, "of_step": step}
    message_id, secret = session.execute(_IDENTITY, given).one()
    return message_id, secret


def find_message_ids(session: Session, followup_id: int) -> list[str]:
    """The Message-IDs of the mails in which its steps went out, in their order."""
    return list(session.scalars(_MESSAGE_IDS, {"followup": followup_id}))
