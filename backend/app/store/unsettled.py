"""The outbox's steps whose worker ended before it could settle them, or whose fate is unknown.

They are found by the end of their lease, or by being uncertain; and proof, a person's word or the
next run settles them: see recover.py and outbox.py, where the whole way of a step is drawn.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from backend.app.channel import Channel
from backend.app.db import database_now
from backend.app.models import OutboxMail, OutboxState
from backend.app.store import outbox
from backend.app.store.records import OutboxClaim, StepClaim
from backend.app.store.upsert import insert_unless_there

_CLAIM_COLUMNS = tuple(
    getattr(OutboxMail, name) for name in OutboxClaim.__dataclass_fields__ if name != "companions"
)
NOTHING_WENT_OUT = "its run ended before anything went out"
# Word for word the condition of ix_outbox_unsettled: SQLite does not see that `state = 'claimed'`
# lies within it, and would read the whole table.
UNSETTLED = sa.text("outbox.state IN ('claimed', 'sending', 'uncertain')")


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
    return outbox.change(
        session,
        claimed,
        [OutboxState.CLAIMED],
        OutboxMail.lease_until < database_now(),
        state=OutboxState.PLANNED.value,
        owner=None,
        lease_until=None,
        token=OutboxMail.token + 1,
        error=NOTHING_WENT_OUT,
    )


def abandon_sending(session: Session, claimed: OutboxClaim) -> None:
    """sending -> uncertain after its worker's end: it may have gone out. Raises ClaimLost.

    The token stays: a worker that wakes up late with the server's 2xx in hand holds the best
    proof there is, and may still settle the step as sent; it may not send.
    """
    outbox.change(
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


def load_uncertain(session: Session, outbox_id: int) -> OutboxClaim | None:
    """An uncertain mail by the id of any of its steps; None when there is none (any more)."""
    uncertain = OutboxMail.state == OutboxState.UNCERTAIN.value
    own = sa.func.coalesce(OutboxMail.carried_by, OutboxMail.id)
    lead = session.scalar(sa.select(own).where(OutboxMail.id == outbox_id, uncertain))
    query = sa.select(*_CLAIM_COLUMNS).where(OutboxMail.id == lead, uncertain)
    found = [] if lead is None else _load_claims(session, query, OutboxState.UNCERTAIN)
    return found[0] if found else None


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


def _claim_of(row: sa.Row[Any], companions: Sequence[StepClaim]) -> OutboxClaim:
    channel = Channel(row.channel)
    return OutboxClaim(**{**row._mapping, "channel": channel, "companions": tuple(companions)})


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


def mark_needs_person(session: Session, claimed: OutboxClaim) -> None:
    """No proof came in time. Raises ClaimLost."""
    outbox.change(session, claimed, [OutboxState.UNCERTAIN], needs_person=True)


def plan_again(session: Session, claimed: OutboxClaim) -> None:
    """uncertain -> planned, on a person's word that it did not arrive. Raises ClaimLost."""
    outbox.change(
        session,
        claimed,
        [OutboxState.UNCERTAIN],
        state=OutboxState.PLANNED.value,
        needs_person=False,
        sending_at=None,
        token=OutboxMail.token + 1,
        next_attempt_at=None,
    )


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
        .where(*outbox.claimable(followup_id, step))
        .values(**values, token=OutboxMail.token + 1)
        .returning(OutboxMail.id)
    )
    return changed is not None
