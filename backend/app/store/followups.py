"""Follow-ups and their history, as the sender reads and changes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.channel import Channel
from backend.app.errors import ClaimLost
from backend.app.mail.message import address_key
from backend.app.models import (
    AutoState,
    Client,
    Followup,
    FollowupHistory,
    HistoryStatus,
    InboxIntegration,
)
from backend.app.store.records import Due, DueFollowup
from backend.app.store.tables import table_of

# Built once, see tables.py: each reminder asks several times.
_FOLLOWUPS = table_of(Followup)
_F = _FOLLOWUPS.c
_CLIENT = table_of(Client).c
_I = table_of(InboxIntegration).c
_OF_CLIENT = {
    "client_name": _CLIENT.name,
    "client_email": _CLIENT.email,
    "client_key": _CLIENT.email_key,
    "client_phone": _CLIENT.phone,
    "client_language": _CLIENT.language,
    "do_not_contact": _CLIENT.do_not_contact,
    "client_is_professional": _CLIENT.is_professional,
}
_NAMES = tuple(name for name in DueFollowup.__dataclass_fields__ if name != "facts")
# What a DueFollowup is made of, from followups and clients.
FOLLOWUP_COLUMNS = tuple(
    _OF_CLIENT[name].label(name) if name in _OF_CLIENT else _F[name] for name in _NAMES
)
_LOAD = (
    sa.select(*FOLLOWUP_COLUMNS)
    .join_from(_FOLLOWUPS, table_of(Client), _CLIENT.id == _F.client_id)
    .where(_F.id == sa.bindparam("followup_id"))
)
_LOOK_AGAIN = (
    sa.update(_FOLLOWUPS)
    .where(
        _FOLLOWUPS.c.id == sa.bindparam("followup"),
        _FOLLOWUPS.c.auto_state == AutoState.ACTIVE.value,
    )
    .values(next_action_at=sa.bindparam("at"), auto_reason=sa.bindparam("reason"))
)
_LOOK_AGAIN_FOR_CLIENT = _LOOK_AGAIN.values(client_gap_until=sa.bindparam("at"))
_RECORD_HISTORY = sa.insert(table_of(FollowupHistory))
_THIS = _F.id == sa.bindparam("followup_id")
_WAIT_FOR_LOCK = sa.select(_F.auto_state, _F.client_id).where(_THIS).with_for_update(key_share=True)
_LOCK_ACTIVE = (
    sa.select(_F.id)
    .where(_THIS, _F.auto_state == AutoState.ACTIVE.value, _F.auto_enabled)
    .with_for_update(key_share=True, skip_locked=True)
)
# The mailbox that a follow-up's reminder goes out from: the one wanted, else the company's first.
SENDING_MAILBOX = (
    sa.select(_I.id)
    .where(
        _I.company_id == _F.company_id,
        sa.or_(_F.integration_id.is_(None), _I.id == _F.integration_id),
        _I.is_active,
        _I.smtp_host.is_not(None),
    )
    .order_by(_I.id)
    .limit(1)
    .correlate(_FOLLOWUPS)
)
_FIND_MAILBOX_OF = sa.select(SENDING_MAILBOX.scalar_subquery()).where(_THIS).select_from(_FOLLOWUPS)
_SENT_AT = sa.bindparam("sent_at", type_=_F.last_step_at.type)
_SENT_STEP = sa.bindparam("step", type_=_F.steps_sent.type)
_RECORD_STEP_SENT = (
    sa.update(_FOLLOWUPS)
    .where(_THIS)
    .values(
        # A step that was taken for uncertain may be settled after a later one.
        steps_sent=sa.case((_F.steps_sent < _SENT_STEP, _SENT_STEP), else_=_F.steps_sent),
        last_step_at=sa.case(
            (sa.or_(_F.last_step_at.is_(None), _F.last_step_at < _SENT_AT), _SENT_AT),
            else_=_F.last_step_at,
        ),
        conversation_id=sa.func.coalesce(_F.conversation_id, sa.bindparam("conversation")),
        next_action_at=sa.bindparam("look_at"),
        # Who has stopped it while the mail was on its way has left a reason.
        auto_reason=sa.case(
            (_F.auto_state == AutoState.ACTIVE.value, sa.null()), else_=_F.auto_reason
        ),
    )
)

# Word for word the condition of ix_followups_due: SQLite does not take `auto_enabled = 1` for it,
# and would read the whole table.
LOOKED_AT = sa.text("followups.auto_state = 'active' AND followups.auto_enabled")


@dataclass(frozen=True, slots=True)
class Held:
    """A follow-up whose row is held."""

    auto_state: AutoState
    client_id: int


def list_due(
    session: Session,
    now: datetime,
    limit: int,
    *,
    company_id: int | None,
    followup_id: int | None,
) -> list[Due]:
    """Active follow-ups whose time to be looked at has come: the longest-waiting of each company,
    then the second of each, so that one with thousands keeps nobody else's back.

    followup_id: this one, whenever its time is.
    """
    query = sa.select(Followup.id, Followup.company_id).where(LOOKED_AT)
    if followup_id is not None:
        query = query.where(Followup.id == followup_id)
    else:
        query = query.where(Followup.next_action_at <= now)
    if company_id is not None:
        query = query.where(Followup.company_id == company_id)
    waiting = (Followup.next_action_at, Followup.id)
    turn = sa.func.row_number().over(partition_by=Followup.company_id, order_by=waiting)
    in_order = query.order_by(turn, *waiting).limit(limit)
    return [Due(*row) for row in session.execute(in_order)]


def lock_active(session: Session, followup_id: int) -> bool:
    """Hold an active follow-up's row until the commit; False when another worker has it."""
    return session.scalar(_LOCK_ACTIVE, {"followup_id": followup_id}) is not None


def list_beside(session: Session, followup: DueFollowup, now: datetime, most: int) -> list[int]:
    """The other follow-ups of its type and client whose time to be looked at has come, by id."""
    query = _beside(followup, now).order_by(Followup.id).limit(most)
    return list(session.scalars(query))


def lock_beside(
    session: Session, followup: DueFollowup, now: datetime, most: int
) -> list[int] | None:
    """Hold what list_beside finds until the commit. The caller holds the follow-up itself.

    None when another worker looks at one with a lower id: who holds the lowest goes on, and waits
    for those above it; whoever holds a higher one gives way. So nobody waits for one who waits for
    him, and of several workers one has them all.
    """
    found = list_beside(session, followup, now, most)
    if not found:
        return []
    below = [each for each in found if each < followup.id]
    above = [each for each in found if each > followup.id]
    query = _beside(followup, now).order_by(Followup.id)
    free = query.where(Followup.id.in_(below)).with_for_update(key_share=True, skip_locked=True)
    held = list(session.scalars(free))
    if len(held) < len(below):
        return None
    waited_for = query.where(Followup.id.in_(above)).with_for_update(key_share=True)
    return held + list(session.scalars(waited_for))


def _beside(followup: DueFollowup, now: datetime) -> sa.Select[int]:
    return sa.select(Followup.id).where(
        LOOKED_AT,
        Followup.company_id == followup.company_id,
        Followup.client_id == followup.client_id,
        Followup.type == followup.type,
        Followup.id != followup.id,
        Followup.next_action_at <= now,
    )


def wait_for_lock(session: Session, followup_id: int) -> Held:
    """Hold a follow-up's row until the commit, after whoever holds it now.

    Raises ClaimLost when it is gone: its client was erased.
    """
    row = session.execute(_WAIT_FOR_LOCK, {"followup_id": followup_id}).one_or_none()
    if row is None:
        raise ClaimLost(f"follow-up {followup_id} is gone")
    return Held(AutoState(row.auto_state), row.client_id)


def load_followup(session: Session, followup_id: int) -> DueFollowup:
    return due_followup(session.execute(_LOAD, {"followup_id": followup_id}).one())


def due_followup(row: Sequence[Any]) -> DueFollowup:
    """Of FOLLOWUP_COLUMNS. client_key is made of the address that is written to, from which an
    answer comes.

    The host application makes and edits clients, and may leave `clients.email_key` empty or as it
    was before the address changed.
    """
    values = dict(zip(_NAMES, row, strict=True))
    email = values["client_email"]
    if email:
        values["client_key"] = address_key(email)
    return DueFollowup(**values)


def find_mailbox_of(session: Session, followup_id: int) -> int | None:
    """The mailbox that a follow-up's reminder goes out from; None when it has none that can."""
    return session.scalar(_FIND_MAILBOX_OF, {"followup_id": followup_id})


def look_again(
    session: Session,
    followup_id: int,
    at: datetime,
    reason: str | None,
    *,
    for_client: bool = False,
) -> None:
    """Leave an active follow-up alone until `at` (aware UTC).

    for_client: its turn has come, but for other reminders to its client.
    """
    given = {"followup": followup_id, "at": at, "reason": reason and reason[:200]}
    session.execute(_LOOK_AGAIN_FOR_CLIENT if for_client else _LOOK_AGAIN, given)


def release(session: Session, followup_id: int, at: datetime | None) -> None:
    """Set a held follow-up going again, to be looked at `at`, or when it was to be before."""
    values: dict[str, object] = {"auto_state": AutoState.ACTIVE.value, "auto_reason": None}
    if at is not None:
        values["next_action_at"] = at
    session.execute(
        sa.update(Followup)
        .where(Followup.id == followup_id, Followup.auto_state == AutoState.HELD.value)
        .values(**values)
    )


def record_step_sent(
    session: Session,
    followup_id: int,
    *,
    step: int,
    at: datetime,
    conversation_id: int,
    next_action_at: datetime,
) -> None:
    given = {
        "followup_id": followup_id,
        "step": step,
        "sent_at": at,
        "conversation": conversation_id,
        "look_at": next_action_at,
    }
    session.execute(_RECORD_STEP_SENT, given)


def end_automation(
    session: Session,
    followup: DueFollowup,
    state: AutoState,
    reason: str,
    *,
    at: datetime,
    status: str | None = None,
) -> None:
    """Stop, hold or complete an active follow-up, with a line in its history.

    One that has ended, or is held, stays so: what was said first is not said over. status: the new
    business status, None to leave the host application's word alone.
    """
    values: dict[str, object] = {"auto_state": state.value, "auto_reason": reason[:200]}
    if status is not None:
        values["status"] = status
    ended = session.execute(
        sa.update(Followup)
        .where(Followup.id == followup.id, Followup.auto_state == AutoState.ACTIVE.value)
        .values(**values)
        .returning(Followup.id)
    ).one_or_none()
    if ended is None:
        return
    record_history(
        session,
        followup,
        HistoryStatus(state.value),
        step=followup.steps_sent,
        at=at,
        reason=reason,
    )


def record_history(
    session: Session,
    followup: DueFollowup,
    status: HistoryStatus,
    *,
    step: int,
    at: datetime,
    reason: str | None = None,
    message: str = "",
    conversation_id: int | None = None,
    by: str = "",
    channel: Channel = Channel.EMAIL,
) -> None:
    given: dict[str, object] = {
        "company_id": followup.company_id,
        "followup_id": followup.id,
        "conversation_id": conversation_id,
        "step": step,
        "message": message,
        "message_type": channel.value,
        "status": status.value,
        "reason": reason and reason[:200],
        "sent_by_name": by[:200],
        "sent_at": at,
    }
    # Left out where there are none: a JSON column takes None for the JSON word.
    facts = {} if followup.facts is None else {"facts": followup.facts}
    session.execute(_RECORD_HISTORY, given | facts)
