"""`manage.py followup forecast`: what a company's next run would send, hold and leave. Only reads.

For whoever switches reminders on: it decides on every follow-up that a run would look at, one after
the other, as --dry-run does, at the next instant at which the company writes, as if its mailboxes
had just been read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from backend.app import db
from backend.app.errors import Refused
from backend.app.followups.calendar import OpeningHours
from backend.app.followups.claim import prepare
from backend.app.followups.documents import Documents
from backend.app.followups.draft import Draft
from backend.app.followups.policy import Hold, ReasonCode, Stop, Wait
from backend.app.followups.preview import Tally
from backend.app.followups.schedule import zone_of
from backend.app.followups.settings import load_rules
from backend.app.followups.situation import load_situation
from backend.app.store import admin_followups, admin_tenants, followups, tenants

MOST_LOOKS = 20_000
SEND = "send"


@dataclass(slots=True)
class Outlook:
    """Of one type: how many go out, are too old, are held, wait or end, each by its reason code.

    too_old: those that the run would hold, and those that are held for it already.
    """

    type: str
    send: int = 0
    too_old: int = 0
    held: Counter[str] = field(default_factory=Counter)
    waiting: Counter[str] = field(default_factory=Counter)
    stopped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Forecast:
    """at: when the run would be, aware UTC. too_old: the follow-ups that no run has held yet.

    more: there are more than were looked at.
    """

    company_id: int
    time_zone: str
    at: datetime
    types: list[Outlook]
    too_old: list[int]
    more: bool


def forecast(company_id: int, now: datetime, documents: Path) -> Forecast:
    """One short transaction for each follow-up. Raises Refused (no such company, it is never
    open) and SettingsInvalid.

    What a company groups is counted as if each went by itself: one goes, the others wait.
    """
    at, zone = db.read(_next_run, company_id, now)
    outlooks: dict[str, Outlook] = {}
    ahead: list[int] = []
    tally = Tally()
    due = db.read(followups.list_due, at, MOST_LOOKS, company_id=company_id, followup_id=None)
    for each in due:
        kind, decision = db.read(_decide, each.id, at, tally, documents)
        _count(outlooks.setdefault(kind, Outlook(kind)), decision)
        if _is_too_old(decision):
            ahead.append(each.id)
    for kind, reason in db.read(admin_followups.list_held_reasons, company_id):
        _count(
            outlooks.setdefault(kind, Outlook(kind)),
            Hold(ReasonCode.TOO_OLD) if reason == ReasonCode.TOO_OLD else reason,
        )
    types = [outlooks[kind] for kind in sorted(outlooks)]
    return Forecast(company_id, zone, at, types, ahead, len(due) == MOST_LOOKS)


def _next_run(session: Session, company_id: int, now: datetime) -> tuple[datetime, str]:
    admin_tenants.load_company_row(session, company_id)
    company = tenants.load_company(session, company_id)
    rules = load_rules(company.rules("followups"))
    zone = zone_of(company.timezone)
    if zone is None:
        raise Refused(
            f"the time zone of company {company_id} is no IANA zone: {company.timezone!r}"
        )
    opening = OpeningHours(zone, company.country, rules).next_opening(now)
    if opening is None:
        raise Refused(f"company {company_id}: {ReasonCode.ALWAYS_CLOSED.meaning}")
    return opening, company.timezone


def _decide(
    session: Session, followup_id: int, at: datetime, tally: Tally, documents: Path
) -> tuple[str, Draft | Stop | Hold | Wait]:
    situation = load_situation(session, followup_id, at)
    situation = replace(situation, facts=replace(situation.facts, fresh_at=at))
    files = Documents(documents)
    prepared = prepare(session, situation, at, tally.beside(situation), files, hold=False)
    if isinstance(prepared, Draft):
        tally.add(situation, prepared, at)
    return situation.followup.type, prepared


def _count(outlook: Outlook, decision: Draft | Stop | Hold | Wait | str) -> None:
    if isinstance(decision, Draft):
        outlook.send += 1
    elif isinstance(decision, str):
        outlook.held[decision] += 1
    elif _is_too_old(decision):
        outlook.too_old += 1
    elif isinstance(decision, Hold):
        outlook.held[decision.reason.value] += 1
    elif isinstance(decision, Wait):
        outlook.waiting[decision.reason.value] += 1
    else:
        outlook.stopped[decision.reason.value] += 1


def _is_too_old(decision: Draft | Stop | Hold | Wait) -> bool:
    return isinstance(decision, Hold) and decision.reason is ReasonCode.TOO_OLD


def list_too_old(
    company_id: int, now: datetime, documents: Path, kind: str | None
) -> Iterator[int]:
    """Those that no run has held yet, of one type or all."""
    found = forecast(company_id, now, documents)
    for followup_id in found.too_old:
        row = db.read(admin_followups.load_followup_row, company_id, followup_id)
        if kind is None or row.type == kind:
            yield followup_id
