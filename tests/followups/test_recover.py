"""What a killed or frozen run leaves, what proves a doubtful step, and a person's word."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backend.app import db
from backend.app.errors import ClaimLost, NotSent
from backend.app.followups import claim, recover, resolve, settle
from backend.app.followups.policy import ReasonCode
from backend.app.models import (
    Conversation,
    Followup,
    FollowupHistory,
    InboxMessage,
    OutboxMail,
)
from backend.app.runtime import Report, Run
from backend.app.store import unsettled
from backend.app.store.records import OutboxClaim
from tests.followups import letters
from tests.followups.office import LEASE_SECONDS, Office, open_office
from tests.servers.embedded_imap import EmbeddedImapServer

PAST = datetime(2020, 1, 1, tzinfo=UTC)
TWO_DAYS_AGO = timedelta(days=2)


def end_lease(office: Office, claimed: OutboxClaim) -> None:
    office.installation.set(OutboxMail, claimed.id, lease_until=PAST)


def begin(claimed: OutboxClaim) -> OutboxClaim:
    assert db.write(claim.begin_sending, claimed, LEASE_SECONDS, db.utc_now()) is None
    return claimed


def uncertain(office: Office) -> OutboxClaim:
    """A step whose server fell silent after the final dot."""
    claimed = begin(office.claimed(office.reminder()))
    db.write(settle.settle_uncertain, claimed, "silence", db.utc_now(), 24)
    return claimed


def for_a_person(office: Office) -> OutboxClaim:
    """An uncertain step for which no proof came in time."""
    claimed = uncertain(office)
    age(office, claimed)
    assert office.send().counts == {"for_a_person": 1}
    return claimed


def age(office: Office, claimed: OutboxClaim) -> None:
    office.installation.set(OutboxMail, claimed.id, sending_at=db.utc_now() - TWO_DAYS_AGO)


def load(claimed: OutboxClaim) -> OutboxClaim:
    loaded = db.read(unsettled.load_uncertain, claimed.id)
    assert loaded is not None
    return loaded


# A run that ended


def test_a_claim_whose_run_has_ended_goes_out_in_the_next_run(office: Office) -> None:
    claimed = office.claimed(office.reminder())
    end_lease(office, claimed)

    assert office.send().counts == {"taken_back": 1, "sent": 1}
    assert [mail.message_id for mail in office.delivered()] == [claimed.message_id]
    with pytest.raises(ClaimLost):
        begin(claimed)


def test_a_claim_whose_run_lives_is_left_alone(office: Office) -> None:
    claimed = office.claimed(office.reminder())
    assert office.send().counts == {}
    assert office.send(followup_id=claimed.followup_id).counts == {"in_other_hands": 1}
    begin(claimed)


def test_a_mail_that_may_be_out_is_never_sent_again_by_itself(office: Office) -> None:
    claimed = begin(office.claimed(office.reminder()))
    end_lease(office, claimed)

    report = office.send()

    assert report.counts == {"uncertain": 1}
    followup = claimed.followup_id
    assert office.outbox(followup).state == "uncertain"
    assert office.state(followup) == ("active", "uncertain")
    assert office.history(followup) == ["uncertain"]
    for days in (0, 1, 2, 30):
        office.send(db.utc_now() + timedelta(days=days))
        office.send(db.utc_now() + timedelta(days=days), followup_id=followup)
    assert office.delivered() == []
    assert office.history(followup) == ["uncertain"]


def test_a_late_worker_with_the_servers_answer_in_hand_settles_what_was_called_uncertain(
    office: Office,
) -> None:
    claimed = begin(office.claimed(office.reminder()))
    end_lease(office, claimed)
    office.send()

    db.write(settle.settle_sent, claimed, db.utc_now(), reply="250 OK")

    assert office.outbox(claimed.followup_id).state == "sent"
    assert office.history(claimed.followup_id) == ["uncertain", "sent"]
    assert len(office.messages()) == 1


def late_begin(claimed: OutboxClaim) -> object:
    return db.write(claim.begin_sending, claimed, LEASE_SECONDS, db.utc_now())


def late_refusal(claimed: OutboxClaim) -> object:
    refused = NotSent("451", permanent=False, code=451)
    return db.write(settle.settle_refused, claimed, refused, db.utc_now())


def late_down(claimed: OutboxClaim) -> object:
    return db.write(settle.settle_mailbox_down, claimed, "no", db.utc_now())


@pytest.mark.parametrize("late", [late_begin, late_refusal, late_down])
def test_a_late_worker_cannot_plan_an_uncertain_step_again(
    office: Office, late: Callable[[OutboxClaim], object]
) -> None:
    claimed = begin(office.claimed(office.reminder()))
    end_lease(office, claimed)
    office.send()
    with pytest.raises(ClaimLost):
        late(claimed)
    assert office.outbox(claimed.followup_id).state == "uncertain"


# Proof


def copy_in_sent(office: Office, row: Any) -> None:
    office.imap.append(office.account, bytes(row.raw), "Sent")


def answer(office: Office, row: Any) -> None:
    office.imap.append(office.account, letters.reply(office, row))


def returned(office: Office, row: Any) -> None:
    office.imap.append(office.account, letters.bounce(office, row))


@pytest.mark.parametrize("prove", [copy_in_sent, answer, returned])
@pytest.mark.parametrize("doubt", [uncertain, for_a_person])
def test_proof_settles_an_uncertain_step_once_however_late(
    read_office: Office,
    doubt: Callable[[Office], OutboxClaim],
    prove: Callable[[Office, Any], None],
) -> None:
    office = read_office
    claimed = doubt(office)
    followup = claimed.followup_id
    prove(office, office.outbox(followup))
    office.installation.sync()

    assert office.send().counts == {"proven_sent": 1}
    assert office.send().counts == {}

    row = office.outbox(followup)
    assert (row.state, row.needs_person, row.owner) == ("sent", False, None)
    assert office.state(followup) == ("active", None)
    assert office.followup(followup).steps_sent == 1
    assert office.followup(followup).last_step_at == row.sending_at
    assert office.history(followup).count("sent") == 1
    own = office.messages(InboxMessage.external_id == claimed.message_id)
    assert [message.placement for message in own] == ["own_reminder"]
    assert own[0].conversation_id == office.followup(followup).conversation_id
    assert office.installation.count(Conversation) == 1
    assert office.delivered() == []


def test_two_runs_that_find_the_same_proof_settle_it_once(read_office: Office) -> None:
    office = read_office
    claimed = uncertain(office)
    copy_in_sent(office, office.outbox(claimed.followup_id))
    office.installation.sync()
    reports = [Report(), Report()]
    installation = office.installation
    run = Run(installation.settings, installation.vault, "t", lambda: False)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda report: recover.recover(run, report), reports))

    assert sum(report.counts.get("proven_sent", 0) for report in reports) == 1
    assert not any(report.failed for report in reports)
    assert office.history(claimed.followup_id).count("sent") == 1


def test_what_another_company_knows_proves_nothing_here(
    read_office: Office, embedded_imap: EmbeddedImapServer
) -> None:
    office = read_office
    claimed = uncertain(office)
    elsewhere = open_office(office.installation, office.smtp, embedded_imap)
    elsewhere.imap.append(elsewhere.account, bytes(office.outbox(claimed.followup_id).raw), "Sent")
    office.installation.sync()
    assert len(elsewhere.messages()) == 1

    assert office.send().counts == {}
    assert office.outbox(claimed.followup_id).state == "uncertain"


def test_the_answer_that_proves_the_step_stops_the_next_one(read_office: Office) -> None:
    office = read_office
    claimed = uncertain(office)
    answer(office, office.outbox(claimed.followup_id))
    office.installation.sync()
    office.send()

    office.send(office.followup(claimed.followup_id).next_action_at)

    assert office.state(claimed.followup_id) == ("stopped", "answered")


# No proof


def test_without_proof_a_person_is_asked_after_a_day(office: Office) -> None:
    claimed = uncertain(office)
    followup = claimed.followup_id
    office.installation.set(
        OutboxMail, claimed.id, sending_at=db.utc_now() - timedelta(hours=23, minutes=59)
    )
    assert office.send().counts == {}
    age(office, claimed)

    assert office.send().counts == {"for_a_person": 1}
    assert office.send().counts == {}

    assert office.outbox(followup).needs_person
    assert office.state(followup) == ("held", "uncertain")
    assert office.history(followup) == ["uncertain", "held"]


def test_how_long_proof_is_waited_for_is_a_setting(office: Office) -> None:
    office.installation.extra["UNCERTAIN_HOURS"] = "100"
    claimed = uncertain(office)
    age(office, claimed)
    assert office.send().counts == {}


def test_a_followup_that_was_stopped_meanwhile_is_not_held(office: Office) -> None:
    claimed = uncertain(office)
    office.installation.set(Followup, claimed.followup_id, auto_state="stopped", auto_reason="paid")
    age(office, claimed)
    office.send()
    assert office.state(claimed.followup_id) == ("stopped", "paid")
    assert office.outbox(claimed.followup_id).needs_person


# A person's word


@pytest.mark.parametrize("doubt", [uncertain, for_a_person])
def test_on_a_persons_word_it_goes_out_again_at_once_under_the_same_message_id(
    office: Office, doubt: Callable[[Office], OutboxClaim]
) -> None:
    claimed = doubt(office)
    db.write(resolve.resend, load(claimed), db.utc_now(), by="Claire")
    assert office.state(claimed.followup_id) == ("active", None)

    assert office.send().counts == {"sent": 1}

    (mail,) = office.delivered()
    assert mail.message_id == claimed.message_id
    row = office.outbox(claimed.followup_id)
    assert (row.state, row.needs_person) == ("sent", False)
    assert row.sending_at > db.utc_now() - timedelta(minutes=5)
    released = office.installation.rows(FollowupHistory, FollowupHistory.status == "released")
    assert [row.sent_by_name for row in released] == ["Claire"]
    assert office.history(claimed.followup_id).count("sent") == 1


@pytest.mark.parametrize("status", ["paid", "refused", "done"])
def test_a_persons_resend_is_decided_on_anew(office: Office, status: str) -> None:
    claimed = for_a_person(office)
    office.installation.set(Followup, claimed.followup_id, status=status)
    db.write(resolve.resend, load(claimed), db.utc_now(), by="Claire")

    assert office.send().counts == {"stopped": 1}
    assert office.delivered() == []
    assert office.state(claimed.followup_id) == ("stopped", status)


def test_a_resend_does_not_set_a_stopped_followup_going(office: Office) -> None:
    claimed = uncertain(office)
    office.installation.set(
        Followup, claimed.followup_id, auto_state="stopped", auto_reason="by_person"
    )
    db.write(resolve.resend, load(claimed), db.utc_now(), by="Claire")
    assert office.send().counts == {}
    assert office.state(claimed.followup_id) == ("stopped", "by_person")


def test_after_a_resend_the_late_worker_can_settle_nothing(office: Office) -> None:
    claimed = uncertain(office)
    db.write(resolve.resend, load(claimed), db.utc_now(), by="Claire")
    with pytest.raises(ClaimLost):
        db.write(settle.settle_sent, claimed, db.utc_now(), reply="250 OK")


@pytest.mark.parametrize("doubt", [uncertain, for_a_person])
def test_on_a_persons_word_it_counts_as_sent(
    office: Office, doubt: Callable[[Office], OutboxClaim]
) -> None:
    claimed = doubt(office)
    db.write(resolve.accept_as_sent, load(claimed), db.utc_now(), by="Claire")

    followup = claimed.followup_id
    assert office.outbox(followup).state == "sent"
    assert office.state(followup) == ("active", None)
    assert office.followup(followup).steps_sent == 1
    assert office.history(followup).count("sent") == 1
    sent = office.installation.rows(FollowupHistory, FollowupHistory.status == "sent")
    assert [row.sent_by_name for row in sent] == ["Claire"]
    assert len(office.messages()) == 1
    assert office.delivered() == []
    second = office.followup(followup).next_action_at
    assert second > db.utc_now()
    assert office.send(second).counts == {"sent": 1}


def test_of_two_words_the_first_counts(office: Office) -> None:
    claimed = load(uncertain(office))
    db.write(resolve.accept_as_sent, claimed, db.utc_now(), by="Claire")
    for word in (resolve.resend, resolve.accept_as_sent):
        with pytest.raises(ClaimLost):
            db.write(word, claimed, db.utc_now(), by="Anne")
    assert office.send().counts == {}


# One fault leaves the others alone


def test_wrong_settings_of_one_company_stop_neither_its_recovery_nor_anybody_elses_mail(
    read_office: Office,
) -> None:
    office = read_office
    claimed = uncertain(office)
    copy_in_sent(office, office.outbox(claimed.followup_id))
    office.installation.sync()
    office.installation.set_settings(office.company, {"followups": {"x": 1}})
    other = open_office(office.installation, office.smtp)
    other.reminder()

    report = office.send()

    assert report.counts == {"proven_sent": 1, "settings_invalid": 1, "sent": 1}
    assert office.outbox(claimed.followup_id).state == "sent"
    assert len(other.delivered()) == 1


def test_one_broken_record_does_not_stop_recovery(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, good = (begin(office.claimed(office.reminder(name))) for name in ("broken", "good"))
    for each in (broken, good):
        end_lease(office, each)
    abandon = resolve.abandon_sending

    def fail_for_one(session: Any, claimed: OutboxClaim, *more: Any) -> None:
        if claimed.id == broken.id:
            raise RuntimeError("no such thing should happen")
        abandon(session, claimed, *more)

    monkeypatch.setattr(resolve, "abandon_sending", fail_for_one)
    office.reminder()

    report = office.send()

    assert report.counts == {"failed": 1, "uncertain": 1, "sent": 1}
    assert report.failed
    assert office.outbox(good.followup_id).state == "uncertain"
    assert office.outbox(broken.followup_id).state == "sending"


def test_an_uncertain_step_explains_itself(office: Office) -> None:
    claimed = uncertain(office)
    result = office.claim(claimed.followup_id)
    assert result is not None
    assert (result[0].reason, result[1]) == (ReasonCode.UNCERTAIN, None)
