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
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from backend.app.channel import Channel
from backend.app.db import database_now
from backend.app.errors import ClaimLost
from backend.app.models import OutboxMail, OutboxState
from backend.app.store.records import OutboxClaim, StepClaim
from backend.app.store.tables import table_of
from backend.app.store.upsert import insert_unless_there

_OUTBOX = table_of(OutboxMail)
_CLAIM_COLUMNS = tuple(
    getattr(OutboxMail, name) for name in OutboxClaim.__dataclass_fields__ if name != "companions"
)
# States from which a step may be claimed (again): nothing of it has gone out.
CLAIMABLE = (OutboxState.PLANNED, OutboxState.CANCELLED)
_C = _OUTBOX.c
# Built once, see tables.py.
_CARRIER = _OUTBOX.alias()
_FIND_MESSAGE_IDS = (
    sa.select(sa.case((_C.carried_by.is_(None), _C.message_id), else_=_CARRIER.c.message_id))
    .select_from(_OUTBOX.outerjoin(_CARRIER, _CARRIER.c.id == _C.carried_by))
    .where(
        _C.followup_id == sa.bindparam("followup"),
        _C.state == OutboxState.SENT.value,
        _C.channel == Channel.EMAIL.value,
    )
    .order_by(_C.step)
)
OF_STEP = (_C.followup_id == sa.bindparam("followup"), _C.step == sa.bindparam("of_step"))
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
# Word for word the condition of ix_outbox_unsettled: SQLite does not see that `state = 'claimed'`
# lies within it, and would read the whole table.
UNSETTLED = sa.text("outbox.state IN ('claimed', 'sending', 'uncertain')")


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


def find_message_ids(session: Session, followup_id: int) -> list[str]:
    """The Message-IDs of the mails in which its steps went out, in their order."""
    return list(session.scalars(_FIND_MESSAGE_IDS, {"followup": followup_id}))


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


def _claim_of(row: sa.Row[Any], companions: Sequence[StepClaim] = ()) -> OutboxClaim:
    channel = Channel(row.channel)
    return OutboxClaim(**{**row._mapping, "channel": channel, "companions": tuple(companions)})


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
        .where(
            OutboxMail.followup_id == followup_id,
            OutboxMail.step == step,
            OutboxMail.state.in_([state.value for state in CLAIMABLE]),
        )
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


def record_forgotten(
    session: Session, followup_id: int, step: int, sent_at: datetime, mail: dict[str, Any]
) -> bool:
    """A step that went out and that no row knows of: uncertain, so that the proof settles it.

    Or whose row only knows of attempts before that. False when it is not to be had.
    """
    values = {
        **mail,
        "carried_by": None,
        "state": OutboxState.UNCERTAIN.value,
        "sending_at": sent_at,
        "next_attempt_at": None,
        "error": "it had gone out before this database was brought back from a copy",
    }
    key = {"followup_id": followup_id, "step": step}
    if insert_unless_there(session, OutboxMail, {**key, **values}, OutboxMail.id) is not None:
        return True
    changed = session.scalar(
        sa.update(OutboxMail)
        .where(
            OutboxMail.followup_id == followup_id,
            OutboxMail.step == step,
            OutboxMail.state.in_([state.value for state in CLAIMABLE]),
        )
        .values(**values, token=OutboxMail.token + 1)
        .returning(OutboxMail.id)
    )
    return changed is not None


def _change(
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

    Returns the steps that changed: see _change.
    """
    return _change(
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
    _change(
        session,
        claimed,
        [OutboxState.SENDING],
        state=OutboxState.UNCERTAIN.value,
        owner=None,
        lease_until=None,
        error=error[:500],
    )


def plan_again(session: Session, claimed: OutboxClaim) -> None:
    """uncertain -> planned, on a person's word that it did not arrive. Raises ClaimLost."""
    _change(
        session,
        claimed,
        [OutboxState.UNCERTAIN],
        state=OutboxState.PLANNED.value,
        needs_person=False,
        sending_at=None,
        token=OutboxMail.token + 1,
        next_attempt_at=None,
    )


def mark_needs_person(session: Session, claimed: OutboxClaim) -> None:
    """No proof came in time. Raises ClaimLost."""
    _change(session, claimed, [OutboxState.UNCERTAIN], needs_person=True)


def list_abandoned(session: Session, state: OutboxState, limit: int = 500) -> list[OutboxClaim]:
    """Mails in `state` whose worker's lease has ended: it was killed, or hangs."""
    query = (
        sa.select(*_CLAIM_COLUMNS)
        .where(
            UNSETTLED,
            OutboxMail.carried_by.is_(None),
            OutboxMail.state == state.value,
            OutboxMail.lease_until < database_now(),
        )
        .order_by(OutboxMail.lease_until)
        .limit(limit)
    )
    return _load_claims(session, query, state)


def _load_claims(
    session: Session, query: sa.Select[*tuple[Any, ...]], state: OutboxState
) -> list[OutboxClaim]:
    """Mails that are in `state`, each with the steps that it carries."""
    rows = session.execute(query).all()
    if not rows:
        return []
    o, carried = OutboxMail, defaultdict(list)
    for row in session.execute(
        sa.select(o.carried_by, o.id, o.token, o.followup_id, o.step)
        .where(o.carried_by.in_([row.id for row in rows]), o.state == state.value)
        .order_by(o.followup_id)
    ):
        carried[row.carried_by].append(StepClaim(row.id, row.token, row.followup_id, row.step))
    return [_claim_of(row, carried[row.id]) for row in rows]


def list_orphaned(session: Session) -> list[StepClaim]:
    """Steps whose lease has ended, claimed for a mail that does not go out any more.

    A person has stopped the follow-up whose mail it was, and the worker did not live to see it.
    """
    o, carrier = OutboxMail, aliased(OutboxMail)
    goes = sa.exists().where(carrier.id == o.carried_by, carrier.state == OutboxState.CLAIMED.value)
    rows = session.execute(
        sa.select(o.id, o.token, o.followup_id, o.step).where(
            UNSETTLED,
            o.carried_by.is_not(None),
            o.state == OutboxState.CLAIMED.value,
            o.lease_until < database_now(),
            ~goes,
        )
    ).all()
    return [StepClaim(*row) for row in rows]


def take_back(session: Session, claimed: OutboxClaim) -> list[StepClaim]:
    """claimed -> planned after its worker's end: nothing had gone out. Raises ClaimLost.

    Returns the steps that changed.
    """
    return _change(
        session,
        claimed,
        [OutboxState.CLAIMED],
        OutboxMail.lease_until < database_now(),
        state=OutboxState.PLANNED.value,
        owner=None,
        lease_until=None,
        token=OutboxMail.token + 1,
        error="its run ended before anything went out",
    )


def abandon_sending(session: Session, claimed: OutboxClaim) -> None:
    """sending -> uncertain after its worker's end: it may have gone out. Raises ClaimLost.

    The token stays: a worker that wakes up late with the server's 2xx in hand holds the best
    proof there is, and may still settle the step as sent; it may not send.
    """
    _change(
        session,
        claimed,
        [OutboxState.SENDING],
        OutboxMail.lease_until < database_now(),
        state=OutboxState.UNCERTAIN.value,
        owner=None,
        lease_until=None,
        error="its run ended while the mail was going out",
    )


def list_uncertain(session: Session) -> list[OutboxClaim]:
    """Uncertain mails, those too that a person was asked about: proof may still come."""
    query = (
        sa.select(*_CLAIM_COLUMNS)
        .where(
            UNSETTLED,
            OutboxMail.carried_by.is_(None),
            OutboxMail.state == OutboxState.UNCERTAIN.value,
        )
        .order_by(OutboxMail.id)
    )
    return _load_claims(session, query, OutboxState.UNCERTAIN)


def load_sending_at(session: Session, outbox_id: int) -> datetime | None:
    """Since when the step may be out; None where nothing can be."""
    return session.scalar(sa.select(OutboxMail.sending_at).where(OutboxMail.id == outbox_id))


def list_provider_ids(session: Session, company_id: int, wanted: Sequence[str]) -> set[str]:
    """Which of these names of text messages are those of the company's own steps."""
    known = session.scalars(
        sa.select(OutboxMail.provider_id).where(
            OutboxMail.company_id == company_id, OutboxMail.provider_id.in_(wanted)
        )
    )
    return {each for each in known if each is not None}


def load_uncertain(session: Session, outbox_id: int) -> OutboxClaim | None:
    """An uncertain mail by the id of any of its steps; None when there is none (any more)."""
    uncertain = OutboxMail.state == OutboxState.UNCERTAIN.value
    own = sa.func.coalesce(OutboxMail.carried_by, OutboxMail.id)
    lead = session.scalar(sa.select(own).where(OutboxMail.id == outbox_id, uncertain))
    query = sa.select(*_CLAIM_COLUMNS).where(OutboxMail.id == lead, uncertain)
    found = [] if lead is None else _load_claims(session, query, OutboxState.UNCERTAIN)
    return found[0] if found else None


def needs_a_word(session: Session, claimed: OutboxClaim, hours: int) -> bool:
    """Whether the body went out, if it did, over `hours` ago, and nobody was asked about it yet."""
    return (
        session.scalar(
            sa.select(OutboxMail.id).where(
                OutboxMail.id == claimed.id,
                OutboxMail.needs_person.is_(False),
                OutboxMail.sending_at < database_now(-3600 * hours),
            )
        )
        is not None
    )
