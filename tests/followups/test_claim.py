"""A claim: decided on fresh rows, and won by one worker alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from backend.app import db
from backend.app.errors import ClaimLost, SettingsInvalid
from backend.app.followups import claim, resolve, settle
from backend.app.followups.policy import Decision, Hold, ReasonCode, Send, Stop, Wait
from backend.app.mail.parse import parse_mail
from backend.app.models import (
    Client,
    Company,
    Followup,
    InboxIntegration,
    LedgerEntry,
    MailboxState,
    OutboxMail,
    QuarantinedMail,
)
from backend.app.store import followups as store
from backend.app.store import outbox
from backend.app.store.records import OutboxClaim
from tests.followups.office import LEASE_SECONDS, Office, freshen, open_office
from tests.installation import Installation

PAST = datetime(2020, 1, 1, tzinfo=UTC)
# For tables of values whose meaning no database changes.
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def take_over(office: Office, claimed: OutboxClaim, by: str) -> OutboxClaim:
    """The worker's lease ends, recovery takes the step back, and another worker claims it."""
    office.installation.set(OutboxMail, claimed.id, lease_until=PAST)
    db.write(resolve.take_back, claimed, db.utc_now())
    return office.claimed(claimed.followup_id, by)


def test_a_claim_holds_the_whole_mail_before_smtp_is_spoken_to(office: Office) -> None:
    followup = office.reminder()

    claimed = office.claimed(followup, "worker one")

    row = office.outbox(followup)
    assert (row.state, row.owner, row.token, row.attempts) == ("claimed", "worker one", 1, 1)
    assert row.lease_until > db.utc_now() + timedelta(seconds=LEASE_SECONDS - 60)
    assert (row.recipient, row.integration_id) == (office.address(), office.mailbox)
    assert row.sending_at is None
    mail = parse_mail(row.raw)
    assert (mail.message_id, mail.fingerprint) == (row.message_id, row.fingerprint)
    assert claimed.message_id == row.message_id
    assert mail.subject.split() == row.subject.split()
    assert mail.text.split() == row.content.split()


@pytest.mark.parametrize("state", ["claimed", "sending", "uncertain", "sent", "failed"])
def test_a_step_in_other_hands_or_settled_is_not_claimed_again(office: Office, state: str) -> None:
    followup = office.reminder()
    office.claimed(followup)
    row = office.outbox(followup)
    office.installation.set(OutboxMail, row.id, state=state)

    result = office.claim(followup, "b")

    assert result is None or result[1] is None
    assert (office.outbox(followup).state, office.outbox(followup).token) == (state, row.token)


@pytest.mark.parametrize("workers", [2, 5])
def test_of_workers_that_claim_at_the_same_instant_one_wins(office: Office, workers: int) -> None:
    followups = [office.reminder(f"client{number}") for number in range(4)]
    freshen(office.installation, db.utc_now())
    start = threading.Barrier(workers)

    def work(owner: str) -> list[OutboxClaim]:
        start.wait()
        now = db.utc_now()
        results = [
            db.write(claim.claim_followup, followup, owner, LEASE_SECONDS, now)
            for followup in followups
        ]
        return [each[1] for each in results if each is not None and each[1] is not None]

    with ThreadPoolExecutor(workers) as pool:
        won = [each for claims in pool.map(work, map(str, range(workers))) for each in claims]

    assert sorted(each.followup_id for each in won) == followups
    assert [office.outbox(each).token for each in followups] == [1] * len(followups)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_worker_does_not_wait_for_a_followup_that_another_looks_at(office: Office) -> None:
    followup = office.reminder()
    with ThreadPoolExecutor(1) as pool, db.SessionLocal.begin() as session:
        store.wait_for_lock(session, followup)
        assert pool.submit(office.claim, followup).result(timeout=20) is None
    assert office.claimed(followup)


def test_a_worker_whose_lease_has_ended_cannot_begin_sending(office: Office) -> None:
    claimed = office.claimed(office.reminder())
    office.installation.set(OutboxMail, claimed.id, lease_until=PAST)

    with pytest.raises(ClaimLost):
        db.write(claim.begin_sending, claimed, LEASE_SECONDS, db.utc_now())

    assert office.outbox(claimed.followup_id).state == "claimed"


def begin(claimed: OutboxClaim) -> object:
    return db.write(claim.begin_sending, claimed, LEASE_SECONDS, db.utc_now())


def settle_sent(claimed: OutboxClaim) -> object:
    return db.write(settle.settle_sent, claimed, db.utc_now(), reply="250 OK")


def settle_uncertain(claimed: OutboxClaim) -> object:
    return db.write(settle.settle_uncertain, claimed, "silence", db.utc_now(), 24)


def settle_down(claimed: OutboxClaim) -> object:
    return db.write(settle.settle_mailbox_down, claimed, "down", db.utc_now())


@pytest.mark.parametrize("late", [begin, settle_sent, settle_uncertain, settle_down])
@pytest.mark.parametrize("new_state", ["claimed", "sending"])
def test_a_late_worker_cannot_act_after_another_took_over(
    office: Office, late: Callable[[OutboxClaim], object], new_state: str
) -> None:
    old = office.claimed(office.reminder(), "old")
    new = take_over(office, old, "new")
    if new_state == "sending":
        begin(new)

    with pytest.raises(ClaimLost):
        late(old)

    row = office.outbox(old.followup_id)
    assert (row.state, row.owner, row.token) == (new_state, "new", new.token)


def test_a_step_that_is_claimed_again_keeps_its_message_id_and_is_rendered_anew(
    office: Office,
) -> None:
    old = office.claimed(office.reminder())
    office.installation.set(Client, office.followup(old.followup_id).client_id, name="Anne Roux")

    new = take_over(office, old, "new")

    assert (new.id, new.message_id) == (old.id, old.message_id)
    assert new.token > old.token
    assert "Anne Roux" in new.content


def test_who_edits_a_row_while_it_is_looked_at_is_not_overlooked(office: Office) -> None:
    """The host application commits between our choice of the follow-up and our claim of it."""
    followup = office.reminder()
    office.installation.set(Followup, followup, auto_enabled=False)

    assert office.claim(followup) is None
    assert office.installation.count(OutboxMail) == 0


# What is decided under the claim, and what it leaves on the row

TOMORROW = datetime.now(UTC).date() + timedelta(days=1)
DECISIONS: list[tuple[str, type[Any], dict[str, Any], Decision, tuple[str, str | None]]] = [
    ("paid", Followup, {"status": "paid"}, Stop(ReasonCode.PAID), ("stopped", "paid")),
    ("refused", Followup, {"status": "refusé"}, Stop(ReasonCode.REFUSED), ("stopped", "refused")),
    ("done", Followup, {"status": "done"}, Stop(ReasonCode.DONE), ("stopped", "done")),
    (
        "cancelled",
        Followup,
        {"status": "void"},
        Stop(ReasonCode.CANCELLED),
        ("stopped", "cancelled"),
    ),
    (
        "accepted",
        Followup,
        {"status": "signed"},
        Stop(ReasonCode.ACCEPTED),
        ("stopped", "accepted"),
    ),
    (
        "answered",
        Followup,
        {"status": "répondu"},
        Stop(ReasonCode.ANSWERED),
        ("stopped", "answered"),
    ),
    (
        "maximum",
        Followup,
        {"steps_sent": 3},
        Stop(ReasonCode.COMPLETED),
        ("completed", "completed"),
    ),
    (
        "paid, flag off",
        Followup,
        {"status": "paid", "auto_stop_on_paid": False},
        Send(1),
        ("active", None),
    ),
    (
        "refused, flag off",
        Followup,
        {"status": "refused", "auto_stop_on_refused": False},
        Send(1),
        ("active", None),
    ),
    (
        "answered, flag off",
        Followup,
        {"status": "answered", "auto_stop_on_response": False},
        Send(1),
        ("active", None),
    ),
    ("paused", Followup, {"status": "paused"}, Hold(ReasonCode.PAUSED), ("held", "paused")),
    (
        "a word that nobody knows",
        Followup,
        {"status": "xyz"},
        Hold(ReasonCode.UNKNOWN_STATUS),
        ("held", "unknown_status"),
    ),
    (
        "unknown type",
        Followup,
        {"type": "birthday"},
        Hold(ReasonCode.UNKNOWN_TYPE),
        ("held", "unknown_type"),
    ),
    (
        "no due date",
        Followup,
        {"due_date": None},
        Hold(ReasonCode.NO_DUE_DATE),
        ("held", "no_due_date"),
    ),
    (
        "a year that nobody meant",
        Followup,
        {"due_date": date(9999, 12, 31)},
        Hold(ReasonCode.NO_DUE_DATE),
        ("held", "no_due_date"),
    ),
    (
        "time zone",
        Company,
        {"timezone": "Europe/Nowhere"},
        Hold(ReasonCode.UNKNOWN_TIME_ZONE),
        ("held", "unknown_time_zone"),
    ),
    (
        "missing variable",
        Followup,
        {"amount": None},
        Hold(ReasonCode.MISSING_VARIABLE, "amount"),
        ("held", "missing_variable: amount"),
    ),
    (
        "no mailbox that is active",
        InboxIntegration,
        {"is_active": False},
        Hold(ReasonCode.NO_MAILBOX),
        ("held", "no_mailbox"),
    ),
    (
        "no mailbox that sends",
        InboxIntegration,
        {"smtp_host": None},
        Hold(ReasonCode.NO_MAILBOX),
        ("held", "no_mailbox"),
    ),
]


@pytest.mark.parametrize(
    ("model", "changes", "expected", "state"),
    [row[1:] for row in DECISIONS],
    ids=[row[0] for row in DECISIONS],
)
def test_what_is_decided_under_the_claim(
    office: Office,
    model: type[Any],
    changes: dict[str, Any],
    expected: Decision,
    state: tuple[str, str | None],
) -> None:
    followup = office.reminder()
    ids = {Followup: followup, Company: office.company, InboxIntegration: office.mailbox}
    office.installation.set(model, ids[model], **changes)

    result = office.claim(followup)

    assert result is not None
    assert result[0] == expected
    assert office.state(followup) == state
    assert (result[1] is not None) == isinstance(expected, Send)
    assert office.history(followup) == ([] if state[0] == "active" else [state[0]])


@on_sqlite
@pytest.mark.parametrize(
    "email",
    [
        None,
        "",
        "jean",
        "jean@",
        "@client.test",
        "jean@client.test, marie@client.test",
        "jean@client.test\r\nBcc: all@client.test",
        "jean(petit)@client.test",
        "jérôme@client.test",
        "<jean@client.test>",
        "jean@" + "a" * 64 + ".test\u00e9",
    ],
)
def test_without_an_address_that_mail_can_be_sent_to_a_person_is_asked(
    office: Office, email: str | None
) -> None:
    followup = office.reminder()
    office.installation.set(Client, office.followup(followup).client_id, email=email)

    assert office.claim(followup) == (Hold(ReasonCode.NO_ADDRESS), None)
    assert office.state(followup) == ("held", "no_address")


def test_an_address_in_national_letters_is_written_to_in_its_ascii_form(office: Office) -> None:
    followup = office.reminder()
    client = office.followup(followup).client_id
    office.installation.set(Client, client, email="jean@société.test")

    assert parse_mail(office.claimed(followup).raw).to[0].email == "jean@xn--socit-esab.test"


def test_a_mailbox_under_a_domain_in_national_letters_can_send(
    installation: Installation, office: Office
) -> None:
    installation.set(InboxIntegration, office.mailbox, email="contact@société.test")

    claimed = office.claimed(office.reminder())

    assert claimed.message_id.endswith("@xn--socit-esab.test")
    assert parse_mail(claimed.raw).sender.email == "contact@xn--socit-esab.test"  # type: ignore[union-attr]


@on_sqlite
@pytest.mark.parametrize(
    ("language", "begins", "written"),
    [
        ("fr", "Bonjour", "fr"),
        ("fr_CA", "Bonjour", "fr"),
        ("en_US", "Hello", "en"),
        ("en-gb", "Hello", "en"),
        ("de", "Bonjour", "fr"),
        ("?", "Bonjour", "fr"),
        (None, "Bonjour", "fr"),
    ],
)
def test_the_mail_says_in_which_language_it_is_written(
    office: Office, language: str | None, begins: str, written: str
) -> None:
    followup = office.reminder()
    office.installation.set(Client, office.followup(followup).client_id, language=language)

    mail = parse_mail(office.claimed(followup).raw)

    assert mail.text.startswith((begins, "Dear") if begins == "Hello" else begins)
    assert mail.header("Content-Language") == written


def test_the_word_of_the_host_application_for_answered_stays(office: Office) -> None:
    followup = office.reminder(status="répondu")
    office.claim(followup)
    assert office.followup(followup).status == "répondu"


@pytest.mark.parametrize(
    "settings",
    [
        {"followups": {"invoice_unpaid": {"send_hour": 99}}},
        {"followups": "every day"},
        ["followups"],
    ],
)
def test_wrong_settings_are_named_and_nothing_is_claimed(office: Office, settings: Any) -> None:
    followup = office.reminder()
    office.installation.set_settings(office.company, settings)

    with pytest.raises(SettingsInvalid, match=r"^(settings|followups)"):
        office.claim(followup)

    assert office.installation.count(OutboxMail) == 0


def test_a_mailbox_that_was_not_read_lately_makes_the_reminder_wait(office: Office) -> None:
    followup = office.reminder()
    now = db.utc_now()
    freshen(office.installation, now - timedelta(minutes=15, seconds=1))

    result = db.write(claim.claim_followup, followup, "a", LEASE_SECONDS, now)

    wait = Wait(now + timedelta(minutes=5), ReasonCode.MAILBOX_NOT_FRESH)
    assert result == (wait, None)
    assert office.state(followup) == ("active", "mailbox_not_fresh")
    assert office.followup(followup).next_action_at == wait.until


def test_a_mailbox_that_was_never_read_makes_the_reminder_wait(office: Office) -> None:
    followup = office.reminder()
    result = db.write(claim.claim_followup, followup, "a", LEASE_SECONDS, db.utc_now())
    assert result is not None
    assert result[0].reason is ReasonCode.MAILBOX_NOT_FRESH


def test_the_mailbox_whose_freshness_counts_is_the_one_that_sends(office: Office) -> None:
    other = open_office(office.installation, office.smtp, company=office.company)
    followup = office.reminder(integration_id=other.mailbox)
    now = db.utc_now()
    freshen(office.installation, now)
    office.installation.set(MailboxState, other.mailbox, fresh_at=now - timedelta(days=1))

    result = db.write(claim.claim_followup, followup, "a", LEASE_SECONDS, now)

    assert result is not None
    assert result[0].reason is ReasonCode.MAILBOX_NOT_FRESH


def quarantine(office: Office, sender: str) -> None:
    place = {"integration_id": office.mailbox, "folder": "INBOX", "uidvalidity": 1, "uid": 1}
    office.installation.change(
        lambda session: session.add(LedgerEntry(**place, state="quarantined"))
    )
    office.installation.add(
        QuarantinedMail(
            **place, sender_key=sender, raw=b"?", arrived_at=db.utc_now(), error="unreadable"
        )
    )


def test_a_mail_of_the_client_in_quarantine_makes_the_reminder_wait(office: Office) -> None:
    followup, other = office.reminder(), office.reminder("other")
    quarantine(office, office.address())
    now = db.utc_now()

    assert office.claim(followup, now=now) == (
        Wait(now + timedelta(hours=1), ReasonCode.MAIL_IN_QUARANTINE),
        None,
    )
    assert office.claimed(other)


def test_quarantine_of_another_company_holds_nobody_here(office: Office) -> None:
    elsewhere = open_office(office.installation, office.smtp)
    quarantine(elsewhere, office.address())
    assert office.claimed(office.reminder())


def test_a_company_without_a_mailbox_holds_and_does_not_use_another_companys(
    installation: Installation, office: Office
) -> None:
    company = installation.add_company("Sans boîte")
    client = installation.add_client(company, office.address())
    followup = installation.add_followup(company, client)

    assert office.claim(followup) == (Hold(ReasonCode.NO_MAILBOX), None)


def test_a_mailbox_may_still_be_connected_until_the_first_step_is_due(
    installation: Installation, office: Office
) -> None:
    company = installation.add_company("Toute neuve")
    client = installation.add_client(company, office.address())
    followup = installation.add_followup(company, client, due_date=TOMORROW)

    result = office.claim(followup)

    assert result is not None
    assert result[0].reason is ReasonCode.NOT_DUE


def test_a_chosen_mailbox_that_is_switched_off_is_not_replaced_by_another(office: Office) -> None:
    chosen = open_office(office.installation, office.smtp, company=office.company)
    followup = office.reminder(integration_id=chosen.mailbox)
    office.installation.set(InboxIntegration, chosen.mailbox, is_active=False)

    assert office.claim(followup) == (Hold(ReasonCode.NO_MAILBOX), None)


def test_a_step_that_was_put_off_waits_for_its_time(office: Office) -> None:
    claimed = office.claimed(office.reminder())
    later = db.utc_now().replace(microsecond=0) + timedelta(minutes=30)
    db.write(
        outbox.settle_not_sent, claimed, settle.OutboxState.PLANNED, error="", next_attempt_at=later
    )

    assert office.claim(claimed.followup_id) == (Wait(later, ReasonCode.RETRY_LATER), None)
    result = office.claim(claimed.followup_id, now=later)
    assert result is not None
    assert result[1] is not None
    assert result[1].attempts == 2
