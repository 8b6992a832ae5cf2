"""What to do with a follow-up now, and why. Pure: plain values and `now` in, a decision out.

The rules are asked in this order; the first that speaks decides. All stops come before all holds,
so that what has ended is never shown as waiting for a person, and all holds before all waits.

     #  when                                                      decision
     1  automatic reminders are switched off                      Stop  disabled
     2  the status says that it has ended (see reasons.py)        Stop  done, cancelled, accepted,
                                                                        paid*, refused*, answered*
     3  the client has answered                                   Stop  answered*
     4  every step went out                                       Stop  completed
     5  the status says paused, or is a word we don't know        Hold  paused, unknown_status
     6  there is no address to write to                           Hold  no_address
     7  there are no rules for its type                           Hold  unknown_type
     8  there is no due date                                      Hold  no_due_date
     9  the company's time zone is not an IANA zone               Hold  unknown_time_zone
    10  the next step is not due yet                              Wait  not_due
    11  the last step went out too short a time ago               Wait  min_gap
    12  an answer may lie unread in the reply mailbox             Wait  mailbox_not_fresh
    13  otherwise                                                 Send  due

    *  not if the follow-up's own flag (auto_stop_on_paid, ..._refused, ..._response) is off.

Stop: nothing goes out as long as the facts stay so. Hold: a person has to look.
Wait: look again at `until`, which is always later than `now`.

Time (I9). A step falls due on a date of the company's calendar at `send_hour` of its wall clock.
An hour that a clock change skips counts as the first instant after the gap, one that comes twice
as its first time: each step has exactly one UTC instant, so none is skipped and none comes twice.
The minimum gap is counted in the same way, in calendar days up to `send_hour`: counted in hours,
every reminder of an hourly job would slip to the next run and drift through the day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from backend.app.followups.reasons import ReasonCode, status_reason
from backend.app.followups.settings import FollowupRules, TypeRules

__all__ = [
    "Decision",
    "FollowupFacts",
    "Hold",
    "ReasonCode",
    "Send",
    "Stop",
    "Wait",
    "decide",
    "next_look",
    "stops_before_body",
]

FRESHNESS_RETRY = timedelta(minutes=5)
# Beyond these a date is a typing error, and adding days to 9999-12-31 would overflow.
EARLIEST_DUE = date(1970, 1, 1)
LATEST_DUE = date(2199, 12, 31)
_HOLDING = (ReasonCode.PAUSED, ReasonCode.UNKNOWN_STATUS)


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowupFacts:
    """What is known of one follow-up, read under its claim. Instants are aware UTC.

    type, status   the host application's words, as they stand in the row
    due_date       in the company's own calendar; None when nobody gave one
    steps_sent     how many steps went out, settled ones only
    last_step_at   when the last of them went out; None before the first
    answered_at    the newest human message of the client since the last step, or since created_at
                   when no step went out; None when there is none
    has_address    the client has an address that mail can be sent to
    fresh_at       everything that reached the reply mailbox before this instant is in the inbox;
                   None when that mailbox was never synchronised
    time_zone      the company's IANA zone
    """

    type: str
    status: str
    auto_enabled: bool
    due_date: date | None
    created_at: datetime
    steps_sent: int
    last_step_at: datetime | None
    auto_stop_on_response: bool
    auto_stop_on_paid: bool
    auto_stop_on_refused: bool
    answered_at: datetime | None
    has_address: bool
    fresh_at: datetime | None
    time_zone: str


@dataclass(frozen=True, slots=True)
class Send:
    """Send step `step` (the first is 1) now."""

    step: int
    reason: ReasonCode = ReasonCode.DUE


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing now; look again at `until` (aware UTC, later than `now`)."""

    until: datetime
    reason: ReasonCode


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing any more, as long as the facts stay so."""

    reason: ReasonCode


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing until a person has looked. detail: which value is missing, for example."""

    reason: ReasonCode
    detail: str = ""


Decision = Send | Wait | Stop | Hold


def decide(facts: FollowupFacts, rules: FollowupRules, now: datetime) -> Decision:
    """Say what to do with a follow-up at `now` (aware UTC); the table above gives the order."""
    blocked = _stop(facts, rules) or _hold(facts)
    if blocked is not None:
        return blocked
    schedule = _schedule(facts, rules)
    if isinstance(schedule, Hold):
        return schedule
    return _wait(facts, schedule, now) or Send(facts.steps_sent + 1)


def stops_before_body(
    facts: FollowupFacts, rules: FollowupRules, now: datetime
) -> Stop | Hold | None:
    """Ask rules 1 to 9 again on fresh facts, after the server took DATA and before the body goes.

    None: go on. The waits are not asked again: the step was due when it was claimed.
    """
    schedule = _schedule(facts, rules)
    return _stop(facts, rules) or _hold(facts) or (schedule if isinstance(schedule, Hold) else None)


def next_look(facts_after_sent: FollowupFacts, rules: FollowupRules, now: datetime) -> datetime:
    """Return when (aware UTC, never before `now`) to look again at a follow-up whose step went out.

    That is when the next step is due and the gap is over; after the last step when the gap is over,
    so that an answer to it still counts as one before the follow-up is closed as completed.
    With facts that call for a hold it is `now`, so that the next run says so.
    """
    schedule = _schedule(facts_after_sent, rules)
    if isinstance(schedule, Hold):
        return now
    moments = [now, schedule.gap_end(facts_after_sent) or now]
    if facts_after_sent.steps_sent < schedule.rules.maximum:
        moments.append(schedule.step_due_at(facts_after_sent.steps_sent + 1))
    return max(moments)


def _stop(facts: FollowupFacts, rules: FollowupRules) -> Stop | None:
    status = _status_reason(facts)
    type_rules = rules.for_type(facts.type)
    if not facts.auto_enabled:
        return Stop(ReasonCode.DISABLED)
    if status is not None and status not in _HOLDING:
        return Stop(status)
    if facts.answered_at is not None and facts.auto_stop_on_response:
        return Stop(ReasonCode.ANSWERED)
    if type_rules is not None and facts.steps_sent >= type_rules.maximum:
        return Stop(ReasonCode.COMPLETED)
    return None


def _hold(facts: FollowupFacts) -> Hold | None:
    status = _status_reason(facts)
    if status in _HOLDING:
        return Hold(status)
    if not facts.has_address:
        return Hold(ReasonCode.NO_ADDRESS)
    return None


def _wait(facts: FollowupFacts, schedule: _Schedule, now: datetime) -> Wait | None:
    due_at = schedule.step_due_at(facts.steps_sent + 1)
    if now < due_at:
        return Wait(due_at, ReasonCode.NOT_DUE)
    gap_end = schedule.gap_end(facts)
    if gap_end is not None and now < gap_end:
        return Wait(gap_end, ReasonCode.MIN_GAP)
    if not _is_fresh(facts.fresh_at, schedule.rules, now):
        return Wait(now + FRESHNESS_RETRY, ReasonCode.MAILBOX_NOT_FRESH)
    return None


def _is_fresh(fresh_at: datetime | None, rules: TypeRules, now: datetime) -> bool:
    # Both ways: a host whose clock runs far ahead must not hold the gate open for days.
    return fresh_at is not None and abs(now - fresh_at) <= timedelta(
        minutes=rules.freshness_minutes
    )


@dataclass(frozen=True, slots=True)
class _Schedule:
    rules: TypeRules
    due_date: date
    zone: ZoneInfo

    def step_due_at(self, step: int) -> datetime:
        days = self.rules.plan[step - 1].days_from_due or 0
        return self._at_send_hour(self.due_date + timedelta(days=days))

    def gap_end(self, facts: FollowupFacts) -> datetime | None:
        """None when no step went out."""
        last = facts.last_step_at
        if last is None and facts.steps_sent:
            last = facts.created_at  # taken over from elsewhere with steps already sent
        if last is None:
            return None
        day = last.astimezone(self.zone).date() + timedelta(days=self.rules.min_gap_days)
        return self._at_send_hour(day)

    def _at_send_hour(self, day: date) -> datetime:
        # fold=0 means the first of two, and in a gap the offset from before it (PEP 495).
        local = datetime.combine(day, time(self.rules.send_hour), tzinfo=self.zone)
        return local.astimezone(UTC)


def _schedule(facts: FollowupFacts, rules: FollowupRules) -> _Schedule | Hold:
    type_rules = rules.for_type(facts.type)
    if type_rules is None:
        return Hold(ReasonCode.UNKNOWN_TYPE)
    if facts.due_date is None or not EARLIEST_DUE <= facts.due_date <= LATEST_DUE:
        return Hold(ReasonCode.NO_DUE_DATE)
    try:
        zone = ZoneInfo(facts.time_zone)
    except (KeyError, ValueError):  # not found; a path that leaves the zone directory
        return Hold(ReasonCode.UNKNOWN_TIME_ZONE)
    return _Schedule(type_rules, facts.due_date, zone)


def _status_reason(facts: FollowupFacts) -> ReasonCode | None:
    """None when the status leaves the follow-up open."""
    reason = status_reason(facts.status)
    switched_off = {
        ReasonCode.PAID: not facts.auto_stop_on_paid,
        ReasonCode.REFUSED: not facts.auto_stop_on_refused,
        ReasonCode.ANSWERED: not facts.auto_stop_on_response,
    }
    return None if reason is None or switched_off.get(reason, False) else reason
