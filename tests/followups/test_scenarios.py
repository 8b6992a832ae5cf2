"""The table of scenarios: what is known, the rules, and the time; what is decided, why, and when
the follow-up is looked at next. Times are UTC; the company is in Paris, in winter one hour ahead.

Each of the field's worst stories is told by name: no reminder 100 times, no second before the
first, none an hour off, none at night or on a Sunday, none after an answer or a payment.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.app.followups.budgets import check_budgets
from backend.app.followups.calendar import OpeningHours
from backend.app.followups.facts import Decision, FollowupFacts, Hold, Send, Stop, Wait
from backend.app.followups.policy import decide, next_look
from backend.app.followups.reasons import ReasonCode
from backend.app.followups.settings import FollowupRules, load_rules
from backend.app.store.records import Spent


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# An invoice due on Tuesday 17 November 2026: steps on the 24th, 1 and 8 December at 9:00 in Paris.
FACTS = FollowupFacts(
    type="invoice_unpaid",
    status="pending",
    auto_enabled=True,
    due_date=date(2026, 11, 17),
    created_at=utc("2026-10-17T10:00"),
    steps_sent=0,
    last_step_at=None,
    auto_stop_on_response=True,
    auto_stop_on_paid=True,
    auto_stop_on_refused=True,
    answered_at=None,
    has_address=True,
    fresh_at=None,
    time_zone="Europe/Paris",
    country="FR",
)
DUE = "2026-11-24T08:00"
ONE = {"steps_sent": 1, "last_step_at": utc("2026-11-24T08:00")}
TWO = {"steps_sent": 2, "last_step_at": utc("2026-12-01T08:00")}
THREE = {"steps_sent": 3, "last_step_at": utc("2026-12-08T08:00")}
ANSWERED = {"answered_at": utc("2026-11-24T07:30")}
BEFORE_DUE: dict[str, Any] = {
    "invoice_unpaid": {"steps": [{"days_from_due": -5}, {"days_from_due": 3}, {"days_from_due": 9}]}
}
RELATIVE: dict[str, Any] = {
    "invoice_unpaid": {
        "steps": [
            {"days_from_due": 7},
            {"days_after_previous": 6},
            {"days_after_previous": 8, "channel": "sms"},
        ]
    }
}
ONLY_BEFORE: dict[str, Any] = {"invoice_unpaid": {"steps": [{"days_from_due": -5}]}}
SATURDAYS = {"window": {"days": ["mon", "tue", "wed", "thu", "fri", "sat"]}}
MOSELLE = {"holidays": {"country": "FR", "region": "57"}}
NIGHTLY = {"window": {"days": ["sun"], "opens": "02:15", "closes": "02:45"}}
NEXT = "2026-12-01T08:00"  # when the second step is due
AWAY = {"back_on": date(2026, 11, 30)}

# what happens | rules | facts besides | now | decision | reason | next look
Row = tuple[str, dict[str, Any], dict[str, Any], str, str, str, str | None]
TABLE: list[Row] = [
    # -- what is due goes out
    ("due to the minute", {}, {}, DUE, "send 1", "due", NEXT),
    ("a minute early", {}, {}, "2026-11-24T07:59", "wait", "not_due", DUE),
    ("weeks early", {}, {}, "2026-11-01T12:00", "wait", "not_due", DUE),
    ("late in the day", {}, {}, "2026-11-24T17:59", "send 1", "due", NEXT),
    ("the second, in its turn", {}, ONE, NEXT, "send 2", "due", "2026-12-08T08:00"),
    ("the second, not yet", {}, ONE, "2026-11-30T12:00", "wait", "not_due", NEXT),
    ("the third and last", {}, TWO, "2026-12-08T08:00", "send 3", "due", "2026-12-13T08:00"),
    ("all went out", {}, THREE, "2026-12-13T08:00", "stop", "completed", None),
    # -- stops
    ("switched off", {}, {"auto_enabled": False}, DUE, "stop", "disabled", None),
    ("done", {}, {"status": "terminé"}, DUE, "stop", "done", None),
    ("paid", {}, {"status": "payée"}, DUE, "stop", "paid", None),
    ("paid before the second", {}, ONE | {"status": "paid"}, NEXT, "stop", "paid", None),
    ("refused", {}, {"status": "refusé"}, DUE, "stop", "refused", None),
    ("accepted", {}, {"status": "signé"}, DUE, "stop", "accepted", None),
    ("cancelled", {}, {"status": "annulée"}, DUE, "stop", "cancelled", None),
    ("answered", {}, ANSWERED, DUE, "stop", "answered", None),
    ("answered after the last", {}, THREE | ANSWERED, "2026-12-13T08:00", "stop", "answered", None),
    ("answered at night", {}, ANSWERED, "2026-11-24T02:00", "stop", "answered", None),
    (
        "an answer that the type does not stop on",
        {"invoice_unpaid": {"stop_on": ["paid"]}},
        ANSWERED,
        DUE,
        "send 1",
        "due",
        NEXT,
    ),
    (
        "accepted, for a project that waits for more",
        {"invoice_unpaid": {"stop_on": ["paid", "answered"]}},
        {"status": "accepted"},
        DUE,
        "send 1",
        "due",
        NEXT,
    ),
    # -- holds
    ("paused", {}, {"status": "en pause"}, DUE, "hold", "paused", None),
    ("disputed", {}, {"status": "en litige"}, DUE, "hold", "disputed", None),
    ("a word that nobody knows", {}, {"status": "xyz"}, DUE, "hold", "unknown_status", None),
    ("wants no reminders", {}, {"do_not_contact": True}, DUE, "hold", "do_not_contact", None),
    (
        "called a mail of ours unwanted",
        {},
        ONE | {"complained_at": utc("2026-11-24T09:00")},
        NEXT,
        "hold",
        "complained",
        None,
    ),
    ("no address", {}, {"has_address": False}, DUE, "hold", "no_address", None),
    ("no such type", {}, {"type": "birthday"}, DUE, "hold", "unknown_type", None),
    ("no due date", {}, {"due_date": None}, DUE, "hold", "no_due_date", None),
    ("no such zone", {}, {"time_zone": "Europe/Lutetia"}, DUE, "hold", "unknown_time_zone", None),
    (
        "came back for good",
        {},
        ONE | {"hard_bounce_at": utc("2026-11-24T08:01")},
        NEXT,
        "hold",
        "bounced_hard",
        None,
    ),
    (
        "came back, and a person has looked",
        {},
        ONE | {"hard_bounce_at": utc("2026-11-24T08:01"), "approved_at": utc("2026-11-25T08:00")},
        NEXT,
        "send 2",
        "due",
        "2026-12-08T08:00",
    ),
    (
        "three came back for passing reasons",
        {},
        ONE | {"soft_bounces": 3, "soft_bounce_at": utc("2026-11-25T08:00")},
        NEXT,
        "hold",
        "bounced_soft",
        None,
    ),
    (
        "paid although it bounced",
        {},
        {"hard_bounce_at": utc("2026-11-01T08:00"), "status": "paid"},
        DUE,
        "stop",
        "paid",
        None,
    ),
    # -- waits
    (
        "the last one was late",
        {},
        {"steps_sent": 1, "last_step_at": utc("2026-11-30T09:00")},
        NEXT,
        "wait",
        "min_gap",
        "2026-12-05T08:00",
    ),
    ("away", {}, AWAY, DUE, "wait", "out_of_office", "2026-11-30T08:00"),
    ("back today", {}, AWAY, "2026-11-30T08:00", "send 1", "due", "2026-12-05T08:00"),
    ("back long ago", {}, {"back_on": date(2026, 11, 3)}, DUE, "send 1", "due", NEXT),
    ("away for a year: a leaver", {}, {"back_on": date(2027, 11, 3)}, DUE, "send 1", "due", NEXT),
    (
        "has promised",
        {},
        {"promised_until": date(2026, 11, 26)},
        DUE,
        "wait",
        "promised",
        "2026-11-27T08:00",
    ),
    (
        "has broken the promise",
        {},
        {"promised_until": date(2026, 11, 26)},
        "2026-11-27T08:00",
        "send 1",
        "due",
        "2026-12-02T08:00",
    ),
    ("postponed", {}, {"postponed_until": date(2026, 12, 1)}, DUE, "wait", "postponed", NEXT),
    (
        "came back for a passing reason",
        {},
        ONE | {"soft_bounces": 1, "soft_bounce_at": utc("2026-11-30T10:00")},
        NEXT,
        "wait",
        "soft_bounce",
        "2026-12-02T10:00",
    ),
    (
        "tried again after two days",
        {},
        ONE | {"soft_bounces": 1, "soft_bounce_at": utc("2026-11-29T08:00")},
        NEXT,
        "send 2",
        "due",
        "2026-12-08T08:00",
    ),
    (
        "the mailbox was never read",
        {},
        {"fresh_at": "never"},
        DUE,
        "wait",
        "mailbox_not_fresh",
        "2026-11-24T08:05",
    ),
    (
        "the mailbox is behind",
        {},
        {"fresh_at": utc("2026-11-24T07:40")},
        DUE,
        "wait",
        "mailbox_not_fresh",
        "2026-11-24T08:05",
    ),
    # -- the window: the weekend spends no step, and nobody is written to at night
    ("at night", {}, {}, "2026-11-24T23:00", "wait", "outside_window", "2026-11-25T07:00"),
    (
        "at seven in the evening",
        {},
        {},
        "2026-11-24T18:00",
        "wait",
        "outside_window",
        "2026-11-25T07:00",
    ),
    (
        "due on a Saturday",
        {},
        {"due_date": date(2026, 11, 21)},
        "2026-11-28T08:00",
        "wait",
        "outside_window",
        "2026-11-30T07:00",
    ),
    (
        "sent on the Monday after",
        {},
        {"due_date": date(2026, 11, 21)},
        "2026-11-30T07:00",
        "send 1",
        "due",
        "2026-12-05T08:00",
    ),
    (
        "Saturdays are working days here",
        SATURDAYS,
        {"due_date": date(2026, 11, 21)},
        "2026-11-28T08:00",
        "send 1",
        "due",
        "2026-12-05T08:00",
    ),
    (
        "on Christmas Day",
        {},
        {"due_date": date(2026, 12, 18)},
        "2026-12-25T08:00",
        "wait",
        "outside_window",
        "2026-12-28T07:00",
    ),
    (
        "on Saint Stephen's in Moselle",
        MOSELLE,
        {"due_date": date(2028, 12, 19)},
        "2028-12-26T08:00",
        "wait",
        "outside_window",
        "2028-12-27T07:00",
    ),
    (
        "on Saint Stephen's in Paris",
        {},
        {"due_date": date(2028, 12, 19)},
        "2028-12-26T08:00",
        "send 1",
        "due",
        "2029-01-02T08:00",
    ),
    (
        "on Easter Monday",
        {},
        {"due_date": date(2027, 3, 22)},
        "2027-03-29T07:00",
        "wait",
        "outside_window",
        "2027-03-30T06:00",
    ),
    (
        "closed for the holidays",
        {"closures": [{"first_day": "2026-11-23", "last_day": "2026-12-04"}]},
        {},
        DUE,
        "wait",
        "outside_window",
        "2026-12-07T07:00",
    ),
    (
        "closed for good",
        {"closures": [{"first_day": "2026-11-01", "last_day": "2036-01-01"}]},
        {},
        DUE,
        "hold",
        "always_closed",
        None,
    ),
    # -- clock changes: 28 March 2027 and 31 October 2027
    (
        "an hour off after a clock change? no: nine is nine",
        {},
        {"due_date": date(2027, 3, 23)},
        "2027-03-30T06:59",
        "wait",
        "not_due",
        "2027-03-30T07:00",
    ),
    (
        "nine is nine in winter, too",
        {},
        {"due_date": date(2027, 10, 26)},
        "2027-11-02T07:59",
        "wait",
        "not_due",
        "2027-11-02T08:00",
    ),
    (
        "a window that does not exist this Sunday",
        NIGHTLY,
        {"due_date": date(2027, 3, 20)},
        "2027-03-28T00:30",
        "wait",
        "outside_window",
        "2027-04-04T00:15",
    ),
    (
        "a window that exists twice, in between",
        NIGHTLY,
        {"due_date": date(2027, 10, 23)},
        "2027-10-31T00:50",
        "wait",
        "outside_window",
        "2027-10-31T01:15",
    ),
    # -- after downtime: the current step, once
    (
        "nobody was reminded: never the second before the first",
        {},
        {},
        "2026-12-10T08:00",
        "send 1",
        "due",
        "2026-12-15T08:00",
    ),
    (
        "the second and the third were missed",
        {},
        ONE,
        "2026-12-14T08:00",
        "send 3 skipping 2",
        "due",
        "2026-12-19T08:00",
    ),
    (
        "the first was late: the second is not missed, it follows",
        {},
        {"steps_sent": 1, "last_step_at": utc("2026-12-10T08:00")},
        "2026-12-15T08:00",
        "send 2",
        "due",
        "2026-12-20T08:00",
    ),
    (
        "not the same one again an hour later",
        {},
        {"steps_sent": 3, "last_step_at": utc("2026-12-14T08:00")},
        "2026-12-14T09:00",
        "stop",
        "completed",
        None,
    ),
    ("old at activation", {}, {}, "2026-12-24T09:00", "hold", "too_old", None),
    (
        "a closure of a month is no delay of ours",
        {"closures": [{"first_day": "2026-11-20", "last_day": "2026-12-23"}]},
        {},
        "2026-12-24T09:00",
        "send 1",
        "due",
        "2026-12-29T08:00",
    ),
    (
        "a closure that began after it could have gone out is no excuse",
        {"closures": [{"first_day": "2026-11-26", "last_day": "2026-12-23"}]},
        {},
        "2026-12-24T09:00",
        "hold",
        "too_old",
        None,
    ),
    (
        "old, and approved",
        {},
        {"approved_at": utc("2026-12-24T08:30")},
        "2026-12-24T09:00",
        "send 1",
        "due",
        "2026-12-29T08:00",
    ),
    (
        "an approval lets one step go, not all",
        {},
        ONE | {"approved_at": utc("2026-11-20T08:00")},
        "2027-02-01T09:00",
        "hold",
        "too_old",
        None,
    ),
    (
        "a promise is no delay of ours",
        {},
        {"promised_until": date(2027, 1, 10)},
        "2027-01-11T08:00",
        "send 1",
        "due",
        "2027-01-16T08:00",
    ),
    # -- steps before the due date, and after the one before
    (
        "five days before it is due",
        BEFORE_DUE,
        {},
        "2026-11-12T08:00",
        "send 1",
        "due",
        "2026-11-20T08:00",
    ),
    (
        "the word before the due date was missed",
        BEFORE_DUE,
        {},
        "2026-11-20T08:00",
        "send 2 skipping 1",
        "due",
        "2026-11-26T08:00",
    ),
    (
        "on the due date itself it may still come",
        BEFORE_DUE,
        {},
        "2026-11-17T08:00",
        "send 1",
        "due",
        "2026-11-22T08:00",
    ),
    (
        "nothing is left but what had its time",
        ONLY_BEFORE,
        {},
        "2026-11-18T08:00",
        "stop",
        "expired",
        None,
    ),
    (
        "after the previous one, however late that was",
        RELATIVE,
        {"steps_sent": 1, "last_step_at": utc("2026-11-27T15:00")},
        "2026-12-03T07:59",
        "wait",
        "not_due",
        "2026-12-03T08:00",
    ),
    (
        "the previous one was late, then this",
        RELATIVE,
        {"steps_sent": 1, "last_step_at": utc("2026-11-27T15:00")},
        "2026-12-03T08:00",
        "send 2",
        "due",
        "2026-12-11T08:00",
    ),
    (
        "a text message to somebody without a number",
        RELATIVE,
        {"steps_sent": 2, "last_step_at": utc("2026-12-01T15:00")},
        "2026-12-09T08:00",
        "hold",
        "no_phone",
        None,
    ),
    (
        "a text message",
        RELATIVE,
        {"steps_sent": 2, "last_step_at": utc("2026-12-01T15:00"), "has_phone": True},
        "2026-12-09T08:00",
        "send 3",
        "due",
        "2026-12-14T08:00",
    ),
    (
        "no text message late in the evening",
        RELATIVE | {"window": {"closes": "23:00"}},
        {"steps_sent": 2, "last_step_at": utc("2026-12-01T15:00"), "has_phone": True},
        "2026-12-09T19:00",
        "wait",
        "outside_window",
        "2026-12-10T07:00",
    ),
    (
        "a text message to somebody whose mail came back",
        RELATIVE,
        {
            "steps_sent": 2,
            "last_step_at": utc("2026-12-01T15:00"),
            "has_phone": True,
            "has_address": False,
            "hard_bounce_at": utc("2026-12-01T15:10"),
            "soft_bounces": 3,
            "soft_bounce_at": utc("2026-12-09T07:00"),
        },
        "2026-12-09T08:00",
        "send 3",
        "due",
        "2026-12-14T08:00",
    ),
    (
        "no text message to somebody who wants none",
        RELATIVE,
        {
            "steps_sent": 2,
            "last_step_at": utc("2026-12-01T15:00"),
            "has_phone": True,
            "do_not_contact": True,
        },
        "2026-12-09T08:00",
        "hold",
        "do_not_contact",
        None,
    ),
]


def situation(now: str, changes: dict[str, Any]) -> tuple[FollowupFacts, datetime]:
    """The mailbox was read a minute ago, unless said otherwise."""
    moment = utc(now)
    fresh = changes.get("fresh_at", moment - timedelta(minutes=1))
    fresh = None if fresh == "never" else fresh
    return replace(FACTS, **(changes | {"fresh_at": fresh})), moment


def in_words(decision: Decision) -> str:
    if not isinstance(decision, Send):
        return type(decision).__name__.lower()
    skipped = f" skipping {', '.join(map(str, decision.skipped))}" if decision.skipped else ""
    return f"send {decision.step}{skipped}"


def looks_next(
    decision: Decision, facts: FollowupFacts, rules: FollowupRules, now: datetime
) -> datetime | None:
    if isinstance(decision, Wait):
        return decision.until
    if isinstance(decision, Send):
        after = replace(facts, steps_sent=decision.step, last_step_at=now)
        return next_look(after, rules, now)
    return None


@pytest.mark.parametrize(("_", "rules", "changes", "now", "said", "reason", "look"), TABLE)
def test_the_table_of_scenarios(
    _: str,
    rules: dict[str, Any],
    changes: dict[str, Any],
    now: str,
    said: str,
    reason: str,
    look: str | None,
) -> None:
    facts, moment = situation(now, changes)
    chosen = load_rules(rules)
    decision = decide(facts, chosen, moment)
    found = looks_next(decision, facts, chosen, moment)
    assert (in_words(decision), decision.reason.value, found) == (said, reason, look and utc(look))


# By the wording, the database, the budgets, the server or the run: their tests are elsewhere.
SAID_ELSEWHERE = {
    *(ReasonCode.ALREADY_SENT, ReasonCode.GIVEN_UP, ReasonCode.INTERNAL_ERROR),
    *(ReasonCode.MAIL_IN_QUARANTINE, ReasonCode.MISSING_VARIABLE, ReasonCode.NO_MAILBOX),
    *(ReasonCode.ON_ITS_WAY, ReasonCode.REFUSED_BY_SERVER, ReasonCode.RETRY_LATER),
    *(ReasonCode.SETTINGS_INVALID, ReasonCode.UNCERTAIN, ReasonCode.MISSED),
    *(ReasonCode.CLIENT_GAP, ReasonCode.MAILBOX_BUDGET, ReasonCode.RUN_BUDGET),
    *(ReasonCode.SURGE, ReasonCode.BOUNCE_BURST),
    *(ReasonCode.DOCUMENT_UNUSABLE, ReasonCode.WORDING_UNUSABLE, ReasonCode.MAIL_UNUSABLE),
    ReasonCode.REPLY_TO_UNREAD,
    *(ReasonCode.NO_SMS_ACCOUNT, ReasonCode.TEXT_TOO_LONG, ReasonCode.SENDER_NOT_CARRIED),
    *(ReasonCode.HISTORY_NOT_READ, ReasonCode.RESTORED),
}


def test_the_table_reaches_every_reason_and_has_rows_enough() -> None:
    reached = {ReasonCode(row[5]) for row in TABLE}
    assert reached == set(ReasonCode) - SAID_ELSEWHERE
    assert len(TABLE) >= 60
    assert len({row[0] for row in TABLE}) == len(TABLE)


# Random histories ---------------------------------------------------------------------------

HOUR = timedelta(hours=1)
START = utc("2027-03-01T00:00")
EVENTS = ["answer", "pay", "pause", "resume", "promise", "away", "bounce", "release", "edit"]
PARIS = ZoneInfo("Europe/Paris")


@st.composite
def some_plan(draw: st.DrawFn) -> dict[str, Any]:
    first = draw(st.integers(-5, 10))
    steps: list[dict[str, Any]] = [{"days_from_due": first}]
    for _ in range(draw(st.integers(0, 3))):
        absolute = [step["days_from_due"] for step in steps if "days_from_due" in step]
        if draw(st.booleans()):
            steps.append({"days_from_due": max(absolute) + draw(st.integers(1, 9))})
        else:
            steps.append({"days_after_previous": draw(st.integers(1, 9))})
    return {
        "invoice_unpaid": {"steps": steps, "min_gap_days": draw(st.integers(1, 6))},
        "budgets": {"client_gap_days": draw(st.integers(0, 4))},
        "closures": [{"first_day": "2027-03-15", "last_day": "2027-03-19"}],
    }


class History:
    """Two follow-ups of one client through some weeks of runs, outages and events."""

    def __init__(self, rules: FollowupRules, due: list[date]) -> None:
        self.rules = rules
        self.facts = [replace(FACTS, due_date=day, created_at=START) for day in due]
        self.look = [START for _ in due]
        self.ended: list[Decision | None] = [None for _ in due]
        self.sent: list[tuple[datetime, int, Send]] = []
        self.waits: list[tuple[datetime, Wait]] = []

    def happens(self, event: str, now: datetime) -> None:
        day = now.astimezone(PARIS).date()
        first = self.facts[0]
        changes: dict[str, dict[str, Any]] = {
            "answer": {"answered_at": now},
            "pay": {"status": "paid"},
            "pause": {"status": "paused"},
            "resume": {"status": "pending"},
            "promise": {"promised_until": day + timedelta(days=4)},
            "away": {"back_on": day + timedelta(days=3)},
            "bounce": {"hard_bounce_at": now},
            "release": {"approved_at": now},
            "edit": {"due_date": (first.due_date or day) + timedelta(days=2)},
        }
        self.facts[0] = replace(first, **changes[event])
        self.look[0] = now
        held = self.ended[0]
        if event in ("release", "resume") and isinstance(held, Hold):
            self.ended[0] = None

    def run(self, now: datetime) -> None:
        for which in range(len(self.facts)):
            if self.ended[which] is None and self.look[which] <= now:
                self.decide(which, now)

    def decide(self, which: int, now: datetime) -> None:
        facts = replace(self.facts[which], fresh_at=now)
        decision = decide(facts, self.rules, now)
        if isinstance(decision, Send):
            last = max((at for at, _, _ in self.sent), default=None)
            spent = Spent(client_mail_at=last)
            limited = check_budgets(spent, self.rules, PARIS, now, approved=facts.approved)
            decision = limited or decision
        if isinstance(decision, Wait):
            self.waits.append((now, decision))
            self.look[which] = decision.until
        elif isinstance(decision, Send):
            self.sent.append((now, which, decision))
            self.facts[which] = replace(facts, steps_sent=decision.step, last_step_at=now)
            self.look[which] = next_look(self.facts[which], self.rules, now)
        else:
            self.ended[which] = decision


@given(
    plan=some_plan(),
    due=st.lists(st.dates(date(2027, 2, 20), date(2027, 4, 10)), min_size=2, max_size=2),
    runs=st.lists(
        st.tuples(st.integers(1, 60), st.none() | st.sampled_from(EVENTS)), min_size=20, max_size=90
    ),
)
def test_no_random_history_floods_anybody_or_goes_on_after_a_stop(
    plan: dict[str, Any], due: list[date], runs: list[tuple[int, str | None]]
) -> None:
    """Never two mails inside the gap, never after a stop, never outside the window, never a step
    before an earlier one, and progress always: what has not ended waits for a later instant.
    """
    rules = load_rules(plan)
    history, now = History(rules, due), START
    stopped_at: datetime | None = None
    for hours, event in runs:
        now += HOUR * hours
        if event is not None:
            history.happens(event, now)
        if event in ("answer", "pay"):
            stopped_at = stopped_at or now
        history.run(now)
        if isinstance(history.ended[0], Stop):
            stopped_at = stopped_at or now

    if stopped_at is not None and "resume" not in [event for _, event in runs]:
        assert all(at < stopped_at for at, which, _ in history.sent if which == 0), "after a stop"
    assert all(wait.until > at for at, wait in history.waits), "waits without moving on"
    assert_nobody_is_flooded(history)
    for which in (0, 1):
        assert_steps_come_in_order(history, which)
    assert_it_ends(history, now)


def assert_nobody_is_flooded(history: History) -> None:
    open_hours = OpeningHours(PARIS, "FR", history.rules)
    assert all(open_hours.is_open(at) for at, _, _ in history.sent), "outside the window"
    days = [at.astimezone(PARIS).date() for at, _, _ in history.sent]
    gap = history.rules.budgets.client_gap_days
    assert all((later - earlier).days >= gap for earlier, later in pairwise(days))


def assert_steps_come_in_order(history: History, which: int) -> None:
    own = [(at, send) for at, follow, send in history.sent if follow == which]
    accounted = [n for _, send in own for n in (*send.skipped, send.step)]
    assert accounted == list(range(1, len(accounted) + 1)), "twice, out of order, or in silence"
    days = [at.astimezone(PARIS).date() for at, _ in own]
    gap = history.rules.invoice_unpaid.min_gap_days
    assert all((later - earlier).days >= gap for earlier, later in pairwise(days))


def assert_it_ends(history: History, now: datetime) -> None:
    """Left alone from here on, each follow-up sends what is left and ends, with a reason."""
    for _ in range(120):
        left = [history.look[n] for n in (0, 1) if history.ended[n] is None]
        if not left:
            break
        now = max(now, min(left))
        history.run(now)
    assert all(ended is not None and ended.reason for ended in history.ended)
    again = Counter((which, send.step) for _, which, send in history.sent)
    assert all(number == 1 for number in again.values()), "the same reminder again and again"
