"""What a sent, refused or doubtful step leaves behind, in one commit each."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from backend.app import db
from backend.app.errors import ClaimLost, NotSent
from backend.app.followups import claim, settle
from backend.app.models import Conversation, Followup, FollowupHistory, InboxMessage, OutboxMail
from backend.app.store import followups
from backend.app.store.records import OutboxClaim
from tests.followups import letters
from tests.followups.office import LEASE_SECONDS, FaultyPost, Office, everything, open_office
from tests.installation import Installation
from tests.servers.embedded_imap import EmbeddedImapServer
from tests.servers.faulty_smtp import AcceptedMail, FaultySmtpServer


def sending(office: Office, followup: int | None = None) -> OutboxClaim:
    """A step whose body is on its way."""
    claimed = office.claimed(office.reminder() if followup is None else followup)
    assert db.write(claim.begin_sending, claimed, LEASE_SECONDS, db.utc_now()) is None
    return claimed


def settle_sent(claimed: OutboxClaim) -> int:
    return db.write(settle.settle_sent, claimed, db.utc_now(), reply="250 OK")


def settle_refused(claimed: OutboxClaim) -> object:
    refused = NotSent("554 no", permanent=True, code=554)
    return db.write(settle.settle_refused, claimed, refused, db.utc_now())


def settle_uncertain(claimed: OutboxClaim) -> object:
    return db.write(settle.settle_uncertain, claimed, "silence", db.utc_now(), 24)


def settle_down(claimed: OutboxClaim) -> object:
    return db.write(settle.settle_mailbox_down, claimed, "no", db.utc_now())


SETTLEMENTS = [settle_sent, settle_refused, settle_uncertain, settle_down]


# An uncertain step may still be settled as sent: see test_recover.py.
PAIRS = [pair for pair in product(SETTLEMENTS, repeat=2) if pair != (settle_uncertain, settle_sent)]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_step_is_settled_once(
    office: Office,
    first: Callable[[OutboxClaim], object],
    second: Callable[[OutboxClaim], object],
) -> None:
    claimed = sending(office)
    first(claimed)
    before = everything(office.installation)

    with pytest.raises(ClaimLost):
        second(claimed)

    assert everything(office.installation) == before


def test_a_settlement_that_fails_half_way_leaves_nothing_of_itself(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = sending(office)
    before = everything(office.installation)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("in the very last statement")

    monkeypatch.setattr(followups, "record_step_sent", fail)
    with pytest.raises(RuntimeError):
        settle_sent(claimed)

    assert everything(office.installation) == before


def test_steps_of_one_client_settled_at_the_same_instant_share_a_conversation(
    office: Office,
) -> None:
    first = office.reminder()
    client = office.followup(first).client_id
    others = [
        office.installation.add_followup(office.company, client, source_label=f"Facture {n}")
        for n in range(3)
    ]
    claims = [sending(office, each) for each in (first, *others)]

    with ThreadPoolExecutor(4) as pool:
        conversations = list(pool.map(settle_sent, claims))

    assert len(set(conversations)) == 1
    assert office.installation.count(Conversation) == 1
    assert len(office.messages()) == 4


def test_the_copy_in_sent_that_the_sync_script_read_first_is_the_message(
    installation: Installation,
    faulty_smtp: FaultySmtpServer,
    embedded_imap: EmbeddedImapServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The provider files it, and a sync reads it, before the final dot is answered."""
    installation.ca_file = embedded_imap.ca_file
    office = open_office(installation, FaultyPost(faulty_smtp), embedded_imap)
    followup = office.reminder()
    accept = faulty_smtp.accept

    def accept_and_file(mail: AcceptedMail) -> None:
        embedded_imap.append(office.account, mail.raw, "Sent")
        installation.sync()
        accept(mail)

    monkeypatch.setattr(faulty_smtp, "accept", accept_and_file)

    assert office.send().counts == {"sent": 1}
    (message,) = office.messages()
    assert message.placement == "own_reminder"
    assert office.followup(followup).conversation_id == message.conversation_id
    assert installation.count(Conversation) == 1


def test_the_copy_in_sent_that_comes_later_is_no_second_message(read_office: Office) -> None:
    office = read_office
    followup = office.reminder()
    office.send()
    office.imap.append(office.account, bytes(office.outbox(followup).raw), "Sent")

    office.installation.sync()

    assert len(office.messages()) == 1
    assert office.installation.count(Conversation) == 1


def test_a_conversation_that_the_company_deleted_meanwhile_is_opened_anew(office: Office) -> None:
    claimed = sending(office)
    gone = OutboxClaim(
        **{
            name: getattr(claimed, name)
            for name in OutboxClaim.__dataclass_fields__
            if name != "conversation_id"
        },
        conversation_id=4711,
    )
    conversation = settle_sent(gone)
    assert office.messages()[0].conversation_id == conversation


def test_a_refusal_for_good_is_held_with_the_servers_words(office: Office) -> None:
    claimed = sending(office)
    words = "550 5.1.1 " + "x" * 600
    refused = NotSent(words, permanent=True, code=550)

    db.write(settle.settle_refused, claimed, refused, db.utc_now())

    row = office.outbox(claimed.followup_id)
    assert (row.state, row.smtp_code, row.error) == ("failed", 550, words[:500])
    state, reason = office.state(claimed.followup_id)
    assert state == "held"
    assert reason is not None
    assert reason.startswith("refused_by_server: 550 5.1.1 x")
    assert len(reason) == 200
    assert office.history(claimed.followup_id) == ["held"]
    assert office.messages() == []


def test_an_uncertain_step_is_written_down_and_looked_at_when_the_time_for_proof_is_over(
    office: Office,
) -> None:
    claimed, now = sending(office), db.utc_now()
    db.write(settle.settle_uncertain, claimed, "timeout: no answer", now, 24)

    followup = claimed.followup_id
    assert office.state(followup) == ("active", "uncertain")
    assert office.followup(followup).next_action_at == now + timedelta(hours=24)
    (history,) = office.installation.rows(FollowupHistory)
    assert (history.status, history.step) == ("uncertain", 1)
    assert history.reason == "timeout: no answer"
    assert office.messages() == []
    assert office.followup(followup).steps_sent == 0


@pytest.mark.parametrize("settlement", [settle_refused, settle_uncertain])
def test_a_settlement_does_not_set_a_stopped_followup_going(
    office: Office, settlement: Callable[[OutboxClaim], object]
) -> None:
    claimed = sending(office)
    office.installation.set(
        Followup, claimed.followup_id, auto_state="stopped", auto_reason="by_person"
    )
    settlement(claimed)
    assert office.state(claimed.followup_id) == ("stopped", "by_person")


def test_two_workers_that_decide_to_stop_write_it_down_once(office: Office) -> None:
    """One finds it paid between DATA and the body, the other at its own look before that."""
    claimed = office.claimed(office.reminder())
    office.installation.set(Followup, claimed.followup_id, status="paid")
    office.claim(claimed.followup_id, "b")
    assert office.state(claimed.followup_id) == ("stopped", "paid")

    stop = db.write(claim.begin_sending, claimed, LEASE_SECONDS, db.utc_now())

    assert stop is not None
    assert office.outbox(claimed.followup_id).state == "cancelled"
    assert office.history(claimed.followup_id) == ["stopped"]


def test_a_message_of_the_reminder_is_found_by_an_answer_before_its_settlement(
    read_office: Office,
) -> None:
    """The answer is quicker than we are: both lie in one conversation."""
    office = read_office
    claimed = sending(office)
    row = office.outbox(claimed.followup_id)
    office.imap.append(office.account, letters.reply(office, row))
    office.installation.sync()

    settle_sent(claimed)

    assert office.installation.count(Conversation) == 1
    assert {message.conversation_id for message in office.messages()} == {
        office.followup(claimed.followup_id).conversation_id
    }
    assert office.installation.count(InboxMessage) == 2
    assert office.installation.count(OutboxMail) == 1
