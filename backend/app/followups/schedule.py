"""When the steps of a follow-up fall due, and which one it is the turn of. Pure.

A step falls due on a day of the company's calendar at `send_hour` of its wall clock. An hour that a
clock change skips counts as the first instant after the gap, one that comes twice as its first
time: each step has exactly one UTC instant. The minimum gap is counted in the same way, in days up
to `send_hour`: counted in hours, every reminder of an hourly job would drift through the day.

After downtime it is the turn of the last step whose time has come, and the missed ones before it
are skipped: the client gets one mail, not the series. Missed is a step whose time came and went
since the last one was sent. So three kinds are never skipped: one that counts from the step before
it; the first one after the due date of a client who was not reminded since that date, who must not
be told of reminders that he never had; and those that such a late first one has pushed back, which
follow it at the minimum gap. A step that is planned before the due date is not sent after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from backend.app.followups.facts import FollowupFacts, Hold
from backend.app.followups.reasons import ReasonCode
from backend.app.followups.settings import FollowupRules
from backend.app.followups.type_rules import StepRule, TypeRules

# Beyond these a date is a typing error, and adding days to 9999-12-31 would overflow.
EARLIEST_DUE = date(1970, 1, 1)
LATEST_DUE = date(2199, 12, 31)


@dataclass(frozen=True, slots=True)
class Turn:
    """The step whose turn it is, when it falls due (aware UTC), and those that are skipped."""

    step: int
    due_at: datetime
    skipped: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Schedule:
    """The plan of one follow-up, in its company's zone."""

    rules: TypeRules
    due_date: date
    zone: ZoneInfo

    def turn(self, facts: FollowupFacts, now: datetime) -> Turn | None:
        """None when every step went out, or the rest had their time before the due date."""
        first = facts.steps_sent + 1
        steps = [n for n in range(first, len(self.rules.plan) + 1) if not self._expired(n, now)]
        if not steps:
            return None
        chosen = steps[0]
        for step in steps[1:]:
            if not self._may_be_skipped(chosen, facts) or not self._has_come(step, now):
                break
            chosen = step
        due_at = self._due_at(chosen, facts)
        return Turn(chosen, due_at, tuple(range(first, chosen)))

    def gap_end(self, facts: FollowupFacts) -> datetime | None:
        """None when no step went out."""
        last = facts.sent_before
        if last is None:
            return None
        return self.at_send_hour(self._day_of(last) + timedelta(days=self.rules.min_gap_days))

    def at_send_hour(self, day: date) -> datetime:
        # fold=0 means the first of two, and in a gap the offset from before it (PEP 495).
        local = datetime.combine(day, time(self.rules.send_hour), tzinfo=self.zone)
        return local.astimezone(UTC)

    def _rule(self, step: int) -> StepRule:
        return self.rules.plan[step - 1]

    def _day_of(self, moment: datetime) -> date:
        return moment.astimezone(self.zone).date()

    def _due_at(self, step: int, facts: FollowupFacts) -> datetime:
        rule, last = self._rule(step), facts.sent_before
        if rule.days_from_due is not None:
            return self.at_send_hour(self.due_date + timedelta(days=rule.days_from_due))
        # The first step has days_from_due, and this one's predecessor was not skipped; only rules
        # that were changed meanwhile lead here without one that went out.
        day = self.due_date if last is None else self._day_of(last)
        return self.at_send_hour(day + timedelta(days=rule.days_after_previous or 0))

    def _has_come(self, step: int, now: datetime) -> bool:
        days = self._rule(step).days_from_due
        return days is not None and self.at_send_hour(self.due_date + timedelta(days=days)) <= now

    def _expired(self, step: int, now: datetime) -> bool:
        days = self._rule(step).days_from_due
        return days is not None and days < 0 and self._day_of(now) > self.due_date

    def _may_be_skipped(self, step: int, facts: FollowupFacts) -> bool:
        days, last = self._rule(step).days_from_due, facts.sent_before
        if days is None:
            return False
        if days < 0:
            return True
        reminded = last is not None and self._day_of(last) >= self.due_date
        return reminded and last is not None and self._due_at(step, facts) > last


def schedule_of(facts: FollowupFacts, rules: FollowupRules) -> Schedule | Hold:
    """Hold: something that a plan needs is missing or unusable."""
    type_rules = rules.for_type(facts.type)
    if type_rules is None:
        return Hold(ReasonCode.UNKNOWN_TYPE)
    if facts.due_date is None or not EARLIEST_DUE <= facts.due_date <= LATEST_DUE:
        return Hold(ReasonCode.NO_DUE_DATE)
    zone = zone_of(facts.time_zone)
    if zone is None:
        return Hold(ReasonCode.UNKNOWN_TIME_ZONE)
    return Schedule(type_rules, facts.due_date, zone)


def zone_of(name: str) -> ZoneInfo | None:
    """None for what is no IANA zone."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # Not found; a path that leaves the zones' directory; 'Europe', which is one, or too long.
        return None
