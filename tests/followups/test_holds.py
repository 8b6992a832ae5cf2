"""What puts a reminder off or holds it, on real rows: where each fact comes from, and its trace."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from backend.app import db
from backend.app.followups import settle
from backend.app.followups.policy import Hold, ReasonCode, Send, Stop, Wait
from backend.app.models import (
    Client,
    Conversation,
    FolderCheckpoint,
    Followup,
    FollowupHistory,
    InboxMessage,
    OutboxMail,
)
from tests.followups import letters
from tests.followups.office import Office
from tests.followups.test_stops import first_step, receive, second_look
from tests.installation import ALWAYS_OPEN

WORKING_HOURS = {"window": {"opens": "08:00", "closes": "19:00"}, "holidays": {"observed": True}}
TUESDAY = datetime(2026, 11, 24, 10, tzinfo=UTC)
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def nine_on(year: int, month: int, day: int) -> datetime:
    """In Paris, in winter."""
    return datetime(year, month, day, 8, tzinfo=UTC)


def due_on_tuesday(office: Office, name: str = "client", **more: Any) -> int:
    """Its first step is due on Tuesday 24 November 2026."""
    created = TUESDAY - timedelta(days=30)
    values = {"due_date": date(2026, 11, 17), "created_at": created, "next_action_at": created}
    return office.reminder(name, **(values | more))


def decided(office: Office, followup: int, now: datetime = TUESDAY) -> Any:
    result = office.claim(followup, now=now)
    assert result is not None
    return result[0]


def send_at(office: Office, now: datetime) -> Any:
    """The job at `now`, and as if what went out had gone then, and not by the machine's clock."""
    before = {row.id for row in office.installation.rows(OutboxMail)}
    report = office.send(now)
    for row in office.installation.rows(OutboxMail, OutboxMail.id.not_in(before)):
        office.installation.set(OutboxMail, row.id, sending_at=now, sent_at=now)
        office.installation.set(Followup, row.followup_id, last_step_at=now, next_action_at=now)
    return report


def incoming(office: Office, client: int, kind: str, at: datetime, **more: Any) -> None:
    """A message of the client's side, as the sync script stores it."""
    number = office.installation.count(InboxMessage) + 1
    conversation = office.installation.add(
        Conversation(company_id=office.company, client_id=client, thread_key=f"mail:{number}")
    )
    values: dict[str, Any] = {
        "company_id": office.company,
        "conversation_id": conversation,
        "external_id": f"{number}@client.test",
        "fingerprint": f"{number:064}",
        "from_key": office.address(),
        "is_from_client": True,
        "kind": kind,
        "placement": "new",
        "sent_at": at,
        "arrived_at": at,
    }
    office.installation.add(InboxMessage(**(values | more)))


def came_back(office: Office, followup: int, at: datetime, *, hard: bool, step: int = 1) -> None:
    about = office.outbox(followup, step).message_id
    client = office.followup(followup).client_id
    more = {"about_external_id": about, "bounce_hard": hard, "from_key": "mailer-daemon@mx.test"}
    incoming(office, client, "bounce", at, **more)


# Where the facts come from ------------------------------------------------------------------


@on_sqlite
@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            {"promised_until": date(2026, 11, 26)},
            Wait(nine_on(2026, 11, 27), ReasonCode.PROMISED, "asked again on 2026-11-27"),
        ),
        (
            {"postponed_until": date(2026, 12, 1)},
            Wait(nine_on(2026, 12, 1), ReasonCode.POSTPONED, "until 2026-12-01"),
        ),
        ({"promised_until": date(2026, 11, 23)}, Send(1)),
        ({"status": "en litige"}, Hold(ReasonCode.DISPUTED)),
        ({"due_date": date(2026, 10, 1)}, Hold(ReasonCode.TOO_OLD, "step 1 was due 2026-10-08")),
        ({"due_date": date(2026, 10, 1), "approved_at": TUESDAY}, Send(1)),
    ],
)
def test_what_the_host_application_writes_counts(
    office: Office, columns: dict[str, Any], expected: Any
) -> None:
    assert decided(office, due_on_tuesday(office, **columns)) == expected


@pytest.mark.parametrize("key", [None, "before.the.change@client.test"])
def test_an_answer_counts_whatever_key_the_host_application_left_with_its_client(
    office: Office, key: str | None
) -> None:
    followup = due_on_tuesday(office)
    client = office.followup(followup).client_id
    office.installation.set(Client, client, email_key=key)
    incoming(office, client, "human", TUESDAY - timedelta(hours=2))
    assert decided(office, followup) == Stop(ReasonCode.ANSWERED)


def test_a_client_who_wants_no_reminders_gets_none(office: Office) -> None:
    followup = due_on_tuesday(office)
    client = office.followup(followup).client_id
    office.installation.set(Client, client, do_not_contact=True)
    assert decided(office, followup) == Hold(ReasonCode.DO_NOT_CONTACT)
    assert office.state(followup) == ("held", "do_not_contact")


def test_an_out_of_office_notice_that_was_read_puts_the_reminder_off(read_office: Office) -> None:
    """The whole way: the notice is classified, its day stored with the message, and read back."""
    office = read_office
    followup = first_step(office)
    back_on = (office.followup(followup).next_action_at + timedelta(days=4)).date()
    notice = letters.reply(office, office.outbox(followup), Auto_Submitted="auto-replied")
    words = f"Je suis absent, de retour le {back_on:%d/%m/%Y}.".encode()
    receive(office, notice.replace("C'est payé depuis hier.".encode(), words))
    assert office.messages()[-1].back_on == back_on

    second_look(office, followup)

    assert office.state(followup) == ("active", f"out_of_office: back on {back_on}")
    assert office.followup(followup).next_action_at.date() == back_on
    assert len(office.delivered()) == 1


def test_the_newest_notice_counts_and_one_that_is_over_does_not(office: Office) -> None:
    followup = due_on_tuesday(office)
    client = office.followup(followup).client_id
    incoming(office, client, "auto_reply", TUESDAY - timedelta(days=9), back_on=date(2026, 12, 9))
    wait = decided(office, followup)
    assert (wait.reason, wait.detail) == (ReasonCode.OUT_OF_OFFICE, "back on 2026-12-09")
    incoming(office, client, "auto_reply", TUESDAY - timedelta(days=2), back_on=date(2026, 11, 23))
    assert decided(office, followup) == Send(1)


def test_a_mail_that_came_back_for_good_holds_until_the_address_changes_or_a_person_says_so(
    office: Office,
) -> None:
    followup = due_on_tuesday(office)
    send_at(office, TUESDAY)
    came_back(office, followup, TUESDAY + timedelta(minutes=1), hard=True)
    later = TUESDAY + timedelta(days=8)

    assert decided(office, followup, later) == Hold(ReasonCode.BOUNCED_HARD)
    assert office.history(followup)[-1] == "held"

    released = {"auto_state": "active", "approved_at": later}
    office.installation.set(Followup, followup, **released)
    assert decided(office, followup, later).reason is ReasonCode.DUE

    other = office.installation.add_followup(
        office.company, office.followup(followup).client_id, due_date=date(2026, 11, 25)
    )
    assert decided(office, other, later) == Hold(ReasonCode.BOUNCED_HARD), "all to that address"
    office.installation.set(Followup, other, auto_state="active")
    new = {"email": office.address("new"), "email_key": office.address("new")}
    office.installation.set(Client, office.followup(followup).client_id, **new)
    assert decided(office, other, later).reason is ReasonCode.DUE


def test_passing_bounces_make_it_wait_and_the_third_one_holds(office: Office) -> None:
    followup = due_on_tuesday(office)
    send_at(office, TUESDAY)
    looks = TUESDAY + timedelta(days=7, hours=1)
    came_back(office, followup, looks - timedelta(hours=1), hard=False)
    came_back(office, followup, looks - timedelta(minutes=30), hard=False)

    wait = decided(office, followup, looks)
    assert (wait.reason, wait.until) == (
        ReasonCode.SOFT_BOUNCE,
        looks - timedelta(minutes=30) + timedelta(days=2),
    )
    send_at(office, wait.until)
    third = wait.until + timedelta(days=7)
    send_at(office, third)
    assert office.followup(followup).steps_sent == 3
    for step in (2, 3):
        came_back(office, followup, third, hard=False, step=step)
    four = {"invoice_unpaid": {"delays_days": [1, 2, 3, 4]}}
    office.installation.set_settings(office.company, {"followups": {**ALWAYS_OPEN, **four}})
    office.installation.set(Followup, followup, auto_state="active")

    held = decided(office, followup, third + timedelta(days=6))
    assert held == Hold(ReasonCode.BOUNCED_SOFT, "3 mails came back")


def test_the_weekend_spends_no_step(office: Office) -> None:
    """Due on a Saturday: it waits for Monday, and the next step follows from its own date."""
    hours = {"followups": {**ALWAYS_OPEN, **WORKING_HOURS}}
    office.installation.set_settings(office.company, hours)
    followup = due_on_tuesday(office, due_date=date(2026, 11, 21))  # a Saturday, as is the 28th
    saturday = datetime(2026, 11, 28, 9, tzinfo=UTC)
    monday = datetime(2026, 11, 30, 7, tzinfo=UTC)

    for later in range(0, 46, 5):
        assert office.send(saturday + timedelta(hours=later), followup_id=followup).counts == {
            "waiting": 1
        }
    assert office.followup(followup).next_action_at == monday
    assert office.followup(followup).steps_sent == 0
    assert office.history(followup) == ["waiting"], "told once, not at each look"

    assert office.send(monday).counts == {"sent": 1}
    assert office.outbox(followup).step == 1


def test_the_history_tells_each_new_reason_once_and_in_words(office: Office) -> None:
    followup = due_on_tuesday(office, promised_until=date(2026, 11, 26))
    for hours in (0, 1, 2):
        decided(office, followup, TUESDAY + timedelta(hours=hours))
    office.installation.set(
        Followup, followup, promised_until=None, postponed_until=date(2026, 11, 30)
    )
    decided(office, followup, TUESDAY + timedelta(hours=3))

    rows = office.installation.rows(FollowupHistory, FollowupHistory.followup_id == followup)
    assert [(row.status, row.reason) for row in rows] == [
        ("waiting", "promised: asked again on 2026-11-27"),
        ("waiting", "postponed: until 2026-11-30"),
    ]


# After downtime -----------------------------------------------------------------------------


def test_never_again_after_an_outage_cannot_happen_one_mail_goes_and_the_missed_are_told(
    office: Office,
) -> None:
    """The first step went out; then nothing ran for 20 days, in which two more fell due."""
    followup = due_on_tuesday(office)
    assert send_at(office, TUESDAY).counts == {"sent": 1}
    after = TUESDAY + timedelta(days=20)

    for hours in range(30):
        office.send(after + timedelta(hours=hours))

    outbox = office.installation.rows(OutboxMail, OutboxMail.followup_id == followup)
    assert [(row.step, row.state) for row in outbox] == [(1, "sent"), (3, "sent")]
    rows = office.installation.rows(FollowupHistory, FollowupHistory.followup_id == followup)
    assert [(row.step, row.status, row.reason) for row in rows[:3]] == [
        (1, "sent", None),
        (2, "skipped", "missed"),
        (3, "sent", None),
    ]
    assert len(office.delivered()) == 2


def test_the_second_before_the_first_cannot_happen_after_an_outage(office: Office) -> None:
    """Nobody was reminded yet when three steps have fallen due: the first one goes."""
    followup = due_on_tuesday(office)
    assert office.send(TUESDAY + timedelta(days=20)).counts == {"sent": 1}
    assert office.outbox(followup).step == 1
    assert office.history(followup) == ["sent"]


def test_a_step_that_may_have_gone_out_is_never_skipped_over(office: Office) -> None:
    followup = due_on_tuesday(office)
    send_at(office, TUESDAY)
    claimed = office.claim(followup, now=TUESDAY + timedelta(days=7))
    assert claimed is not None
    assert claimed[1] is not None
    office.installation.set(OutboxMail, claimed[1].id, state="uncertain")

    after = decided(office, followup, TUESDAY + timedelta(days=20))

    assert after.reason is ReasonCode.UNCERTAIN


def test_hundreds_at_once_on_activation_cannot_happen(office: Office) -> None:
    """What is older than the company's word allows is held, and one release lets it go."""
    long_ago = date(2026, 3, 1)
    old = [due_on_tuesday(office, f"old{n}", due_date=long_ago) for n in range(5)]
    fresh = due_on_tuesday(office, "fresh")

    assert office.send(TUESDAY).counts == {"held": 5, "sent": 1}

    assert {office.state(each)[1] for each in old} == {"too_old: step 1 was due 2026-03-08"}
    assert office.followup(fresh).steps_sent == 1
    assert office.send(TUESDAY + timedelta(hours=1)).counts == {}


def test_what_was_put_off_is_cancelled_when_the_followup_stops(office: Office) -> None:
    claimed = office.claimed(office.reminder())
    db.write(settle.settle_mailbox_down, claimed, "no connection", db.utc_now())
    assert office.outbox(claimed.followup_id).state == "planned"
    office.installation.set(Followup, claimed.followup_id, status="paid")

    office.send()

    assert office.outbox(claimed.followup_id).state == "cancelled"
    assert office.state(claimed.followup_id) == ("stopped", "paid")


def test_an_answer_that_may_lie_beyond_the_horizon_holds_until_a_person_says_otherwise(
    office: Office,
) -> None:
    """The follow-up is older than the oldest mail that was read."""
    followup = due_on_tuesday(office)
    office.installation.add(
        FolderCheckpoint(
            integration_id=office.mailbox,
            name="INBOX",
            uidvalidity=1,
            history_since=TUESDAY.date() - timedelta(days=3),
            history_left=1,
        )
    )
    assert decided(office, followup) == Hold(ReasonCode.HISTORY_NOT_READ)

    released = {"auto_state": "active", "approved_at": TUESDAY}
    office.installation.set(Followup, followup, **released)
    assert isinstance(decided(office, followup), Send)
