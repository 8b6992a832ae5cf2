"""What earlier runs left unsettled is resolved by the next run, by proof, or by a person's word.

One transaction each, in the order of locks of settle.py.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from backend.app.errors import ClaimLost
from backend.app.followups import settle
from backend.app.followups.policy import ReasonCode
from backend.app.models import HistoryStatus, OutboxState
from backend.app.store import followups, outbox, unsettled
from backend.app.store.records import OutboxClaim, StepClaim


def take_back(session: Session, claimed: OutboxClaim, now: datetime) -> None:
    """A run ended before anything went out: the steps are due again. Raises ClaimLost."""
    settle.hold_followups(session, claimed)
    settle.look_again(session, unsettled.take_back(session, claimed), now, None)


def take_back_orphan(session: Session, step: StepClaim, now: datetime) -> None:
    """A step whose mail does not go out any more is due again. Raises ClaimLost."""
    followups.wait_for_lock(session, step.followup_id)
    if not outbox.leave(session, step, OutboxState.PLANNED):
        raise ClaimLost(f"step {step.step} of follow-up {step.followup_id} is not ours now")
    settle.look_again(session, [step], now, None)


def abandon_sending(session: Session, claimed: OutboxClaim, now: datetime, wait_hours: int) -> None:
    """A run ended while the mail was going out. Raises ClaimLost."""
    settle.hold_followups(session, claimed)
    unsettled.abandon_sending(session, claimed)
    settle.record_uncertain(
        session, claimed, "its run ended while it was going out", now, wait_hours
    )


def ask_person(session: Session, claimed: OutboxClaim, now: datetime) -> None:
    """No proof came in time: somebody has to say `outbox sent` or `outbox resend`.

    Raises ClaimLost.
    """
    settle.hold_followups(session, claimed)
    unsettled.mark_needs_person(session, claimed)
    settle.hold_back(session, claimed.steps, ReasonCode.UNCERTAIN.value, now)


def accept_proof(
    session: Session, claimed: OutboxClaim, now: datetime, *, provider_id: str | None = None
) -> int:
    """The inbox, or a provider, shows that it went out, however late. The conversation's id.

    Raises ClaimLost.
    """
    return _accept(session, claimed, now, by="", provider_id=provider_id)


def accept_as_sent(session: Session, claimed: OutboxClaim, now: datetime, *, by: str) -> int:
    """A person says that it did arrive. Returns the conversation's id. Raises ClaimLost."""
    return _accept(session, claimed, now, by=by)


def _accept(
    session: Session,
    claimed: OutboxClaim,
    now: datetime,
    *,
    by: str,
    provider_id: str | None = None,
) -> int:
    conversation_id = settle.settle_sent(
        session, claimed, now, reply=None, by=by, provider_id=provider_id
    )
    for step in claimed.steps:
        followups.release(session, step.followup_id, None)
    return conversation_id


def resend(session: Session, claimed: OutboxClaim, now: datetime, *, by: str) -> None:
    """A person says that it did not arrive: planned again, and decided on anew.

    Raises ClaimLost when it is not uncertain any more.
    """
    settle.hold_followups(session, claimed)
    unsettled.plan_again(session, claimed)
    for step in claimed.steps:
        _release_to_resend(session, step, now, by)


def _release_to_resend(session: Session, step: StepClaim, now: datetime, by: str) -> None:
    followup = followups.load_followup(session, step.followup_id)
    followups.record_history(
        session,
        followup,
        HistoryStatus.RELEASED,
        step=step.step,
        at=now,
        reason="to be sent again",
        by=by,
    )
    followups.release(session, followup.id, now)
    followups.look_again(session, followup.id, now, None)  # where nobody had been asked yet
