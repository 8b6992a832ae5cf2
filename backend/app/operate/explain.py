"""`manage.py followup explain`: where a follow-up stands, why, and what happens next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from backend.app.errors import SettingsInvalid
from backend.app.followups.claim import prepare
from backend.app.followups.documents import Documents
from backend.app.followups.draft import Draft
from backend.app.followups.policy import Hold, Send, Wait
from backend.app.followups.reasons import ReasonCode
from backend.app.followups.situation import Situation, load_situation
from backend.app.models import AutoState, HistoryStatus
from backend.app.operate.followup_actions import BY_PERSON
from backend.app.store import admin_followups
from backend.app.store.admin_records import FollowupRow, HistoryRow, OutboxRow
from backend.app.store.records import Spent


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run at this moment would do. decision: send, wait, hold or stop.

    reason: a code; meaning: in words. until: for wait. step: for send; with_followups: those that
    would go in the same mail.
    """

    decision: str
    reason: str
    meaning: str
    until: datetime | None = None
    step: int | None = None
    detail: str = ""
    with_followups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """verdict: None for a follow-up that no run looks at; a held one is shown as if released.

    reason_meaning: what auto_reason says in words. facts: what the decision rests on.
    """

    followup: FollowupRow
    time_zone: str
    reason_meaning: str | None
    verdict: Verdict | None
    facts: dict[str, object]
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
    session: Session,
    company_id: int | None,
    followup_id: int,
    now: datetime,
    documents: Path | None,
) -> Explanation:
    """Only reads. documents: DOCUMENTS_DIR. Raises Refused when there is no such follow-up."""
    row = admin_followups.load_followup_row(session, company_id, followup_id)
    looked_at = row.auto_state in (AutoState.ACTIVE, AutoState.HELD)
    try:
        situation = load_situation(session, followup_id, now)
        zone, facts = situation.company.timezone, shown_facts(situation)
        if row.auto_state == AutoState.HELD:
            situation = _released(situation, now)
        verdict = _verdict(session, situation, now, documents)
    except SettingsInvalid as error:
        zone, facts = "UTC", {}
        verdict = Verdict("wait", ReasonCode.SETTINGS_INVALID.value, str(error))
    return Explanation(
        followup=row,
        time_zone=zone,
        reason_meaning=meaning_of(row.auto_reason),
        verdict=verdict if looked_at else None,
        facts=facts,
        outbox=admin_followups.list_outbox(session, followup_id=followup_id),
        history=_history(session, followup_id),
    )


def _released(situation: Situation, at: datetime) -> Situation:
    """As if a person had looked at it and let it go on at this moment."""
    return replace(
        situation,
        followup=replace(situation.followup, approved_at=at),
        facts=replace(situation.facts, approved_at=at),
    )


def _history(session: Session, followup_id: int) -> list[HistoryRow]:
    """What a step was sent on was decided when it was claimed, and is kept in the outbox."""
    of_step = admin_followups.load_step_facts(session, followup_id)
    return [
        replace(line, facts=of_step.get(line.step)) if line.status == HistoryStatus.SENT else line
        for line in admin_followups.list_history(session, followup_id)
    ]


def shown_facts(situation: Situation) -> dict[str, object]:
    """What is known and says something, under the names that a reader knows."""
    facts = situation.facts
    found: dict[str, object] = {
        "answered": facts.answered_at,
        "read up to": facts.fresh_at,
        "away until": facts.back_on,
        "promised": facts.promised_until,
        "postponed": facts.postponed_until,
        "bounced": facts.hard_bounce_at or facts.soft_bounce_at,
        "approved": facts.approved_at,
        "no contact": facts.do_not_contact or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _verdict(
    session: Session, situation: Situation, now: datetime, documents: Path | None
) -> Verdict:
    """What a run would do at this moment: as it does, to the rendered mail."""
    prepared = prepare(session, situation, now, Spent(), Documents(documents), hold=False)
    decision, with_it = (
        (prepared.decision, prepared.companions) if isinstance(prepared, Draft) else (prepared, ())
    )
    return Verdict(
        decision=type(decision).__name__.lower(),
        reason=decision.reason.value,
        meaning=decision.reason.meaning,
        until=decision.until if isinstance(decision, Wait) else None,
        step=decision.step if isinstance(decision, Send) else None,
        detail=decision.detail if isinstance(decision, Wait | Hold) else "",
        with_followups=tuple(each.situation.followup.id for each in with_it),
    )
