"""Decide on one follow-up and, where a step is due, claim it: one transaction, on fresh rows.

Lock order: the follow-up's row, its outbox row. Nothing here speaks to the network.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from backend.app.followups.draft import Draft, draft_step
from backend.app.followups.policy import (
    Decision,
    Hold,
    ReasonCode,
    Send,
    Stop,
    Wait,
    stops_before_body,
)
from backend.app.followups.reasons import status_reason
from backend.app.followups.situation import Situation, decide_now, load_situation
from backend.app.followups.wording import MissingVariable
from backend.app.models import AutoState, OutboxState
from backend.app.store import followups, outbox
from backend.app.store.records import DueFollowup, OutboxClaim

STATUS_ANSWERED = "answered"


def claim_followup(
    session: Session, followup_id: int, owner: str, lease_seconds: int, now: datetime
) -> tuple[Decision, OutboxClaim | None] | None:
    """Decide, and claim where the decision is to send. A function for db.write.

    None when another worker has this follow-up. Raises SettingsInvalid.
    """
    if not followups.lock_active(session, followup_id):
        return None
    situation = load_situation(session, followup_id)
    prepared = prepare(session, situation, now)
    if isinstance(prepared, Draft):
        claimed = _claim(session, prepared, followup_id, owner, lease_seconds, now)
        return None if claimed is None else (prepared.decision, claimed)
    if prepared.reason is ReasonCode.ON_ITS_WAY:
        return None
    record_decision(session, situation.followup, prepared, now)
    return prepared, None


def preview_followup(session: Session, followup_id: int, now: datetime) -> Decision:
    """What claim_followup would decide; writes nothing. Raises SettingsInvalid."""
    prepared = prepare(session, load_situation(session, followup_id), now)
    return prepared.decision if isinstance(prepared, Draft) else prepared


def prepare(session: Session, situation: Situation, now: datetime) -> Draft | Stop | Hold | Wait:
    """The decision and, where it is to send, the mail."""
    decision = decide_now(session, situation, now)
    if not isinstance(decision, Send):
        return decision
    try:
        return draft_step(session, situation, decision, now)
    except MissingVariable as missing:
        return Hold(ReasonCode.MISSING_VARIABLE, missing.name)


def _claim(
    session: Session,
    draft: Draft,
    followup_id: int,
    owner: str,
    lease_seconds: int,
    now: datetime,
) -> OutboxClaim | None:
    claimed = outbox.claim(
        session, followup_id, draft.decision.step, owner, lease_seconds, draft.columns
    )
    if claimed is not None:
        # Others need not look while it is on its way; recovery looks at the outbox instead.
        followups.look_again(session, followup_id, now + timedelta(seconds=lease_seconds), None)
    return claimed


def record_decision(
    session: Session, followup: DueFollowup, decision: Stop | Hold | Wait, now: datetime
) -> None:
    """Write down what was decided, and why."""
    reason = decision.reason
    if isinstance(decision, Wait):
        followups.look_again(session, followup.id, decision.until, reason.value)
    elif reason is ReasonCode.DISABLED:
        # Switched off while we looked: it stays active, and goes on once it is switched on again.
        followups.look_again(session, followup.id, now, reason.value)
    elif isinstance(decision, Hold):
        words = f"{reason.value}: {decision.detail}" if decision.detail else reason.value
        followups.end_automation(session, followup, AutoState.HELD, words, at=now)
    else:
        _record_end(session, followup, reason, now)


def _record_end(session: Session, followup: DueFollowup, reason: ReasonCode, now: datetime) -> None:
    state = AutoState.COMPLETED if reason is ReasonCode.COMPLETED else AutoState.STOPPED
    # Where the host application says the same in a word of its own, that word stays.
    news = reason is ReasonCode.ANSWERED and status_reason(followup.status) is not reason
    status = STATUS_ANSWERED if news else None
    followups.end_automation(session, followup, state, reason.value, at=now, status=status)


def begin_sending(
    session: Session, claimed: OutboxClaim, lease_seconds: int, now: datetime
) -> Stop | Hold | None:
    """Between DATA and the body: take responsibility, or learn that something stops the step.

    What comes back besides None was not committed as 'sending': nothing may go out. Raises
    ClaimLost, and SettingsInvalid when the rules were broken meanwhile.
    """
    auto_state = followups.wait_for_lock(session, claimed.followup_id)
    situation = load_situation(session, claimed.followup_id)
    stop = stops_before_body(situation.facts, situation.rules, now)
    if stop is None and auto_state is not AutoState.ACTIVE:
        stop = Stop(ReasonCode.DISABLED)
    if stop is None:
        outbox.begin_sending(session, claimed, lease_seconds)
        return None
    outbox.settle_not_sent(
        session,
        claimed,
        OutboxState.CANCELLED,
        error=f"stopped before the body: {stop.reason.value}",
        count_attempt=False,
    )
    record_decision(session, situation.followup, stop, now)
    return stop
