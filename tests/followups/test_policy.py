"""What to do with a follow-up now: the table of rules, clock changes, and properties."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.app.followups.company_rules import WEEKDAYS
from backend.app.followups.policy import (
    Decision,
    FollowupFacts,
    Hold,
    Send,
    Stop,
    Wait,
    decide,
    next_look,
    stops_before_body,
)
from backend.app.followups.reasons import ReasonCode
from backend.app.followups.settings import FollowupRules, load_rules
from backend.app.followups.type_rules import FollowupType


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# Due on Friday 6 November 2026: steps on the 13th, 20th and 27th at 9:00 in Paris, 08:00 UTC.
NOW = utc("2026-11-13T08:00")
# Open at every hour and to whatever is old: windows and ages have their tests in test_scenarios.py.
OPEN_RULES: dict[str, Any] = {
    "window": {"days": list(WEEKDAYS), "opens": "00:00", "closes": "24:00"},
    "holidays": {"observed": False},
    "activation": {"hold_older_than_days": 3650},
}
DEFAULTS = load_rules(OPEN_RULES)
FACTS = FollowupFacts(
    type="invoice_unpaid",
    status="pending",
    auto_enabled=True,
    due_date=date(2026, 11, 6),
    created_at=utc("2026-10-06T10:00"),
    steps_sent=0,
    last_step_at=None,
    auto_stop_on_response=True,
    auto_stop_on_paid=True,
    auto_stop_on_refused=True,
    answered_at=None,
    has_address=True,
    fresh_at=NOW - timedelta(minutes=1),
    time_zone="Europe/Paris",
)


def invoice_rules(**changes: object) -> FollowupRules:
    return load_rules({**OPEN_RULES, "invoice_unpaid": changes})


def at(now: str, **changes: Any) -> tuple[FollowupFacts, datetime]:
    """FACTS with changes, at `now`, the mailbox synchronised a minute before unless changed."""
    moment = utc(now)
    return replace(FACTS, **({"fresh_at": moment - timedelta(minutes=1)} | changes)), moment


DUE = "2026-11-13T08:00"
ANSWER = utc("2026-11-10T12:00")
FIRST_SENT = {"steps_sent": 1, "last_step_at": utc("2026-11-13T08:00")}
SECOND_SENT = {"steps_sent": 2, "last_step_at": utc("2026-11-20T08:00")}
THIRD_SENT = {"steps_sent": 3, "last_step_at": utc("2026-11-27T08:00")}

TABLE: list[tuple[str, dict[str, Any], str, Decision]] = [
    # 13: what is due goes out, whatever open word the status has
    (DUE, {}, "due to the minute", Send(1)),
    ("2026-11-13T23:30", {}, "due, late in the day", Send(1)),
    ("2027-06-01T12:00", {}, "due for months: the first step still comes first", Send(1)),
    (DUE, {"status": "En attente"}, "open, in French", Send(1)),
    (DUE, {"status": "EN_RETARD"}, "open, as a constant", Send(1)),
    (DUE, {"status": "in-progress"}, "open, hyphenated", Send(1)),
    ("2026-11-20T08:00", FIRST_SENT, "second step", Send(2)),
    ("2026-11-27T08:00", SECOND_SENT, "third step", Send(3)),
    # 1: switched off
    (DUE, {"auto_enabled": False}, "switched off", Stop(ReasonCode.DISABLED)),
    (DUE, {"auto_enabled": False, "status": "paid"}, "off first", Stop(ReasonCode.DISABLED)),
    # 2: the status says that it has ended
    (DUE, {"status": "done"}, "done", Stop(ReasonCode.DONE)),
    (DUE, {"status": "Terminé"}, "done, in French", Stop(ReasonCode.DONE)),
    (DUE, {"status": "Termine\u0301e"}, "done, decomposed accent", Stop(ReasonCode.DONE)),
    (DUE, {"status": "paid"}, "paid", Stop(ReasonCode.PAID)),
    (DUE, {"status": " PAYÉ "}, "paid, in French", Stop(ReasonCode.PAID)),
    (DUE, {"status": "réglée"}, "settled", Stop(ReasonCode.PAID)),
    (DUE, {"status": "refused"}, "refused", Stop(ReasonCode.REFUSED)),
    (DUE, {"status": "refusé"}, "refused, in French", Stop(ReasonCode.REFUSED)),
    (DUE, {"status": "cancelled"}, "cancelled", Stop(ReasonCode.CANCELLED)),
    (DUE, {"status": "annulé"}, "cancelled, in French", Stop(ReasonCode.CANCELLED)),
    (DUE, {"status": "accepted"}, "accepted", Stop(ReasonCode.ACCEPTED)),
    (DUE, {"status": "Signé"}, "signed", Stop(ReasonCode.ACCEPTED)),
    (DUE, {"status": "répondu"}, "answered by telephone", Stop(ReasonCode.ANSWERED)),
    (DUE, {"status": "paid", "auto_stop_on_paid": False}, "flag off", Send(1)),
    (DUE, {"status": "refusé", "auto_stop_on_refused": False}, "flag off", Send(1)),
    (DUE, {"status": "answered", "auto_stop_on_response": False}, "flag off", Send(1)),
    (
        DUE,
        {"status": "paid", "auto_stop_on_refused": False, "auto_stop_on_response": False},
        "the other flags don't matter",
        Stop(ReasonCode.PAID),
    ),
    (
        DUE,
        {"status": "cancelled", "auto_stop_on_paid": False, "auto_stop_on_refused": False},
        "no flag lets a cancelled one go on",
        Stop(ReasonCode.CANCELLED),
    ),
    ("2026-11-01T08:00", {"status": "paid"}, "paid before due", Stop(ReasonCode.PAID)),
    # 3: answered
    (DUE, {"answered_at": ANSWER}, "answered", Stop(ReasonCode.ANSWERED)),
    ("2026-11-20T08:00", FIRST_SENT | {"answered_at": ANSWER}, "", Stop(ReasonCode.ANSWERED)),
    (DUE, {"answered_at": ANSWER, "auto_stop_on_response": False}, "flag off", Send(1)),
    (DUE, {"answered_at": ANSWER, "status": "paid"}, "status first", Stop(ReasonCode.PAID)),
    # 4: every step went out
    ("2026-12-04T08:00", THIRD_SENT, "all three sent", Stop(ReasonCode.COMPLETED)),
    (DUE, {"steps_sent": 7}, "the company has lowered the maximum", Stop(ReasonCode.COMPLETED)),
    (
        "2026-12-04T08:00",
        THIRD_SENT | {"answered_at": ANSWER},
        "an answer to the last one is an answer",
        Stop(ReasonCode.ANSWERED),
    ),
    (
        "2026-12-04T08:00",
        THIRD_SENT | {"status": "paused", "has_address": False, "due_date": None},
        "what has ended is not held",
        Stop(ReasonCode.COMPLETED),
    ),
    # 5: paused, or a word that might mean anything
    (DUE, {"status": "paused"}, "paused", Hold(ReasonCode.PAUSED)),
    (DUE, {"status": "en pause"}, "paused, in French", Hold(ReasonCode.PAUSED)),
    (DUE, {"status": "frobnicated"}, "unknown word", Hold(ReasonCode.UNKNOWN_STATUS)),
    (DUE, {"status": ""}, "empty", Hold(ReasonCode.UNKNOWN_STATUS)),
    (DUE, {"status": "non payé"}, "a word within is no word", Hold(ReasonCode.UNKNOWN_STATUS)),
    (
        DUE,
        {"status": "paused", "answered_at": ANSWER},
        "stops before holds",
        Stop(ReasonCode.ANSWERED),
    ),
    # 6 to 9: a person has to look
    (DUE, {"has_address": False}, "no address", Hold(ReasonCode.NO_ADDRESS)),
    ("2026-11-01T08:00", {"has_address": False}, "told early", Hold(ReasonCode.NO_ADDRESS)),
    (DUE, {"type": "invoice"}, "unknown type", Hold(ReasonCode.UNKNOWN_TYPE)),
    (DUE, {"type": "invoice", "status": "paid"}, "stops first", Stop(ReasonCode.PAID)),
    (DUE, {"due_date": None}, "no due date", Hold(ReasonCode.NO_DUE_DATE)),
    (DUE, {"due_date": date.max}, "impossible date", Hold(ReasonCode.NO_DUE_DATE)),
    (DUE, {"due_date": date.min}, "impossible date", Hold(ReasonCode.NO_DUE_DATE)),
    (DUE, {"time_zone": "Europe/Lutetia"}, "no zone", Hold(ReasonCode.UNKNOWN_TIME_ZONE)),
    (DUE, {"time_zone": "../../etc/passwd"}, "hostile", Hold(ReasonCode.UNKNOWN_TIME_ZONE)),
    (DUE, {"time_zone": ""}, "empty", Hold(ReasonCode.UNKNOWN_TIME_ZONE)),
    # 10: not due yet
    ("2026-11-13T07:59", {}, "a minute early", Wait(utc(DUE), ReasonCode.NOT_DUE)),
    ("2026-10-20T12:00", {}, "before the due date", Wait(utc(DUE), ReasonCode.NOT_DUE)),
    (
        "2026-11-18T08:00",
        FIRST_SENT,
        "second step not due, though the gap is over",
        Wait(utc("2026-11-20T08:00"), ReasonCode.NOT_DUE),
    ),
    (
        DUE,
        {"time_zone": "America/Guadeloupe"},
        "nine o'clock is the company's",
        Wait(utc("2026-11-13T13:00"), ReasonCode.NOT_DUE),
    ),
    (
        "2026-11-12T21:59",
        {"time_zone": "Pacific/Noumea"},
        "the day is the company's",
        Wait(utc("2026-11-12T22:00"), ReasonCode.NOT_DUE),
    ),
    ("2026-11-12T22:00", {"time_zone": "Pacific/Noumea"}, "already the 13th there", Send(1)),
    (
        "2026-11-12T12:00",
        {"fresh_at": None},
        "a mailbox that is behind is told when it matters",
        Wait(utc(DUE), ReasonCode.NOT_DUE),
    ),
    # 11: the gap after a late step
    (
        "2026-11-20T08:00",
        {"steps_sent": 1, "last_step_at": utc("2026-11-19T15:00")},
        "the first was late",
        Wait(utc("2026-11-24T08:00"), ReasonCode.MIN_GAP),
    ),
    (
        "2026-11-24T08:00",
        {"steps_sent": 1, "last_step_at": utc("2026-11-19T15:00")},
        "the gap is over",
        Send(2),
    ),
    (
        "2027-06-01T12:00",
        {"steps_sent": 1, "last_step_at": utc("2027-06-01T11:00")},
        "after a long outage: not one an hour",
        Wait(utc("2027-06-06T07:00"), ReasonCode.MIN_GAP),
    ),
    (
        "2026-11-22T08:00",
        {"steps_sent": 1, "last_step_at": utc("2026-11-18T23:30")},
        "half past midnight in Paris is the 19th",
        Wait(utc("2026-11-24T08:00"), ReasonCode.MIN_GAP),
    ),
    (
        "2026-11-20T08:00",
        {"steps_sent": 1, "created_at": utc("2026-11-19T15:00")},
        "taken over with a step sent at an unknown time",
        Wait(utc("2026-11-24T08:00"), ReasonCode.MIN_GAP),
    ),
    # 12: the freshness gate
    (DUE, {"fresh_at": None}, "", Wait(utc("2026-11-13T08:05"), ReasonCode.MAILBOX_NOT_FRESH)),
    (DUE, {"fresh_at": utc("2026-11-13T07:45")}, "fifteen minutes to the second", Send(1)),
    (
        DUE,
        {"fresh_at": utc("2026-11-13T07:44:59")},
        "a second too old",
        Wait(utc("2026-11-13T08:05"), ReasonCode.MAILBOX_NOT_FRESH),
    ),
    (DUE, {"fresh_at": utc("2026-11-13T08:00:30")}, "clocks differ a little", Send(1)),
    (
        DUE,
        {"fresh_at": utc("2026-11-14T08:00")},
        "a clock a day ahead proves nothing",
        Wait(utc("2026-11-13T08:05"), ReasonCode.MAILBOX_NOT_FRESH),
    ),
]


@pytest.mark.parametrize(
    ("now", "changes", "expected"),
    [(now, changes, expected) for now, changes, _, expected in TABLE],
    ids=[f"{row[3].reason}-{row[2] or index}" for index, row in enumerate(TABLE)],
)
def test_the_table_of_rules(now: str, changes: dict[str, Any], expected: Decision) -> None:
    facts, moment = at(now, **changes)
    assert decide(facts, DEFAULTS, moment) == expected


RULE_ROWS = [
    ({"delays_days": [0]}, "2026-11-06T08:00", {}, Send(1)),
    ({"delays_days": [3, 30]}, "2026-11-09T08:00", {}, Send(1)),
    ({"delays_days": [3, 30]}, "2026-11-20T08:00", FIRST_SENT, "2026-12-06T08:00"),
    ({"send_hour": 14}, "2026-11-13T12:59", {}, "2026-11-13T13:00"),
    ({"send_hour": 0}, "2026-11-12T23:00", {}, Send(1)),
    ({"maximum": 1}, "2026-11-20T08:00", FIRST_SENT, Stop(ReasonCode.COMPLETED)),
    ({"min_gap_days": 8}, "2026-11-20T08:00", FIRST_SENT, "2026-11-21T08:00"),
    ({"freshness_minutes": 120}, DUE, {"fresh_at": utc("2026-11-13T06:00")}, Send(1)),
    ({"freshness_minutes": 1}, DUE, {"fresh_at": utc("2026-11-13T07:58")}, "2026-11-13T08:05"),
]


@pytest.mark.parametrize(("changed", "now", "changes", "expected"), RULE_ROWS)
def test_the_rules_of_the_company_count(
    changed: dict[str, object], now: str, changes: dict[str, Any], expected: Decision | str
) -> None:
    facts, moment = at(now, **changes)
    decision = decide(facts, invoice_rules(**changed), moment)
    if isinstance(expected, str):
        assert isinstance(decision, Wait)
        assert decision.until == utc(expected)
    else:
        assert decision == expected


def test_the_rules_of_another_type_do_not_count() -> None:
    facts, moment = at(DUE, type="appointment")
    assert decide(facts, invoice_rules(delays_days=[300]), moment) == Send(1)


def test_every_reason_has_a_meaning_of_one_line() -> None:
    for reason in ReasonCode:
        assert reason.meaning
        assert reason.meaning.isprintable()
        assert ReasonCode(str(reason)) is reason


# Clock changes (I9) ------------------------------------------------------------------------------

CLOCK_CHANGES = [
    # 28 March 2027: 02:00 becomes 03:00 in Paris. 31 October 2027: 03:00 becomes 02:00.
    ("Europe/Paris", date(2027, 3, 27), 9, "2027-03-27T08:00"),
    ("Europe/Paris", date(2027, 3, 28), 9, "2027-03-28T07:00"),
    ("Europe/Paris", date(2027, 3, 28), 1, "2027-03-28T00:00"),
    ("Europe/Paris", date(2027, 3, 28), 2, "2027-03-28T01:00"),  # skipped: 03:00 summer time
    ("Europe/Paris", date(2027, 3, 28), 3, "2027-03-28T01:00"),
    ("Europe/Paris", date(2027, 10, 30), 9, "2027-10-30T07:00"),
    ("Europe/Paris", date(2027, 10, 31), 9, "2027-10-31T08:00"),
    ("Europe/Paris", date(2027, 10, 31), 2, "2027-10-31T00:00"),  # twice: the first time
    ("Europe/Paris", date(2027, 10, 31), 3, "2027-10-31T02:00"),
    ("America/Santiago", date(2027, 9, 5), 0, "2027-09-05T04:00"),  # midnight itself is skipped
    ("Australia/Lord_Howe", date(2027, 10, 3), 2, "2027-10-02T15:30"),  # a change of half an hour
    ("Pacific/Apia", date(2011, 12, 30), 9, "2011-12-30T19:00"),  # a whole day that never was
]


@pytest.mark.parametrize(("zone", "day", "hour", "expected"), CLOCK_CHANGES)
def test_a_step_on_a_clock_change_day_falls_due_once(
    zone: str, day: date, hour: int, expected: str
) -> None:
    rules = invoice_rules(delays_days=[7], send_hour=hour)
    facts = replace(FACTS, due_date=day - timedelta(days=7), time_zone=zone)
    due_at = utc(expected)
    early = due_at - timedelta(seconds=1)
    assert decide(facts, rules, early) == Wait(due_at, ReasonCode.NOT_DUE)
    assert decide(replace(facts, fresh_at=due_at), rules, due_at) == Send(1)


@pytest.mark.parametrize("change", [date(2027, 3, 28), date(2027, 10, 31)])
@pytest.mark.parametrize("hour", range(24))
def test_an_hourly_run_across_a_clock_change_sends_each_step_once(change: date, hour: int) -> None:
    rules = invoice_rules(delays_days=[1, 2, 3], min_gap_days=1, send_hour=hour)
    facts = replace(FACTS, due_date=change - timedelta(days=2))
    start = datetime.combine(change - timedelta(days=3), time(), tzinfo=UTC)
    sent = [when for when, _ in replay(facts, rules, [start + HOUR * n for n in range(24 * 7)])]
    local = [when.astimezone(ZoneInfo("Europe/Paris")) for when in sent]
    assert [when.date() for when in local] == [change + timedelta(days=n) for n in (-1, 0, 1)]
    skipped = change.month == 3 and hour == 2
    assert [when.hour for when in local] == [hour, hour + 1 if skipped else hour, hour]


def test_the_gap_ends_at_the_same_wall_clock_hour_across_a_clock_change() -> None:
    facts, moment = at(
        "2027-03-26T08:00",
        due_date=date(2027, 1, 1),
        steps_sent=1,
        last_step_at=utc("2027-03-25T08:00"),
    )
    assert decide(facts, DEFAULTS, moment) == Wait(utc("2027-03-30T07:00"), ReasonCode.MIN_GAP)


# Between DATA and the body -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"status": "paid"}, Stop(ReasonCode.PAID)),
        ({"status": "paid", "auto_stop_on_paid": False}, None),
        ({"status": "annulé"}, Stop(ReasonCode.CANCELLED)),
        ({"answered_at": ANSWER}, Stop(ReasonCode.ANSWERED)),
        ({"auto_enabled": False}, Stop(ReasonCode.DISABLED)),
        (THIRD_SENT, Stop(ReasonCode.COMPLETED)),
        ({"status": "paused"}, Hold(ReasonCode.PAUSED)),
        ({"has_address": False}, Hold(ReasonCode.NO_ADDRESS)),
        ({"type": "nonsense"}, Hold(ReasonCode.UNKNOWN_TYPE)),
        ({"due_date": None}, Hold(ReasonCode.NO_DUE_DATE)),
        ({"fresh_at": None}, None),
        ({"due_date": date(2027, 1, 1)}, None),
    ],
)
def test_before_the_body_the_stops_and_holds_are_asked_again_and_the_waits_are_not(
    changes: dict[str, Any], expected: Stop | Hold | None
) -> None:
    facts, moment = at(DUE, **changes)
    assert stops_before_body(facts, DEFAULTS, moment) == expected


# After a step ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "steps_sent", "changes", "expected"),
    [
        ("2026-11-13T08:03", 1, {}, "2026-11-20T08:00"),
        ("2026-11-20T08:03", 2, {}, "2026-11-27T08:00"),
        ("2026-11-19T15:00", 1, {}, "2026-11-24T08:00"),  # late: the gap counts
        ("2027-06-01T12:00", 1, {}, "2027-06-06T07:00"),  # long overdue: the gap counts
        ("2026-11-27T08:03", 3, {}, "2026-12-02T08:00"),  # the last: closed when the gap is over
        ("2026-11-13T08:03", 1, {"due_date": None}, "2026-11-13T08:03"),  # at once, to be held
        ("2026-11-13T08:03", 1, {"type": "nonsense"}, "2026-11-13T08:03"),
    ],
)
def test_when_a_follow_up_is_looked_at_next(
    now: str, steps_sent: int, changes: dict[str, Any], expected: str
) -> None:
    facts, moment = at(now, steps_sent=steps_sent, last_step_at=utc(now), **changes)
    assert next_look(facts, DEFAULTS, moment) == utc(expected)


def test_a_step_settled_long_after_it_went_out_is_looked_at_now() -> None:
    facts, moment = at("2027-01-10T10:00", **FIRST_SENT)
    assert next_look(facts, DEFAULTS, moment) == moment


# Properties --------------------------------------------------------------------------------------

HOUR = timedelta(hours=1)
ZONES = ["Europe/Paris", "America/Guadeloupe", "Australia/Lord_Howe", "America/Santiago", "UTC"]
DAYS = st.dates(date(2026, 1, 1), date(2028, 12, 31))
INSTANTS = st.datetimes(datetime(2026, 1, 1), datetime(2028, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
STATUSES = ["pending", "paid", "payé", "refusé", "done", "annulé", "accepted", "paused", "?"]


@st.composite
def some_rules(draw: st.DrawFn) -> FollowupRules:
    delays = sorted(draw(st.sets(st.integers(0, 60), min_size=1, max_size=5)))
    document = {
        "delays_days": delays,
        "maximum": draw(st.integers(1, len(delays))),
        "min_gap_days": draw(st.integers(1, 30)),
        "send_hour": draw(st.integers(0, 23)),
        "freshness_minutes": draw(st.integers(1, 120)),
    }
    return load_rules({**OPEN_RULES, **{kind.value: document for kind in FollowupType}})


@st.composite
def some_facts(draw: st.DrawFn) -> FollowupFacts:
    steps_sent = draw(st.integers(0, 5))
    return FollowupFacts(
        type=draw(st.sampled_from([*FollowupType, "nonsense"])),
        status=draw(st.sampled_from(STATUSES)),
        auto_enabled=draw(st.integers(0, 9)) > 0,
        due_date=draw(st.none() | DAYS),
        created_at=draw(INSTANTS),
        steps_sent=steps_sent,
        last_step_at=draw(INSTANTS | st.none()) if steps_sent else None,
        auto_stop_on_response=draw(st.booleans()),
        auto_stop_on_paid=draw(st.booleans()),
        auto_stop_on_refused=draw(st.booleans()),
        answered_at=draw(st.none() | INSTANTS),
        has_address=draw(st.integers(0, 9)) > 0,
        fresh_at=draw(st.none() | INSTANTS),
        time_zone=draw(st.sampled_from(ZONES)),
    )


def wall_clock_reaches(local: datetime, zone: str) -> datetime:
    """Return the first quarter of an hour, in UTC, at which clocks in `zone` show `local` or later.

    Found by looking at the clock, so that it shares nothing with the arithmetic that it checks.
    """
    moment = local.replace(tzinfo=UTC) - timedelta(hours=15)
    while moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None) < local:
        moment += timedelta(minutes=15)
    return moment


def replay(
    facts: FollowupFacts, rules: FollowupRules, runs: list[datetime]
) -> list[tuple[datetime, int]]:
    """Run the sender at each of these instants, and return when it sent which step."""
    sent: list[tuple[datetime, int]] = []
    look_at = runs[0]
    for now in runs:
        if now < look_at:
            continue
        decision = decide(replace(facts, fresh_at=now), rules, now)
        if isinstance(decision, Wait):
            look_at = decision.until
        elif isinstance(decision, Send):
            sent.append((now, decision.step))
            facts = replace(facts, steps_sent=decision.step, last_step_at=now)
            look_at = next_look(facts, rules, now)
        else:
            break
    return sent


@given(facts=some_facts(), rules=some_rules(), now=INSTANTS)
def test_never_sent_when_a_stop_or_a_hold_stands(
    facts: FollowupFacts, rules: FollowupRules, now: datetime
) -> None:
    barred = (
        not facts.auto_enabled
        or facts.status in {"done", "annulé", "accepted", "paused", "?"}
        or (facts.status in {"paid", "payé"} and facts.auto_stop_on_paid)
        or (facts.status == "refusé" and facts.auto_stop_on_refused)
        or (facts.answered_at is not None and facts.auto_stop_on_response)
        or not facts.has_address
        or facts.due_date is None
        or facts.type == "nonsense"
        or facts.steps_sent >= rules.invoice_unpaid.maximum
    )
    fresh = replace(facts, fresh_at=now)
    assert isinstance(decide(fresh, rules, now), Stop | Hold) is barred
    assert (stops_before_body(fresh, rules, now) is not None) is barred


OPEN: dict[str, Any] = {
    "type": "invoice_unpaid",
    "status": "pending",
    "auto_enabled": True,
    "answered_at": None,
    "has_address": True,
}


@given(facts=some_facts(), rules=some_rules(), due=DAYS, late=st.integers(-30, 30 * 48))
def test_sent_from_the_moment_at_which_it_is_due_and_never_before(
    facts: FollowupFacts, rules: FollowupRules, due: date, late: int
) -> None:
    chosen = rules.invoice_unpaid
    facts = replace(facts, **OPEN, due_date=due, steps_sent=0, last_step_at=None)
    local = datetime.combine(due + timedelta(days=chosen.delays_days[0]), time(chosen.send_hour))
    due_at = wall_clock_reaches(local, facts.time_zone)
    now = due_at + timedelta(minutes=late)
    decision = decide(replace(facts, fresh_at=now), rules, now)
    assert decision == (Send(1) if late >= 0 else Wait(due_at, ReasonCode.NOT_DUE))


@given(facts=some_facts(), rules=some_rules(), now=INSTANTS)
def test_never_sent_while_an_answer_may_lie_unread(
    facts: FollowupFacts, rules: FollowupRules, now: datetime
) -> None:
    limit = timedelta(minutes=rules.invoice_unpaid.freshness_minutes, seconds=1)
    for fresh_at in (None, now - limit, now + limit):
        decision = decide(replace(facts, fresh_at=fresh_at), rules, now)
        assert not isinstance(decision, Send)


@given(facts=some_facts(), rules=some_rules(), now=INSTANTS)
def test_a_wait_always_moves_forward(
    facts: FollowupFacts, rules: FollowupRules, now: datetime
) -> None:
    decision = decide(facts, rules, now)
    if isinstance(decision, Wait):
        assert decision.until > now
        assert decision.until.tzinfo is UTC
    assert next_look(facts, rules, now) >= now


@given(facts=some_facts(), rules=some_rules(), now=INSTANTS)
def test_no_follow_up_waits_for_ever(
    facts: FollowupFacts, rules: FollowupRules, now: datetime
) -> None:
    for _ in range(4):  # not due, gap, then the freshness gate opens
        decision = decide(replace(facts, fresh_at=now), rules, now)
        if not isinstance(decision, Wait):
            return
        now = decision.until
    pytest.fail("still waiting")


@given(
    facts=some_facts(),
    rules=some_rules(),
    due=DAYS,
    pauses=st.lists(st.integers(1, 24 * 40), min_size=5, max_size=60),
)
def test_in_any_rhythm_of_runs_steps_come_in_order_and_never_within_the_gap(
    facts: FollowupFacts, rules: FollowupRules, due: date, pauses: list[int]
) -> None:
    facts = replace(facts, **OPEN, due_date=due, steps_sent=0, last_step_at=None)
    runs = [datetime.combine(due, time(), tzinfo=UTC)]
    for hours in pauses:
        runs.append(runs[-1] + HOUR * hours)
    sent = replay(facts, rules, runs)
    steps = [step for _, step in sent]
    assert steps == sorted(set(steps)), "in order, each once; missed ones may be left out"
    assert steps[:1] in ([], [1]), "never the second before the first"
    assert all(step <= rules.invoice_unpaid.maximum for step in steps)
    days = [when.astimezone(ZoneInfo(facts.time_zone)).date() for when, _ in sent]
    for earlier, later in pairwise(days):
        assert (later - earlier).days >= rules.invoice_unpaid.min_gap_days
