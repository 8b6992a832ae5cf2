"""The message ledger and the quarantine: what became of every UID (I1)."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.db import database_now
from backend.app.models import LedgerEntry, LedgerState, QuarantinedMail
from backend.app.store.records import Place, Quarantined
from backend.app.store.tables import table_of
from backend.app.store.upsert import insert_unless_there

_E = table_of(LedgerEntry).c
_Q = table_of(QuarantinedMail).c
_HOLDS = (
    sa.select(_E.uid)
    .where(
        _E.message_id == sa.bindparam("message_id"),
        _E.integration_id == sa.bindparam("integration_id"),
        _E.folder == sa.bindparam("folder"),
        _E.uidvalidity == sa.bindparam("uidvalidity"),
        _E.uid != sa.bindparam("uid"),
    )
    .limit(1)
)

_DUE = (
    sa.select(
        *(_Q.id, _Q.integration_id, _Q.folder, _Q.uidvalidity, _Q.uid),
        *(_Q.raw, _Q.arrived_at, _Q.attempts, _Q.error),
    )
    .where(_Q.integration_id == sa.bindparam("mailbox"), _Q.next_attempt_at <= database_now())
    .order_by(_Q.next_attempt_at, _Q.id)
    .limit(sa.bindparam("most", type_=sa.Integer()))
)
_DUE_WITH_BODY = _DUE.where(sa.func.length(_Q.raw) > 0)
_DUE_WITHOUT_BODY = _DUE.where(sa.func.length(_Q.raw) == 0)

# A mail that could not be handled is tried again after these pauses, then waits for a person.
QUARANTINE_PAUSES_SECONDS = (600, 6 * 3600, 24 * 3600)


# The beginning of a reason; the server may still have the mail, which nobody wants here.
DROPPED = "dropped by hand"
ERASED = f"{DROPPED}: client erased"


def record(
    session: Session,
    place: Place,
    state: LedgerState,
    *,
    message_id: int | None = None,
    reason: str | None = None,
) -> None:
    values = {
        "state": state.value,
        "message_id": message_id,
        "reason": reason and reason[:200],
    }
    if insert_unless_there(session, LedgerEntry, {**place.values(), **values}) is None:
        # It was gone from the server, and is there again.
        session.execute(
            sa.update(LedgerEntry)
            .where(*_at(place), LedgerEntry.state == LedgerState.IGNORED.value)
            .values(**values)
        )


def _at(place: Place) -> list[sa.ColumnElement[bool]]:
    return [getattr(LedgerEntry, name) == value for name, value in place.values().items()]


def states(session: Session, folder: Place, first: int, last: int) -> dict[int, LedgerState]:
    """What became of the UIDs from first to last, both included, of the folder of this place.

    One that was gone from the server is as good as never met; one that a person dropped is not.
    """
    e = LedgerEntry
    rows = session.execute(
        sa.select(e.uid, e.state).where(
            e.integration_id == folder.integration_id,
            e.folder == folder.folder,
            e.uidvalidity == folder.uidvalidity,
            e.uid.between(first, last),
            sa.or_(
                e.state != LedgerState.IGNORED.value,
                e.reason.startswith(DROPPED, autoescape=True),
            ),
        )
    ).all()
    return {uid: LedgerState(state) for uid, state in rows}


def known_uids(session: Session, folder: Place, first: int, last: int) -> set[int]:
    """Which of these UIDs need not be fetched."""
    return set(states(session, folder, first, last))


def holds(session: Session, place: Place, message_id: int) -> bool:
    """Whether a mail of the same folder, at another UID, is that message."""
    return session.scalar(_HOLDS, {**place.values(), "message_id": message_id}) is not None


def held_messages(session: Session, folder: Place, message_ids: Collection[int]) -> set[int]:
    """Which of these messages were met in the folder of this place, at whatever UID."""
    e = LedgerEntry
    found = session.scalars(
        sa.select(e.message_id).where(
            e.message_id.in_(message_ids),
            e.integration_id == folder.integration_id,
            e.folder == folder.folder,
            e.uidvalidity == folder.uidvalidity,
        )
    )
    return {message_id for message_id in found if message_id is not None}


def has_entries(session: Session, integration_id: int) -> bool:
    """Whether anything was ever read from this mailbox."""
    return (
        session.scalar(
            sa.select(LedgerEntry.uid).where(LedgerEntry.integration_id == integration_id).limit(1)
        )
        is not None
    )


def quarantine(
    session: Session,
    place: Place,
    raw: bytes,
    *,
    sender_key: str | None,
    arrived_at: datetime,
    error: str,
) -> None:
    record(session, place, LedgerState.QUARANTINED, reason=error)
    insert_unless_there(
        session,
        QuarantinedMail,
        {
            **place.values(),
            "sender_key": sender_key and sender_key[:320],
            "raw": raw,
            "arrived_at": arrived_at,
            "error": error[:500],
        },
        from_now={"next_attempt_at": QUARANTINE_PAUSES_SECONDS[0]},
    )


def next_quarantined(session: Session, integration_id: int) -> Quarantined | None:
    """The mail whose pause is over for longest; one at a time, since it may be large."""
    row = session.execute(_DUE_WITH_BODY, {"mailbox": integration_id, "most": 1}).one_or_none()
    return _quarantined(*row) if row else None


def due_without_body(session: Session, integration_id: int, limit: int = 20) -> list[Quarantined]:
    """Mails whose bodies the server did not give, and that it should be asked for again."""
    rows = session.execute(_DUE_WITHOUT_BODY, {"mailbox": integration_id, "most": limit}).all()
    return [_quarantined(*row) for row in rows]


def _quarantined(quarantine_id: int, *row: Any) -> Quarantined:
    return Quarantined(quarantine_id, Place(*row[:4]), *row[4:])


def keep_body(session: Session, quarantined: Quarantined, raw: bytes, arrived_at: datetime) -> None:
    """The server gave the body after all: it can be handled now."""
    session.execute(
        sa.update(QuarantinedMail)
        .where(QuarantinedMail.id == quarantined.id)
        .values(raw=raw, arrived_at=arrived_at, next_attempt_at=database_now())
    )


def leave_quarantine(
    session: Session,
    quarantined: Quarantined,
    state: LedgerState,
    message_id: int | None,
    reason: str = "after quarantine",
) -> None:
    """The mail could be handled after all."""
    session.execute(sa.delete(QuarantinedMail).where(QuarantinedMail.id == quarantined.id))
    session.execute(
        sa.update(LedgerEntry)
        .where(*_at(quarantined.place))
        .values(state=state.value, message_id=message_id, reason=reason)
    )


def postpone_quarantined(
    session: Session, quarantined: Quarantined, error: str, *, our_fault: bool
) -> None:
    """Still not: later, or only by hand once the pauses are used up.

    our_fault: the mail is not to blame (a full disk), so the pauses are not used up.
    """
    attempts = quarantined.attempts + (0 if our_fault else 1)
    again = attempts <= len(QUARANTINE_PAUSES_SECONDS)
    pause = QUARANTINE_PAUSES_SECONDS[attempts - 1] if again else 0
    session.execute(
        sa.update(QuarantinedMail)
        .where(QuarantinedMail.id == quarantined.id)
        .values(
            attempts=attempts,
            error=error[:500],
            next_attempt_at=database_now(pause) if again else None,
        )
    )


def retry_quarantined(session: Session, quarantine_id: int) -> bool:
    """Let the next visit try it; False when it is not in quarantine any more."""
    due = session.execute(
        sa.update(QuarantinedMail)
        .where(QuarantinedMail.id == quarantine_id)
        .values(next_attempt_at=database_now())
        .returning(QuarantinedMail.id)
    )
    return due.one_or_none() is not None


def drop_quarantined(session: Session, quarantine_id: int, by: str) -> bool:
    """Keep its row in the ledger and nothing else; False when it is not in quarantine any more."""
    q = QuarantinedMail
    dropped = session.execute(
        sa.delete(q)
        .where(q.id == quarantine_id)
        .returning(q.integration_id, q.folder, q.uidvalidity, q.uid)
    ).one_or_none()
    if dropped is None:
        return False
    session.execute(
        sa.update(LedgerEntry)
        .where(*_at(Place(*dropped)))
        .values(state=LedgerState.IGNORED.value, reason=f"{DROPPED}: {by}"[:200])
    )
    return True
