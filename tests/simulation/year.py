"""A year of reminders, hour by hour, and the books held against what really happened.

    python -m tests.simulation.year [--followups 200] [--days 365] [--seed 1] [--postgresql]

Random replies, payments, absences and bounces; runs that start twice; killed runs; servers that
do not answer; outages of the sender and of the sync script of 1 to 10 days; both clock changes.
Prints what happened and every violation of I6 to I9; the exit status is 1 if there is any.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from backend.app.models import Company, Followup, OutboxMail
from backend.app.schema import upgrade
from tests.installation import Installation
from tests.simulation.place import fresh_database
from tests.simulation.world import HOUR, World, people_the_world, simulated

START = datetime(2027, 1, 4, tzinfo=UTC)
STEPS = [{"days_from_due": -4}, {"days_from_due": 5}, {"days_after_previous": 9}]
COMPANIES: list[tuple[str, str, dict[str, Any]]] = [
    (
        "Europe/Paris",
        "FR",
        {
            "budgets": {"client_gap_days": 3, "per_mailbox_per_day": 4},
            "invoice_unpaid": {"group": True},
        },
    ),
    ("Europe/Lisbon", "PT", {"invoice_unpaid": {"steps": STEPS, "min_gap_days": 4, "group": True}}),
    ("America/Guadeloupe", "FR", {"window": {"days": ["mon", "wed", "sat"], "opens": "10:00"}}),
]
# Written down here by hand, so that they share nothing with the code under test.
FREE_DAYS = {
    "FR": "01-01 03-29 05-01 05-06 05-08 05-17 07-14 08-15 11-01 11-11 12-25",
    "PT": "01-01 03-26 03-28 04-25 05-01 05-27 06-10 08-15 10-05 11-01 12-01 12-08 12-25",
}
OPENS = {"America/Guadeloupe": "10:00"}
DAYS = {"America/Guadeloupe": {0, 2, 5}}
GAPS = {"Europe/Paris": 3}
SHARES = {"Europe/Paris": 4}


def simulate(
    installation: Installation, *, followups: int, days: int, seed: int, start: datetime = START
) -> World:
    world = World(installation, random.Random(seed), start)
    people_the_world(world, COMPANIES, followups, days)
    with simulated(world):
        sender_rests = reader_rests = start
        for hour in range(days * 24):
            world.now = start + hour * HOUR
            sender_rests = _outage(world, sender_rests, "sender away", every_days=45)
            reader_rests = _outage(world, reader_rests, "reader away", every_days=15)
            world.reading = world.now >= reader_rests
            _life_goes_on(world)
            if world.now >= sender_rests and world.is_due():
                world.freshen()
                world.run("run")
        _all_is_quiet(world)
    return world


def _outage(world: World, until: datetime, name: str, *, every_days: int) -> datetime:
    if world.now >= until and world.chance.random() < 1 / (24 * every_days):
        world.note(name)
        return world.now + timedelta(days=world.chance.randint(1, 10))
    return until


def _life_goes_on(world: World) -> None:
    """What clients, servers and people do within this hour."""
    chance = world.chance
    for delivery in world.deliveries[-30:]:
        if not HOUR <= world.now - delivery.at < 200 * HOUR or chance.random() > 0.003:
            continue
        act = chance.random()
        if act < 0.35:
            world.answers(delivery.client)
        elif act < 0.6:
            back = (world.now + timedelta(days=chance.randint(1, 12))).date()
            world.answers(delivery.client, "auto_reply", back_on=back)
        elif act < 0.85:
            world.pays(delivery.followup)
        else:
            world.bounces(delivery, hard=act > 0.94)
    if world.now.hour == 12:
        world.copies_in_sent_are_read()
        world.people_settle_what_is_uncertain()


def _all_is_quiet(world: World) -> None:
    """Nothing goes wrong any more: within some months everything must come to its end."""
    world.mishaps, world.reading = False, True
    for _ in range(150 * 24):
        if world.has_ended():
            return
        world.now += HOUR
        if world.now.hour == 12:
            world.copies_in_sent_are_read()
            world.people_settle_what_is_uncertain()
        if world.is_due():
            world.freshen()
            world.run("run")


# The books ------------------------------------------------------------------------------------


def violations(world: World) -> list[str]:
    """What must never be, each in a line. Shares no code with what decides."""
    f = Followup
    followups = {row.id: row for row in world.rows(sa.select(f.__table__))}
    zones = {row.id: row for row in world.rows(sa.select(Company.__table__))}
    return [
        *_doubled_or_lost(world, followups),
        *_after_an_end(world, followups),
        *_floods(world, followups, zones),
        *_at_the_wrong_time(world, followups, zones),
        *_stuck(world, followups),
    ]


def _doubled_or_lost(world: World, followups: dict[int, Any]) -> list[str]:
    """I6: each step arrives once at most; what is called sent has arrived, and is in order."""
    o = OutboxMail
    arrived = Counter((d.followup, d.step) for d in world.deliveries)
    found = [f"I6 arrived {n} times: {key}" for key, n in arrived.items() if n > 1]
    for row in world.rows(sa.select(o.followup_id, o.step, o.state)):
        times = arrived[(row.followup_id, row.step)]
        if (row.state == "sent") != (times == 1):
            found.append(f"I6 arrived {times} times: {row}")
    for followup in followups:
        steps = [d.step for d in world.deliveries if d.followup == followup]
        if steps != sorted(set(steps)):
            found.append(f"I6 out of order: follow-up {followup} {steps}")
    return found


def _after_an_end(world: World, followups: dict[int, Any]) -> list[str]:
    """I7: nothing after an answer or a payment, from the instant at which it happened."""
    found = []
    for d in world.deliveries:
        answer, payment = world.answered.get(d.client), world.settled.get(d.followup)
        for name, ends in (("answer", answer), ("payment", payment)):
            if ends is not None and ends <= d.at:
                found.append(f"I7 after the {name} of {ends}: {d}")
        bounced = world.bounced.get(d.client)
        if bounced is not None and bounced + HOUR < d.at:
            found.append(f"I7 after it came back for good at {bounced}: {d}")
    return found


def _floods(world: World, followups: dict[int, Any], companies: dict[int, Any]) -> list[str]:
    """I8: the gap of a client across all follow-ups, and the mailbox's share of a day."""
    found = []
    by_client: dict[int, list[date]] = {}
    by_day: Counter[tuple[int, date]] = Counter()
    zone_of = {}
    mails = {d.mail: d for d in world.deliveries}  # whatever number of steps one carries
    for d in mails.values():
        zone = companies[followups[d.followup].company_id].timezone
        zone_of[d.mailbox] = zone_of[d.client] = zone
        day = d.at.astimezone(ZoneInfo(zone)).date()
        gap = GAPS.get(zone, 2)
        for before in by_client.setdefault(d.client, [])[-1:]:
            if (day - before).days < gap:
                found.append(f"I8 {day - before} after another one: {d}")
        by_client[d.client].append(day)
        by_day[(d.mailbox, day)] += 1
        if by_day[(d.mailbox, day)] > SHARES.get(zone, 300):
            found.append(f"I8 over the mailbox's share: {d}")
    return found


def _at_the_wrong_time(
    world: World, followups: dict[int, Any], companies: dict[int, Any]
) -> list[str]:
    """I8 and I9: by the wall clock, on a working day, never before its day at nine."""
    found = []
    for d in world.deliveries:
        company = companies[followups[d.followup].company_id]
        local = d.at.astimezone(ZoneInfo(company.timezone)).replace(tzinfo=None)
        opens = time.fromisoformat(OPENS.get(company.timezone, "08:00"))
        if not opens <= local.time() < time(19):
            found.append(f"I9 at {local}: {d}")
        free = f"{local:%m-%d}" in FREE_DAYS[company.country].split()
        if free or local.weekday() not in DAYS.get(company.timezone, {0, 1, 2, 3, 4}):
            found.append(f"I8 on {local:%A %d %B}: {d}")
        due = datetime.combine(followups[d.followup].due_date, time(9))
        if local < due + timedelta(days=_first_days(company.timezone, followups[d.followup].type)):
            found.append(f"I9 before its day: {d} {local}")
    return found


def _first_days(zone: str, type_: str) -> int:
    return -4 if zone == "Europe/Lisbon" and type_ == "invoice_unpaid" else 7


def _stuck(world: World, followups: dict[int, Any]) -> list[str]:
    """Never silently not at all: when all is quiet everything has ended, or says why it waits."""
    o = OutboxMail
    found = [
        f"I6 stuck in {row.state}: {row}"
        for row in world.rows(sa.select(o.followup_id, o.step, o.state))
        if row.state in ("claimed", "sending", "uncertain", "planned")
    ]
    for row in followups.values():
        if row.auto_state == "active" or not row.auto_reason:
            found.append(f"I6 follow-up {row.id} is {row.auto_state}: {row.auto_reason}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--followups", type=int, default=200)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgresql", action="store_true", help="on a server of its own")
    arguments = parser.parse_args()
    logging.getLogger("relance").setLevel(logging.CRITICAL)
    with fresh_database(postgresql=arguments.postgresql) as (url, directory):
        upgrade(url)
        installation = Installation(url, directory)
        world = simulate(
            installation, followups=arguments.followups, days=arguments.days, seed=arguments.seed
        )
        found = violations(world)
        installation.close()
    print(f"{len(world.deliveries)} steps arrived in {world.mails} mails;", world.counts)
    print(f"violations of I6 to I9: {len(found)}", *found[:20], sep="\n  ")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
