"""`manage.py followup explain`: where a follow-up stands, why, and what happens next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from backend.app.errors import SettingsInvalid
from backend.app.followups.policy import Send, Wait
from backend.app.followups.reasons import ReasonCode
from backend.app.followups.situation import decide_now, load_situation
from backend.app.models import AutoState
from backend.app.operate.followup_actions import BY_PERSON
from backend.app.store import admin_followups
from backend.app.store.admin_records import FollowupRow, HistoryRow, OutboxRow


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run at this moment would do. decision: send, wait, hold or stop.

    reason: a code; meaning: in words. until: for wait. step: for send.
    """

    decision: str
    reason: str
    meaning: str
    until: datetime | None = None
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """verdict: None for a follow-up that no run looks at; a held one is shown as if released.

    reason_meaning: what auto_reason says in words.
    """

    followup: FollowupRow
    time_zone: str
    reason_meaning: str | None
    verdict: Verdict | None
    outbox: list[OutboxRow]
    history: list[HistoryRow]


def meaning_of(reason: str | None) -> str | None:
    """`missing_variable: amount` -> what missing_variable means; the text itself if unknown."""
    if reason is None:
        return None
    if reason == BY_PERSON:
        return "somebody stopped it by hand"
    code = reason.partition(":")[0]
    return ReasonCode(code).meaning if code in list(ReasonCode) else reason


def explain_followup(
    session: Session, company_id: int | None, followup_id: int, now: datetime
) -> Explanation:
    """Only reads. Raises Refused when there is no such follow-up."""
    row = admin_followups.load_followup_row(session, company_id, followup_id)
    looked_at = row.auto_state in (AutoState.ACTIVE, AutoState.HELD)
    situation_zone, verdict = _verdict(session, followup_id, now)
    return Explanation(
        followup=row,
        time_zone=situation_zone,
        reason_meaning=meaning_of(row.auto_reason),
        verdict=verdict if looked_at else None,
        outbox=admin_followups.list_outbox(session, followup_id=followup_id),
        history=admin_followups.list_history(session, followup_id),
    )


def _verdict(session: Session, followup_id: int, now: datetime) -> tuple[str, Verdict]:
    """The company's time zone, and the policy's word."""
    try:
        situation = load_situation(session, followup_id, now)
    except SettingsInvalid as error:
        return "UTC", Verdict("wait", ReasonCode.SETTINGS_INVALID.value, str(error))
    decision = decide_now(session, situation, now)
    return situation.company.timezone, Verdict(
        decision=type(decision).__name__.lower(),
        reason=decision.reason.value,
        meaning=decision.reason.meaning,
        until=decision.until if isinstance(decision, Wait) else None,
        step=decision.step if isinstance(decision, Send) else None,
    )
