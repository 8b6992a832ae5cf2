"""Copies of reminders that belong into a Sent folder. Times are the database's clock."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.db import database_now
from backend.app.models import CopyState, OutboxMail, OutboxState, SentCopy
from backend.app.store.leases import hold_lease
from backend.app.store.records import Lease, OutboxClaim, WantedCopy
from backend.app.store.tables import table_of
from backend.app.store.upsert import insert_unless_there

_S = table_of(SentCopy).c
_O = table_of(OutboxMail).c

# Providers that file a copy themselves do so at once; one of ours beside it would be a second.
PATIENCE_SECONDS = 180
# After each attempt that failed; after the last one it is given up.
PAUSES_SECONDS = (600, 3600, 6 * 3600, 24 * 3600)
MOST_IN_A_VISIT = 20
_WANTED = (
    sa.select(
        _S.outbox_id,
        _S.attempts,
        _O.message_id,
        _O.raw,
        sa.func.coalesce(_O.sending_at, _O.sent_at).label("sent_at"),
    )
    .join_from(table_of(SentCopy), table_of(OutboxMail), _O.id == _S.outbox_id)
    .where(
        _S.integration_id == sa.bindparam("mailbox"),
        _S.state == CopyState.WANTED.value,
        _S.next_attempt_at <= database_now(),
        _O.state == OutboxState.SENT.value,
    )
    .order_by(_S.next_attempt_at, _S.outbox_id)
    .limit(MOST_IN_A_VISIT)
)


def want(session: Session, claimed: OutboxClaim) -> None:
    """Ask for a copy of a reminder that has just been settled as sent."""
    insert_unless_there(
        session,
        SentCopy,
        {"outbox_id": claimed.id, "integration_id": claimed.integration_id},
        from_now={"next_attempt_at": PATIENCE_SECONDS},
    )


def list_wanted(session: Session, integration_id: int) -> list[WantedCopy]:
    """The copies whose time has come, oldest first, of steps that are settled as sent."""
    rows = session.execute(_WANTED, {"mailbox": integration_id}).all()
    return [WantedCopy(**row._mapping) for row in rows]


def settle(session: Session, lease: Lease, copy: WantedCopy, state: CopyState) -> None:
    """Raises LeaseLost."""
    hold_lease(session, lease)
    _change(session, copy, state=state.value, error=None)


def postpone(session: Session, lease: Lease, copy: WantedCopy, error: str) -> CopyState:
    """It could not be filed: later again, a few times. Raises LeaseLost."""
    hold_lease(session, lease)
    last = copy.attempts >= len(PAUSES_SECONDS)
    state = CopyState.GIVEN_UP if last else CopyState.WANTED
    pause = PAUSES_SECONDS[min(copy.attempts, len(PAUSES_SECONDS) - 1)]
    _change(
        session, copy, state=state.value, error=error[:500], next_attempt_at=database_now(pause)
    )
    return state


def want_again(session: Session, integration_id: int) -> None:
    """Given up -> wanted, when somebody has put right what kept them out."""
    session.execute(
        sa.update(SentCopy)
        .where(
            SentCopy.integration_id == integration_id,
            SentCopy.state == CopyState.GIVEN_UP.value,
        )
        .values(state=CopyState.WANTED.value, attempts=0, next_attempt_at=database_now())
    )


def _change(session: Session, copy: WantedCopy, **values: object) -> None:
    session.execute(
        sa.update(SentCopy)
        .where(SentCopy.outbox_id == copy.outbox_id, SentCopy.state == CopyState.WANTED.value)
        .values(attempts=SentCopy.attempts + 1, **values)
    )
