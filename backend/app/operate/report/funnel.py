"""The reminders' funnel: what became of the follow-ups whose time had come."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy.orm import Session

from backend.app.followups.reasons import ReasonCode, status_reason
from backend.app.models import AutoState
from backend.app.operate.explain import meaning_of
from backend.app.store import report_figures
from backend.app.store.report_figures import FollowupCount


class Outcome(StrEnum):
    """Where a follow-up stands of which a reminder went out."""

    ANSWERED = "answered"
    PAID = "paid"
    ENDED = "ended"  # refused, accepted, cancelled, done, stopped by hand
    EXHAUSTED = "exhausted"  # every step went out
    HELD = "held"
    GOING_ON = "going_on"


@dataclass(frozen=True, slots=True)
class Why:
    """state: held, or waiting. reason: a code, and its meaning in words."""

    state: str
    reason: str
    meaning: str
    followups: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Funnel:
    """due: whose time had come: reminded, or held or put off before anything went out.

    reminded: of which a reminder went out in the period, each counted once; the sum of `outcomes`.
    mails: the reminders themselves. why: what is held or put off now, reminded before or not.
    """

    due: int
    reminded: int
    mails: int
    outcomes: dict[Outcome, int]
    why: list[Why]


def load_funnel(session: Session, company_id: int | None, since: datetime) -> Funnel:
    reminded = report_figures.count_reminded(session, company_id, since)
    held = report_figures.count_held(session, company_id, since)
    waiting = [
        each
        for each in report_figures.count_waiting(session, company_id, since)
        if each.reason != ReasonCode.NOT_DUE
    ]
    sent = report_figures.count_sent_by_company(session, company_id, since)
    return make_funnel(reminded, held, waiting, mails=sum(sent.values()))


def make_funnel(
    reminded: list[FollowupCount],
    held: list[FollowupCount],
    waiting: list[FollowupCount],
    *,
    mails: int,
) -> Funnel:
    """Pure."""
    outcomes = dict.fromkeys(Outcome, 0)
    for each in reminded:
        outcomes[outcome_of(each)] += each.followups
    went_out = sum(outcomes.values())
    not_yet = sum(each.followups for each in (*held, *waiting) if not each.lately)
    return Funnel(
        due=went_out + not_yet,
        reminded=went_out,
        mails=mails,
        outcomes=outcomes,
        why=[*_why("held", held), *_why("waiting", waiting)],
    )


def outcome_of(count: FollowupCount) -> Outcome:
    """The host application's word counts at once, though no run has looked at it yet."""
    if count.state == AutoState.HELD:
        return Outcome.HELD
    if count.state == AutoState.COMPLETED:
        return Outcome.EXHAUSTED
    if count.state == AutoState.STOPPED:
        named = {ReasonCode.ANSWERED: Outcome.ANSWERED, ReasonCode.PAID: Outcome.PAID}
        return next((named[each] for each in named if each == count.reason), Outcome.ENDED)
    word = status_reason(count.status)
    if word is ReasonCode.PAID:
        return Outcome.PAID
    if word is ReasonCode.ANSWERED:
        return Outcome.ANSWERED
    ended = (ReasonCode.DONE, ReasonCode.REFUSED, ReasonCode.CANCELLED, ReasonCode.ACCEPTED)
    return Outcome.ENDED if word in ended else Outcome.GOING_ON


def _why(state: str, counts: list[FollowupCount]) -> list[Why]:
    """The most frequent first."""
    sums: Counter[str] = Counter()
    for each in counts:
        sums[each.reason or ""] += each.followups
    return [Why(state, code, meaning_of(code) or "", n) for code, n in sums.most_common()]
