"""Checkpoints: how far each folder on a server is read, upwards and downwards.

1 .. history_uid                 still to be looked at, the newest first
history_uid + 1 .. last_uid      in the ledger, or left on the server as older than the horizon
last_uid + 1 ..                  new mail, read in the order of arrival
"""

from __future__ import annotations

from datetime import date

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.models import FolderCheckpoint
from backend.app.store.leases import hold_lease
from backend.app.store.records import Checkpoint, Lease
from backend.app.store.tables import table_of
from backend.app.store.upsert import insert_unless_there

_CHECKPOINTS = table_of(FolderCheckpoint)
_ADVANCE = (
    sa.update(_CHECKPOINTS)
    .where(
        _CHECKPOINTS.c.id == sa.bindparam("checkpoint"),
        _CHECKPOINTS.c.uidvalidity == sa.bindparam("numbering"),
        _CHECKPOINTS.c.last_uid < sa.bindparam("read"),
    )
    .values(last_uid=sa.bindparam("read"))
    .returning(_CHECKPOINTS.c.id)
)
COLUMNS = tuple(_CHECKPOINTS.c[name] for name in Checkpoint.__dataclass_fields__)
_LOAD = sa.select(*COLUMNS).where(_CHECKPOINTS.c.integration_id == sa.bindparam("mailbox"))


def load_checkpoints(session: Session, integration_id: int) -> dict[str, Checkpoint]:
    """By folder name."""
    rows = session.execute(_LOAD, {"mailbox": integration_id}).all()
    return {row.name: Checkpoint(*row) for row in rows}


def start_checkpoint(
    session: Session,
    lease: Lease,
    name: str,
    uidvalidity: int,
    recognise_until: int,
    *,
    top: int = 0,
    since: date | None = None,
    newest_first: bool = False,
) -> Checkpoint:
    """Begin a folder that is new, or that the server has renumbered.

    UIDs up to `top` are there already, and are read as far as they arrived from the day `since`
    on: as history from the newest down, or in ascending order where many of them may be known.
    """
    hold_lease(session, lease)
    insert_unless_there(
        session,
        FolderCheckpoint,
        {"integration_id": lease.integration_id, "name": name, "uidvalidity": uidvalidity},
    )
    c = FolderCheckpoint
    begin = top if newest_first else 0
    further = sa.and_(c.uidvalidity == uidvalidity, c.last_uid > begin)
    row = session.execute(
        sa.update(c)
        .where(c.integration_id == lease.integration_id, c.name == name)
        .values(
            uidvalidity=uidvalidity,
            last_uid=sa.case((further, c.last_uid), else_=begin),
            highestmodseq=None,
            recognise_until=recognise_until,
            history_uid=begin,
            history_top=top,
            history_since=since,
            history_left=0,
            audit_uid=0,
            renumberings=sa.case((c.uidvalidity == uidvalidity, 0), else_=c.renumberings + 1),
        )
        .returning(*COLUMNS)
    ).one()
    return Checkpoint(*row)


def keeps_its_numbers(session: Session, lease: Lease, checkpoint: Checkpoint) -> None:
    """The folder has the UIDVALIDITY that it had at the last visit."""
    hold_lease(session, lease)
    session.execute(sa.update(FolderCheckpoint).where(*_same(checkpoint)).values(renumberings=0))


def record_audit(
    session: Session, lease: Lease, checkpoint: Checkpoint, next_uid: int, modseq: int | None
) -> None:
    """Where the next audit goes on below, and the state in which all was found to be here."""
    hold_lease(session, lease)
    session.execute(
        sa.update(FolderCheckpoint)
        .where(*_same(checkpoint))
        .values(audit_uid=next_uid, highestmodseq=modseq)
    )


def advance_checkpoint(session: Session, checkpoint: Checkpoint, uid: int) -> bool:
    """Move the upper end up to uid; False when it was there already."""
    given = {"checkpoint": checkpoint.id, "numbering": checkpoint.uidvalidity, "read": uid}
    return session.execute(_ADVANCE, given).one_or_none() is not None


def advance_past(
    session: Session, lease: Lease, checkpoint: Checkpoint, uid: int, left: int
) -> None:
    """Move on beyond UIDs that do not exist any more, and `left` beyond the horizon."""
    hold_lease(session, lease)
    advance_checkpoint(session, checkpoint, uid)
    if left:
        session.execute(
            sa.update(FolderCheckpoint)
            .where(*_same(checkpoint))
            .values(history_left=FolderCheckpoint.history_left + left)
        )


def retreat(session: Session, lease: Lease, checkpoint: Checkpoint, uid: int, left: int) -> None:
    """History is read down to above uid; `left` mails of this stretch lie beyond the horizon."""
    hold_lease(session, lease)
    session.execute(
        sa.update(FolderCheckpoint)
        .where(*_same(checkpoint), FolderCheckpoint.history_uid > uid)
        .values(history_uid=uid, history_left=FolderCheckpoint.history_left + left)
    )


def reopen_history(
    session: Session, lease: Lease, checkpoint: Checkpoint, since: date | None
) -> Checkpoint:
    """The horizon was moved back: look at the history again, for what was left before."""
    hold_lease(session, lease)
    row = session.execute(
        sa.update(FolderCheckpoint)
        .where(*_same(checkpoint))
        .values(history_uid=FolderCheckpoint.history_top, history_since=since, history_left=0)
        .returning(*COLUMNS)
    ).one()
    return Checkpoint(*row)


def shorten_history(
    session: Session, lease: Lease, checkpoint: Checkpoint, since: date | None
) -> Checkpoint:
    """The horizon was moved forward before the earlier one was reached."""
    hold_lease(session, lease)
    row = session.execute(
        sa.update(FolderCheckpoint)
        .where(*_same(checkpoint))
        .values(history_since=since)
        .returning(*COLUMNS)
    ).one()
    return Checkpoint(*row)


def _same(checkpoint: Checkpoint) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        FolderCheckpoint.id == checkpoint.id,
        FolderCheckpoint.uidvalidity == checkpoint.uidvalidity,
    )
