"""The outbox: one row for each reminder step on its way out.

Every change of state is a conditional UPDATE under the claim's token; a row count of none means
that another worker, or a person, was first: ClaimLost. Lease times are the database's clock.

            planned --claim--> claimed --DATA accepted--> sending --2xx--> sent
               ^                  |                          |----4xx---> planned
               |                  |--4xx, no network         |----5xx---> failed
               |<-----------------'                          '--silence, crash--> uncertain
                                                 uncertain --proof--> sent
                                                 uncertain --a person's word--> sent | planned
                                                    failed --a person's word--> planned
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.channel import Channel
from backend.app.db import database_now
from backend.app.errors import ClaimLost
from backend.app.models import OutboxMail, OutboxState
from backend.app.store.records import OutboxClaim
from backend.app.store.tables import table_of
from backend.app.store.upsert import insert_unless_there

_OUTBOX = table_of(OutboxMail)
_CLAIM_COLUMNS = tuple(getattr(OutboxMail, name) for name in OutboxClaim.__dataclass_fields__)
# States from which a step may be claimed (again): nothing of it has gone out.
CLAIMABLE = (OutboxState.PLANNED, OutboxState.CANCELLED)
# Word for word the condition of ix_outbox_unsettled: SQLite does not see that `state = 'claimed'`
# lies within it, and would read the whole table.
UNSETTLED = sa.text("outbox.state IN ('claimed', 'sending', 'uncertain')")


def find_step(session: Session, followup_id: int, step: int) -> OutboxMail | None:
    return session.scalar(
        sa.select(OutboxMail).where(OutboxMail.followup_id == followup_id, OutboxMail.step == step)
    )


def find_message_ids(session: Session, followup_id: int) -> list[str]:
    """The Message-IDs of the steps that went out as mails, in their order."""
    return list(
        session.scalars(
            sa.select(OutboxMail.message_id)
            .where(
                OutboxMail.followup_id == followup_id,
                OutboxMail.state == OutboxState.SENT.value,
                OutboxMail.channel == Channel.EMAIL.value,
            )
            .order_by(OutboxMail.step)
        )
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
    lease = {
        "state": OutboxState.CLAIMED.value,
        "owner": owner,
        "lease_until": database_now(seconds),
    }
    created = insert_unless_there(
        session,
        OutboxMail,
        {"followup_id": followup_id, "step": step, **mail, **lease},
        OutboxMail.id,
    )
    if created is not None:
        return _load_claim(session, OutboxMail.id == created)
    taken = session.scalar(
        sa.update(OutboxMail)
        .where(
            OutboxMail.followup_id == followup_id,
            OutboxMail.step == step,
            OutboxMail.state.in_([state.value for state in CLAIMABLE]),
        )
        .values(
            **mail,
            **lease,
            token=OutboxMail.token + 1,
            attempts=OutboxMail.attempts + 1,
            next_attempt_at=None,
        )
        .returning(OutboxMail.id)
    )
    return None if taken is None else _load_claim(session, OutboxMail.id == taken)


def _load_claim(session: Session, which: sa.ColumnElement[bool]) -> OutboxClaim:
    row = session.execute(sa.select(*_CLAIM_COLUMNS).where(which)).one()
    return _claim_of(row)


def _claim_of(row: sa.Row[Any]) -> OutboxClaim:
    return OutboxClaim(**{**row._mapping, "channel": Channel(row.channel)})


def _change(
    session: Session,
    claimed: OutboxClaim,
    states: Sequence[OutboxState],
    *conditions: sa.ColumnElement[bool],
    **values: object,
) -> None:
    changed = session.execute(
        sa.update(_OUTBOX)
        .where(
            OutboxMail.id == claimed.id,
            OutboxMail.token == claimed.token,
            OutboxMail.state.in_([state.value for state in states]),
            *conditions,
        )
        .values(**values)
        .returning(_OUTBOX.c.id)
    ).one_or_none()
    if changed is None:
        raise ClaimLost(f"step {claimed.step} of follow-up {claimed.followup_id} is not ours now")


def begin_sending(session: Session, claimed: OutboxClaim, seconds: int) -> None:
    """From here on the body may be out. Raises ClaimLost when the lease has ended."""
    _change(
        session,
        claimed,
        [OutboxState.CLAIMED],
        OutboxMail.lease_until > database_now(),
        state=OutboxState.SENDING.value,
        sending_at=database_now(),
        lease_until=database_now(seconds),
    )


def settle_sent(
    session: Session, claimed: OutboxClaim, reply: str | None, provider_id: str | None = None
) -> datetime:
    """sending or uncertain -> sent. Returns when the body went out. Raises ClaimLost."""
    _change(
        session,
        claimed,
        [OutboxState.SENDING, OutboxState.UNCERTAIN],
        state=OutboxState.SENT.value,
        owner=None,
        lease_until=None,
        needs_person=False,
        sent_at=database_now(),
        error=reply and reply[:500],
        provider_id=provider_id,
    )
    return session.execute(
        sa.select(sa.func.coalesce(OutboxMail.sending_at, OutboxMail.sent_at)).where(
            OutboxMail.id == claimed.id
        )
    ).scalar_one()


def settle_not_sent(
    session: Session,
    claimed: OutboxClaim,
    state: OutboxState,
    *,
    error: str,
    code: int | None = None,
    next_attempt_at: datetime | None = None,
    count_attempt: bool = True,
) -> None:
    """claimed or sending -> planned, failed or cancelled. Raises ClaimLost."""
    _change(
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
    """Steps in `state` whose worker's lease has ended: it was killed, or hangs."""
    rows = session.execute(
        sa.select(*_CLAIM_COLUMNS)
        .where(UNSETTLED, OutboxMail.state == state.value, OutboxMail.lease_until < database_now())
        .order_by(OutboxMail.lease_until)
        .limit(limit)
    ).all()
    return [_claim_of(row) for row in rows]


def take_back(session: Session, claimed: OutboxClaim) -> None:
    """claimed -> planned after its worker's end: nothing had gone out. Raises ClaimLost."""
    _change(
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
    """Uncertain steps, those too that a person was asked about: proof may still come."""
    rows = session.execute(
        sa.select(*_CLAIM_COLUMNS)
        .where(UNSETTLED, OutboxMail.state == OutboxState.UNCERTAIN.value)
        .order_by(OutboxMail.id)
    ).all()
    return [_claim_of(row) for row in rows]


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
    """An uncertain step by its id; None when there is none (any more)."""
    row = session.execute(
        sa.select(*_CLAIM_COLUMNS).where(
            OutboxMail.id == outbox_id, OutboxMail.state == OutboxState.UNCERTAIN.value
        )
    ).one_or_none()
    return None if row is None else _claim_of(row)


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
