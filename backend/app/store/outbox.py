"""The outbox: one row for each reminder step on its way out.

Every change of state is a conditional UPDATE under the claim's token; a row count of none means
that another worker, or a person, was first: ClaimLost. Lease times are the database's clock.
The steps that a mail carries for other follow-ups change in the same statement as its own.

            planned --claim--> claimed --DATA accepted--> sending --2xx--> sent
               ^                  |                          |----4xx---> planned
               |                  |--4xx, no network         |----5xx---> failed
               |<-----------------'                          '--silence, crash--> uncertain
                                                 uncertain --proof--> sent
                                                 uncertain --a person's word--> sent | planned
                                                    failed --a person's word--> planned

Here is what a worker does with its claim. What becomes of a step whose worker ended, or whose fate
is unknown, stands in unsettled.py; that a person stops one, or lets a failed one go on, in
admin_followups.py.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.channel import Channel
from backend.app.db import database_now
from backend.app.errors import ClaimLost
from backend.app.models import OutboxMail, OutboxState
from backend.app.store.records import OutboxClaim, StepClaim
from backend.app.store.tables import table_of
from backend.app.store.upsert import insert_unless_there

_OUTBOX = table_of(OutboxMail)
_C = _OUTBOX.c
# States from which a step may be claimed (again): nothing of it has gone out.
CLAIMABLE = (OutboxState.PLANNED, OutboxState.CANCELLED)
# What a claim says of the mail, as it was rendered for it.
_RENDERED = (
    "company_id",
    "integration_id",
    "conversation_id",
    "message_id",
    "recipient",
    "content",
    "raw",
)


def _ours(steps: int) -> sa.ColumnElement[bool]:
    """The rows of a claim, its own first and those that it carries, each under its token."""
    given: list[tuple[Any, Any]] = [
        (sa.bindparam(f"step{n}_id"), sa.bindparam(f"step{n}_token")) for n in range(steps)
    ]
    return sa.or_(*(sa.and_(_C.id == id_, _C.token == token) for id_, token in given))


@cache
def _begin_sending(steps: int) -> Any:
    """Built once for each number of steps in a mail, as a mail's settlement is."""
    return (
        sa.update(_OUTBOX)
        .where(
            _ours(steps),
            _C.state == OutboxState.CLAIMED.value,
            sa.or_(_C.id != sa.bindparam("step0_id"), _C.lease_until > database_now()),
        )
        .values(
            state=OutboxState.SENDING.value,
            sending_at=database_now(),
            lease_until=database_now(sa.bindparam("seconds", type_=sa.Float())),
        )
        .returning(_C.id)
    )


@cache
def _settle_sent(steps: int) -> Any:
    return (
        sa.update(_OUTBOX)
        .where(
            _ours(steps),
            _C.state.in_([OutboxState.SENDING.value, OutboxState.UNCERTAIN.value]),
        )
        .values(
            state=OutboxState.SENT.value,
            owner=None,
            lease_until=None,
            needs_person=False,
            sent_at=database_now(),
            error=sa.bindparam("words"),
            provider_id=sa.bindparam("named"),
        )
        .returning(_C.id, sa.func.coalesce(_C.sending_at, _C.sent_at).label("went_out_at"))
    )


class _Taken(NamedTuple):
    """A row that was claimed."""

    id: int
    token: int
    attempts: int


def find_step(session: Session, followup_id: int, step: int) -> OutboxMail | None:
    return session.scalar(
        sa.select(OutboxMail).where(OutboxMail.followup_id == followup_id, OutboxMail.step == step)
    )


def has_open_step(session: Session, followup_id: int, steps: Sequence[int] | None = None) -> bool:
    """Whether one of these steps, or of all, is on its way or uncertain."""
    which = () if steps is None else (OutboxMail.step.in_(steps),)
    states = (OutboxState.CLAIMED, OutboxState.SENDING, OutboxState.UNCERTAIN)
    found = session.scalar(
        sa.select(OutboxMail.id)
        .where(
            OutboxMail.followup_id == followup_id,
            OutboxMail.state.in_([state.value for state in states]),
            *which,
        )
        .limit(1)
    )
    return found is not None


def cancel_planned(
    session: Session, followup_id: int, steps: Sequence[int] | None, *, why: str
) -> None:
    """planned -> cancelled, for these steps or all. The caller holds the follow-up's row."""
    which = () if steps is None else (OutboxMail.step.in_(steps),)
    session.execute(
        sa.update(OutboxMail)
        .where(
            OutboxMail.followup_id == followup_id,
            OutboxMail.state == OutboxState.PLANNED.value,
            *which,
        )
        .values(state=OutboxState.CANCELLED.value, next_attempt_at=None, error=why[:500])
    )


def claim(
    session: Session, followup_id: int, step: int, owner: str, seconds: int, mail: dict[str, Any]
) -> OutboxClaim | None:
    """Take a step: a new row, or one that is planned again. None when it is not to be had.

    mail: the other columns (recipient, message_id, raw, ...), rendered anew for each claim.
    """
    taken = _take(session, followup_id, step, owner, seconds, {**mail, "carried_by": None}, {})
    if taken is None:
        return None
    rendered = {name: mail[name] for name in _RENDERED}
    return OutboxClaim(
        id=taken.id,
        token=taken.token,
        attempts=taken.attempts,
        followup_id=followup_id,
        step=step,
        channel=Channel(mail["channel"]),
        **rendered,
    )


def claim_companion(
    session: Session,
    lead: OutboxClaim,
    followup_id: int,
    step: int,
    owner: str,
    seconds: int,
    mail: dict[str, Any],
) -> StepClaim:
    """Take a step that goes in the mail of `lead`. Raises ClaimLost when it is not to be had.

    A Message-ID that it had for a mail of its own stays: a late answer to that one is known by it.
    """
    columns = {**mail, "carried_by": lead.id, "content": "", "raw": b""}
    taken = _take(session, followup_id, step, owner, seconds, columns, {"fingerprint": ""})
    if taken is None:
        raise ClaimLost(f"step {step} of follow-up {followup_id} is not to be had")
    return StepClaim(taken.id, taken.token, followup_id, step)


def _take(
    session: Session,
    followup_id: int,
    step: int,
    owner: str,
    seconds: int,
    columns: dict[str, Any],
    only_at_first: dict[str, Any],
) -> _Taken | None:
    lease = {"state": OutboxState.CLAIMED.value, "owner": owner}
    created = insert_unless_there(
        session,
        OutboxMail,
        {"followup_id": followup_id, "step": step, **columns, **only_at_first, **lease},
        OutboxMail.id,
        from_now={"lease_until": seconds},
    )
    if created is not None:
        return _Taken(created, 1, 1)
    taken = session.execute(
        sa.update(OutboxMail)
        .where(*claimable(followup_id, step))
        .values(
            **columns,
            **lease,
            lease_until=database_now(seconds),
            token=OutboxMail.token + 1,
            attempts=OutboxMail.attempts + 1,
            next_attempt_at=None,
        )
        .returning(OutboxMail.id, OutboxMail.token, OutboxMail.attempts)
    ).one_or_none()
    return None if taken is None else _Taken(*taken)


def claimable(followup_id: int, step: int) -> tuple[sa.ColumnElement[bool], ...]:
    """The row of this step, while nothing of it has gone out and nobody has it in hand."""
    return (
        OutboxMail.followup_id == followup_id,
        OutboxMail.step == step,
        OutboxMail.state.in_([state.value for state in CLAIMABLE]),
    )


def change(
    session: Session,
    claimed: OutboxClaim,
    states: Sequence[OutboxState],
    *conditions: sa.ColumnElement[bool],
    **values: object,
) -> list[StepClaim]:
    """The mail's own step, and with it those that it carries. Returns the ones that changed.

    Raises ClaimLost when its own did not; one that it carries may have been stopped by a person.
    """
    statement = (
        sa.update(_OUTBOX)
        .where(
            _ours(len(claimed.steps)),
            _C.state.in_([state.value for state in states]),
            *(sa.or_(_C.id != claimed.id, condition) for condition in conditions),
        )
        .values(**values)
        .returning(_C.id)
    )
    return _those_changed(claimed, set(session.scalars(statement, _given(claimed))))


def _given(claimed: OutboxClaim) -> dict[str, object]:
    """What _ours asks for."""
    steps = list(enumerate(claimed.steps))
    ids: dict[str, object] = {f"step{n}_id": step.id for n, step in steps}
    return ids | {f"step{n}_token": step.token for n, step in steps}


def _those_changed(claimed: OutboxClaim, changed: Collection[int]) -> list[StepClaim]:
    if claimed.id not in changed:
        raise ClaimLost(f"step {claimed.step} of follow-up {claimed.followup_id} is not ours now")
    return [step for step in claimed.steps if step.id in changed]


def _is_claim(step: StepClaim) -> sa.ColumnElement[bool]:
    return sa.and_(OutboxMail.id == step.id, OutboxMail.token == step.token)


def begin_sending(session: Session, claimed: OutboxClaim, seconds: int) -> None:
    """From here on the body may be out. Raises ClaimLost when the lease has ended.

    Or when one of the steps that the mail carries is not ours any more.
    """
    statement = _begin_sending(len(claimed.steps))
    given = {**_given(claimed), "seconds": seconds}
    changed = _those_changed(claimed, set(session.scalars(statement, given)))
    if len(changed) < len(claimed.steps):
        raise ClaimLost(f"a step in the mail of follow-up {claimed.followup_id} is not ours now")


def leave(session: Session, step: StepClaim, state: OutboxState, why: str | None = None) -> bool:
    """claimed -> planned or cancelled, of one step alone. False when it is not ours any more.

    What it was claimed for does not go out, which is no attempt of it, and no error of its mailbox.
    """
    changed = session.scalar(
        sa.update(OutboxMail)
        .where(_is_claim(step), OutboxMail.state == OutboxState.CLAIMED.value)
        .values(
            state=state.value,
            owner=None,
            lease_until=None,
            token=OutboxMail.token + 1,
            attempts=OutboxMail.attempts - 1,
            next_attempt_at=None,
            error=why and why[:500],
        )
        .returning(OutboxMail.id)
    )
    return changed is not None


def settle_sent(
    session: Session, claimed: OutboxClaim, reply: str | None, provider_id: str | None = None
) -> datetime:
    """sending or uncertain -> sent. Returns when the body went out. Raises ClaimLost."""
    statement = _settle_sent(len(claimed.steps))
    given = {**_given(claimed), "words": reply and reply[:500], "named": provider_id}
    went_out = {row.id: row.went_out_at for row in session.execute(statement, given)}
    _those_changed(claimed, went_out)
    at: datetime = went_out[claimed.id]
    return at


def settle_not_sent(
    session: Session,
    claimed: OutboxClaim,
    state: OutboxState,
    *,
    error: str,
    code: int | None = None,
    next_attempt_at: datetime | None = None,
    count_attempt: bool = True,
) -> list[StepClaim]:
    """claimed or sending -> planned, failed or cancelled. Raises ClaimLost.

    Returns the steps that changed: see change.
    """
    return change(
        session,
        claimed,
        [OutboxState.CLAIMED, OutboxState.SENDING],
        state=state.value,
        owner=None,
        lease_until=None,
        sending_at=None,
        token=OutboxMail.token + 1,
        attempts=OutboxMail.attempts - (0 if count_attempt else 1),
        next_attempt_at=next_attempt_at,
        smtp_code=code,
        error=error[:500],
    )


def settle_uncertain(session: Session, claimed: OutboxClaim, error: str) -> None:
    """sending -> uncertain: nobody sends it again without a person's word. Raises ClaimLost."""
    change(
        session,
        claimed,
        [OutboxState.SENDING],
        state=OutboxState.UNCERTAIN.value,
        owner=None,
        lease_until=None,
        error=error[:500],
    )
