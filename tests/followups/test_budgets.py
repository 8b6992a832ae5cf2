"""Nobody is flooded (I8): the table of budgets, and two runs at the same instant."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from backend.app import db
from backend.app.followups import claim
from backend.app.followups.budgets import check_budgets, surge_limit
from backend.app.followups.policy import Hold, ReasonCode, Wait
from backend.app.followups.settings import FollowupRules, load_rules
from backend.app.models import OutboxMail
from backend.app.store.records import OutboxClaim, Spent
from tests.followups.office import LEASE_SECONDS, Office, freshen, open_office
from tests.installation import ALWAYS_OPEN

PARIS = ZoneInfo("Europe/Paris")
NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
TOMORROW = datetime(2026, 11, 24, 23, tzinfo=UTC)  # midnight in Paris


def mailed(text: str) -> Spent:
    return Spent(client_mail_at=datetime.fromisoformat(text).replace(tzinfo=UTC))


@pytest.mark.parametrize(
    ("spent", "expected"),
    [
        (Spent(), None),
        (mailed("2026-11-22T22:59"), None),  # the 22nd in Paris: two days ago
        (mailed("2026-11-22T23:01"), Wait(TOMORROW, ReasonCode.CLIENT_GAP, "next on 2026-11-25")),
        (
            mailed("2026-11-24T09:59"),
            Wait(TOMORROW + timedelta(days=1), ReasonCode.CLIENT_GAP, "next on 2026-11-26"),
        ),
        (Spent(client_waits=True), Wait(NOW + timedelta(minutes=5), ReasonCode.CLIENT_GAP)),
        (Spent(mailbox_today=299), None),
        (
            Spent(mailbox_today=300),
            Wait(TOMORROW, ReasonCode.MAILBOX_BUDGET, "300 sent today"),
        ),
        (Spent(in_run=199), None),
        (
            Spent(in_run=200),
            Wait(NOW + timedelta(minutes=5), ReasonCode.RUN_BUDGET, "200 sent"),
        ),
        (Spent(bounced_today=9), None),
        (Spent(bounced_today=10), Hold(ReasonCode.BOUNCE_BURST, "10 came back in a day")),
        (Spent(company_today=49), None),
        (Spent(company_today=50), Hold(ReasonCode.SURGE, "50 sent today")),
        (Spent(company_today=99, company_before=400), None),  # 20 on a usual day
        (Spent(company_today=100, company_before=400), Hold(ReasonCode.SURGE, "100 sent today")),
        (
            Spent(company_today=50, mailbox_today=300),
            Wait(TOMORROW, ReasonCode.MAILBOX_BUDGET, "300 sent today"),
        ),
    ],
)
def test_the_table_of_budgets(spent: Spent, expected: Wait | Hold | None) -> None:
    assert check_budgets(spent, FollowupRules(), PARIS, NOW, approved=False) == expected


def test_a_persons_word_lets_a_step_pass_the_breaker_and_nothing_else() -> None:
    rules = FollowupRules()

    def checked(**spent: Any) -> object:
        return check_budgets(Spent(**spent), rules, PARIS, NOW, approved=True)

    assert checked(company_today=999, bounced_today=99) is None
    assert checked(mailbox_today=999) is not None
    assert checked(client_mail_at=NOW) is not None


def test_the_usual_number_is_that_of_a_sending_day() -> None:
    week = {"window": {"days": ["mon", "wed"]}, "budgets": {"surge_minimum": 1}}
    assert surge_limit(Spent(company_before=80), load_rules(week)) == 5 * 10


def rules(**budgets: int) -> dict[str, Any]:
    return {"followups": {**ALWAYS_OPEN, "budgets": {"client_gap_days": 0, **budgets}}}


def two_invoices(office: Office, name: str = "client") -> list[int]:
    client = office.client(name)
    labels = ("Facture A", "Facture B")
    return [
        office.installation.add_followup(office.company, client, source_label=label)
        for label in labels
    ]


def test_a_client_gets_one_mail_of_all_his_followups_within_the_gap(office: Office) -> None:
    office.installation.set_settings(office.company, rules(client_gap_days=3))
    first, second = two_invoices(office)
    now = db.utc_now()

    assert office.send(now).counts == {"sent": 1, "waiting": 1}
    for days in (1, 2):
        assert office.send(now + timedelta(days=days)).counts == {}
    assert office.state(second)[1].startswith("client_gap: next on")
    assert office.send(now + timedelta(days=3)).counts == {"sent": 1}
    assert [office.followup(each).steps_sent for each in (first, second)] == [1, 1]


@pytest.mark.parametrize("workers", [2, 4])
def test_two_runs_at_the_same_instant_send_one_client_one_mail(
    office: Office, workers: int
) -> None:
    """The same reminder 100 times, and a client with 100 reminders, cannot happen."""
    office.installation.set_settings(office.company, rules(client_gap_days=2))
    pairs = [two_invoices(office, f"client{n}") for n in range(4)]
    freshen(office.installation, db.utc_now())
    start = threading.Barrier(workers)

    def work(number: int) -> list[OutboxClaim]:
        start.wait()
        won = []
        for pair in pairs:
            for followup in pair if number % 2 else reversed(pair):
                result = db.write(
                    claim.claim_followup, followup, str(number), LEASE_SECONDS, db.utc_now()
                )
                if result is not None and result[1] is not None:
                    won.append(result[1])
        return won

    with ThreadPoolExecutor(workers) as pool:
        won = [each for claims in pool.map(work, range(workers)) for each in claims]

    assert len(won) == len(pairs)
    assert len({office.outbox(each.followup_id).client_id for each in won}) == len(pairs)


@pytest.mark.parametrize("workers", [3])
def test_runs_at_the_same_instant_do_not_exceed_the_mailboxs_share(
    office: Office, workers: int
) -> None:
    office.installation.set_settings(office.company, rules(per_mailbox_per_day=2))
    followups = [office.reminder(f"client{n}") for n in range(6)]
    freshen(office.installation, db.utc_now())
    start = threading.Barrier(workers)

    def work(number: int) -> int:
        start.wait()
        mine = followups[number::workers]
        results = [
            db.write(claim.claim_followup, each, str(number), LEASE_SECONDS, db.utc_now())
            for each in mine
        ]
        return sum(1 for each in results if each is not None and each[1] is not None)

    with ThreadPoolExecutor(workers) as pool:
        assert sum(pool.map(work, range(workers))) == 2


def test_a_run_sends_the_companys_share_and_the_rest_in_the_next_ones(office: Office) -> None:
    office.installation.set_settings(office.company, rules(per_run=2))
    other = office.installation.add_company("Autre")
    for n in range(5):
        office.reminder(f"client{n}")
    now = db.utc_now()

    assert office.send(now).counts == {"sent": 2, "waiting": 1}
    assert office.send(now + timedelta(hours=1)).counts == {"sent": 2, "waiting": 1}
    assert office.send(now + timedelta(hours=2)).counts == {"sent": 1}
    assert other != office.company


def test_a_surge_holds_the_rest_and_tells_once(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    office.installation.set_settings(office.company, rules(surge_minimum=2))
    followups = [office.reminder(f"client{n}") for n in range(5)]
    now = db.utc_now()

    assert office.send(now).counts == {"sent": 2, "held": 3}

    told = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(told) == 1
    assert "reason=surge" in told[0].getMessage()
    held = [each for each in followups if office.state(each)[0] == "held"]
    assert {office.state(each)[1] for each in held} == {"surge: 2 sent today"}
    assert office.send(now + timedelta(hours=1)).counts == {}
    assert office.installation.count(OutboxMail) == 2


def test_what_another_company_sends_is_no_surge_here(office: Office) -> None:
    other = open_office(office.installation, office.smtp)
    for each in (office, other):
        each.installation.set_settings(each.company, rules(surge_minimum=2))
    for n in range(2):
        office.reminder(f"client{n}")
    assert office.send().counts == {"sent": 2}
    other.reminder("theirs")
    assert other.send().counts == {"sent": 1}


@pytest.mark.parametrize("dry", [False, True])
def test_what_a_company_sends_on_usual_days_is_no_surge(office: Office, dry: bool) -> None:
    from tests.followups.test_send import dry_run

    office.installation.set_settings(office.company, rules(surge_minimum=2))
    for n in range(2):
        office.reminder(f"earlier{n}")
    assert office.send().counts == {"sent": 2}
    a_week_ago = db.utc_now() - timedelta(days=7)
    then = sa.update(OutboxMail).values(sending_at=a_week_ago)
    office.installation.change(lambda s: s.execute(then))
    # Two in four weeks of seven days: five times the usual number is none, and two are allowed.
    for n in range(4):
        office.reminder(f"client{n}")
    freshen(office.installation, db.utc_now())
    assert dry_run(office).counts == {"would_send": 2, "held": 2}

    many_more_of_last_week(office, 30)  # five times the usual number is 5 now
    freshen(office.installation, db.utc_now())
    report = dry_run(office) if dry else office.send()
    assert report.counts == {"would_send" if dry else "sent": 4}


def many_more_of_last_week(office: Office, number: int) -> None:
    """Copies of what went out a week ago."""
    (first, *_) = office.installation.rows(OutboxMail)
    names = [each.key for each in sa.inspect(OutboxMail).columns if each.key != "id"]
    same = {name: getattr(first, name) for name in names}
    rows = [{**same, "step": 100 + n, "message_id": f"{n}@usual.test"} for n in range(number)]
    office.installation.change(lambda s: s.execute(sa.insert(OutboxMail), rows))


def test_a_dry_run_counts_what_it_would_send_against_the_budgets(office: Office) -> None:
    from tests.followups.test_send import dry_run

    office.installation.set_settings(office.company, rules(client_gap_days=2, per_run=3))
    for n in range(2):
        two_invoices(office, f"client{n}")
    for n in range(3):
        office.reminder(f"single{n}")
    freshen(office.installation, db.utc_now())

    said = dry_run(office)
    assert said.counts == {"would_send": 3, "waiting": 3}
    assert office.send().counts == {"sent": 3, "waiting": 3}
