"""What to do with a follow-up now, and why. Pure: plain values and `now` in, a decision out.

The rules are asked in this order; the first that speaks decides. All stops come before all holds,
so that what has ended is never shown as waiting for a person, and all holds before all waits, but
for the last two, which only what is about to go out can meet.

     #  when                                                      decision
     1  automatic reminders are switched off                      Stop  disabled
     2  the status says that it has ended (see reasons.py)        Stop  done, cancelled, accepted*,
                                                                        paid*, refused*, answered*
     3  the client has answered                                   Stop  answered*
     4  every step went out                                       Stop  completed
     5  the status says paused, disputed, or an unknown word      Hold  paused, disputed,
                                                                        unknown_status
     6  the client wants no reminders                             Hold  do_not_contact
     7  the client reported a mail of ours as unwanted            Hold  complained +
     8  a mail to this address came back for good                 Hold  bounced_hard +
     9  three came back for a passing reason                      Hold  bounced_soft +
    10  there are no rules for its type                           Hold  unknown_type
    11  there is no due date                                      Hold  no_due_date
    12  the company's time zone is not an IANA zone               Hold  unknown_time_zone
    13  what is left had its time before the due date             Stop  expired
    14  the client has no address, or number, for the step        Hold  no_address, no_phone
    15  the next step is not due yet                              Wait  not_due
    16  the last step went out too short a time ago               Wait  min_gap
    17  the client has promised to settle it by a later day       Wait  promised
    18  somebody has put it off to a later day                    Wait  postponed
    19  the client is away until a later day                      Wait  out_of_office
    20  a mail came back for a passing reason a short time ago    Wait  soft_bounce
    21  it could have gone out long ago                           Hold  too_old +
    22  it is outside the hours in which the company writes       Wait  outside_window
        and will be for years                                     Hold  always_closed
    23  an answer may lie unread in the reply mailbox             Wait  mailbox_not_fresh
    24  otherwise                                                 Send  due

    *  not if the follow-up's own flag (auto_stop_on_paid, ..._refused, ..._response) is off, or the
       rules of its type don't name it in `stop_on`
    +  a person's release lets the next step pass; what came back of mails (8, 9, 20) is nothing to
       a step that is a text message

Stop: nothing goes out as long as the facts stay so. Hold: a person has to look.
Wait: look again at `until`, which is always later than `now`. Waiting spends no step.
What may go out must fit the budgets, too: budgets.py.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

from backend.app.channel import Channel
from backend.app.followups.calendar import OpeningHours
from backend.app.followups.company_rules import SMS_WINDOW
from backend.app.followups.facts import (
    Decision,
    FollowupFacts,
    Hold,
    Send,
    Stop,
    Wait,
)
from backend.app.followups.reasons import ReasonCode, status_reason
from backend.app.followups.schedule import Schedule, Turn, schedule_of
from backend.app.followups.settings import FollowupRules

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
SOFT_BOUNCE_PAUSE = timedelta(days=2)
MOST_SOFT_BOUNCES = 3
# A notice that names a day further off is a mistake, or a leaver's: the reminders go on.
LONGEST_ABSENCE = timedelta(days=90)
ONE_DAY = timedelta(days=1)
_HOLDING = (ReasonCode.PAUSED, ReasonCode.DISPUTED, ReasonCode.UNKNOWN_STATUS)


def decide(facts: FollowupFacts, rules: FollowupRules, now: datetime) -> Decision:
    """Say what to do with a follow-up at `now` (aware UTC); the table above gives the order."""
    channel = next_channel(facts, rules, now)
    facts = _as_seen_by(channel, facts)
    blocked = _stop(facts, rules) or _hold(facts)
    if blocked is not None:
        return blocked
    schedule = schedule_of(facts, rules)
    if isinstance(schedule, Hold):
        return schedule
    turn = schedule.turn(facts, now)
    if turn is None:
        return Stop(ReasonCode.EXPIRED)
    return (
        _unreachable(facts, channel)
        or _wait(facts, schedule, turn, now)
        or _gates(facts, rules, schedule, turn, channel, now)
        or Send(turn.step, skipped=turn.skipped, channel=channel)
    )


def stops_before_body(
    facts: FollowupFacts, rules: FollowupRules, now: datetime, channel: Channel = Channel.EMAIL
) -> Stop | Hold | Wait | None:
    """Ask again on fresh facts, after the server took DATA and before the body goes.

    None: go on. channel: of the claimed step. The plan, the window and the freshness are not asked
    again: they held when the step was claimed, a moment ago.
    """
    facts = _as_seen_by(channel, facts)
    blocked = _stop(facts, rules) or _hold(facts)
    if blocked is not None:
        return blocked
    schedule = schedule_of(facts, rules)
    if isinstance(schedule, Hold):
        return schedule
    return _unreachable(facts, channel) or _put_off(facts, schedule, now)


def next_look(facts_after_sent: FollowupFacts, rules: FollowupRules, now: datetime) -> datetime:
    """Return when (aware UTC, never before `now`) to look again at a follow-up whose step went out.

    That is when the next step is due and the gap is over; after the last step when the gap is over,
    so that an answer to it still counts as one before the follow-up is closed as completed.
    With facts that call for a hold it is `now`, so that the next run says so.
    """
    schedule = schedule_of(facts_after_sent, rules)
    if isinstance(schedule, Hold):
        return now
    moments = [now, schedule.gap_end(facts_after_sent) or now]
    turn = schedule.turn(facts_after_sent, now)
    if turn is not None:
        moments.append(turn.due_at)
    return max(moments)


def next_channel(facts: FollowupFacts, rules: FollowupRules, now: datetime) -> Channel:
    """By which way the step whose turn it is would go; e-mail where there is none."""
    schedule = schedule_of(facts, rules)
    turn = None if isinstance(schedule, Hold) else schedule.turn(facts, now)
    if turn is None or isinstance(schedule, Hold):
        return Channel.EMAIL
    return schedule.rules.channel_of(turn.step)


def _as_seen_by(channel: Channel, facts: FollowupFacts) -> FollowupFacts:
    """A text message reaches whom no mail does: what came back of mails says nothing of it."""
    if channel is Channel.EMAIL:
        return facts
    return replace(facts, hard_bounce_at=None, soft_bounces=0, soft_bounce_at=None)


def _stop(facts: FollowupFacts, rules: FollowupRules) -> Stop | None:
    status = _status_reason(facts, rules)
    type_rules = rules.for_type(facts.type)
    if not facts.auto_enabled:
        return Stop(ReasonCode.DISABLED)
    if status is not None and status not in _HOLDING:
        return Stop(status)
    if facts.answered_at is not None and _stops_on(ReasonCode.ANSWERED, facts, rules):
        return Stop(ReasonCode.ANSWERED)
    if type_rules is not None and facts.steps_sent >= type_rules.maximum:
        return Stop(ReasonCode.COMPLETED)
    return None


def _hold(facts: FollowupFacts) -> Hold | None:
    status = status_reason(facts.status)
    if status in _HOLDING:
        return Hold(status)
    if facts.do_not_contact:
        return Hold(ReasonCode.DO_NOT_CONTACT)
    if facts.complained_at is not None and not _approved_since(facts, facts.complained_at):
        return Hold(ReasonCode.COMPLAINED)
    if facts.hard_bounce_at is not None and not _approved_since(facts, facts.hard_bounce_at):
        return Hold(ReasonCode.BOUNCED_HARD)
    if facts.soft_bounces >= MOST_SOFT_BOUNCES and not _approved_since(facts, facts.soft_bounce_at):
        return Hold(ReasonCode.BOUNCED_SOFT, f"{facts.soft_bounces} mails came back")
    return None


def _approved_since(facts: FollowupFacts, moment: datetime | None) -> bool:
    approved = facts.approved_at
    return approved is not None and moment is not None and approved >= moment


def _unreachable(facts: FollowupFacts, channel: Channel) -> Hold | None:
    if channel is Channel.SMS:
        return None if facts.has_phone else Hold(ReasonCode.NO_PHONE)
    return None if facts.has_address else Hold(ReasonCode.NO_ADDRESS)


def _wait(facts: FollowupFacts, schedule: Schedule, turn: Turn, now: datetime) -> Wait | None:
    if now < turn.due_at:
        return Wait(turn.due_at, ReasonCode.NOT_DUE)
    gap_end = schedule.gap_end(facts)
    if gap_end is not None and now < gap_end:
        return Wait(gap_end, ReasonCode.MIN_GAP)
    return _put_off(facts, schedule, now)


def _put_off(facts: FollowupFacts, schedule: Schedule, now: datetime) -> Wait | None:
    """The waits that the client, a person or a bounce may bring about at any time."""
    for until, reason, detail in _puts_off(facts, schedule, now):
        if now < until:
            return Wait(until, reason, detail)
    return None


def _puts_off(
    facts: FollowupFacts, schedule: Schedule, now: datetime
) -> list[tuple[datetime, ReasonCode, str]]:
    found: list[tuple[datetime, ReasonCode, str]] = []

    def on(day: date | None, reason: ReasonCode, detail: str) -> None:
        if day is not None and date.min < day < date.max:
            found.append((schedule.at_send_hour(day), reason, f"{detail} {day.isoformat()}"))

    promised = facts.promised_until
    if promised is not None and promised < date.max - ONE_DAY:
        on(promised + ONE_DAY, ReasonCode.PROMISED, "asked again on")
    on(facts.postponed_until, ReasonCode.POSTPONED, "until")
    if facts.back_on is not None and facts.back_on <= now.date() + LONGEST_ABSENCE:
        on(facts.back_on, ReasonCode.OUT_OF_OFFICE, "back on")
    if facts.soft_bounce_at is not None and not _approved_since(facts, facts.soft_bounce_at):
        found.append((facts.soft_bounce_at + SOFT_BOUNCE_PAUSE, ReasonCode.SOFT_BOUNCE, ""))
    return found


def _gates(
    facts: FollowupFacts,
    rules: FollowupRules,
    schedule: Schedule,
    turn: Turn,
    channel: Channel,
    now: datetime,
) -> Hold | Wait | None:
    also = SMS_WINDOW if channel is Channel.SMS else None
    hours = OpeningHours(schedule.zone, facts.country, rules, also)
    oldest = now - rules.activation.hold_older_than_days * ONE_DAY
    if not facts.approved and _could_have_gone_out(facts, schedule, turn, hours, now) < oldest:
        return Hold(ReasonCode.TOO_OLD, f"step {turn.step} was due {turn.due_at.date()}")
    opening = hours.next_opening(now)
    if opening is None:
        return Hold(ReasonCode.ALWAYS_CLOSED)
    if opening > now:
        return Wait(opening, ReasonCode.OUTSIDE_WINDOW)
    if not _is_fresh(facts.fresh_at, schedule.rules.freshness_minutes, now):
        return Wait(now + FRESHNESS_RETRY, ReasonCode.MAILBOX_NOT_FRESH)
    return None


def _could_have_gone_out(
    facts: FollowupFacts, schedule: Schedule, turn: Turn, hours: OpeningHours, now: datetime
) -> datetime:
    """Since when it could have gone out, or `now`; long after that nobody expects it any more.

    A wait for the client, the gap, other reminders to the client or the end of a closure is no
    delay of ours: it counts from the end of the last one.
    """
    ends = [until for until, _, _ in _puts_off(facts, schedule, now)]
    if facts.client_gap_until is not None:
        ends.append(facts.client_gap_until)
    ready_at = max(turn.due_at, schedule.gap_end(facts) or turn.due_at, *ends, turn.due_at)
    return hours.next_opening(min(ready_at, now)) or now


def _is_fresh(fresh_at: datetime | None, minutes: int, now: datetime) -> bool:
    # Both ways: a host whose clock runs far ahead must not hold the gate open for days.
    return fresh_at is not None and abs(now - fresh_at) <= timedelta(minutes=minutes)


def _status_reason(facts: FollowupFacts, rules: FollowupRules) -> ReasonCode | None:
    """None when the status leaves the follow-up open."""
    reason = status_reason(facts.status)
    return reason if reason is not None and _stops_on(reason, facts, rules) else None


def _stops_on(reason: ReasonCode, facts: FollowupFacts, rules: FollowupRules) -> bool:
    """Whether this reason ends it: by its own flag, and by what its type stops on."""
    flags = {
        ReasonCode.PAID: facts.auto_stop_on_paid,
        ReasonCode.REFUSED: facts.auto_stop_on_refused,
        ReasonCode.ANSWERED: facts.auto_stop_on_response,
        ReasonCode.ACCEPTED: True,
    }
    if reason not in flags:
        return True
    type_rules = rules.for_type(facts.type)
    return flags[reason] and (type_rules is None or reason.value in type_rules.stop_on)
