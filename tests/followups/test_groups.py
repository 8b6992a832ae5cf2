"""Several follow-ups of a client in one mail, where the company wishes it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from backend.app import db
from backend.app.errors import ClaimLost, NotSent
from backend.app.followups import claim, documents, group, resolve, send, settle
from backend.app.followups.preview import show_due_followups
from backend.app.models import (
    Conversation,
    Followup,
    InboxMessage,
    OutboxMail,
    SentCopy,
)
from backend.app.operate.explain import explain_followup
from backend.app.operate.followup_actions import release_followup, stop_followup
from backend.app.operate.preview import preview_step
from backend.app.operate.settlement import accept_as_sent, send_again
from backend.app.operate.status import load_status
from backend.app.runtime import Report, Run
from backend.app.store import client_export, erasure, reminders
from backend.app.store.belongings import ClientFound
from backend.app.store.records import OutboxClaim
from tests.followups.letters import bounce, reply
from tests.followups.office import LEASE_SECONDS, Office, freshen
from tests.followups.text_office import TextOffice
from tests.installation import ALWAYS_OPEN

PAST = datetime(2020, 1, 1, tzinfo=UTC)
GROUPED: dict[str, Any] = {
    **ALWAYS_OPEN,
    "budgets": {**ALWAYS_OPEN["budgets"], "client_gap_days": 2},
    "invoice_unpaid": {"group": True},
}
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture
def office(office: Office) -> Office:
    """A company that groups its reminders, two days between two mails to one client."""
    wishes(office)
    return office


def wishes(office: Office, **rules: Any) -> None:
    office.installation.set_settings(office.company, {"followups": {**GROUPED, **rules}})


def invoices(office: Office, number: int = 3, client: int | None = None, **more: Any) -> list[int]:
    """Unpaid invoices of one client, all due."""
    client = office.client() if client is None else client
    return [
        office.installation.add_followup(
            office.company,
            client,
            **{
                "source_label": f"Facture F-{n}",
                "amount": Decimal(100 * n),
                "due_date": db.utc_now().date() - timedelta(days=9 + n),
                **more,
            },
        )
        for n in range(1, number + 1)
    ]


def states(office: Office, followups: list[int]) -> list[str]:
    return [office.outbox(each).state for each in followups]


def begin(claimed: OutboxClaim) -> Any:
    return db.write(claim.begin_sending, claimed, LEASE_SECONDS, db.utc_now())


def uncertain(office: Office, followups: list[int]) -> OutboxClaim:
    claimed = office.claimed(followups[0])
    assert begin(claimed) is None
    db.write(settle.settle_uncertain, claimed, "silence", db.utc_now(), 24)
    return claimed


# One mail -------------------------------------------------------------------------------------


def test_what_is_due_of_one_client_goes_in_one_mail(office: Office) -> None:
    followups = invoices(office)

    assert office.send().counts == {"sent": 1, "carried": 2}

    (mail,) = office.delivered()
    assert [office.followup(each).steps_sent for each in followups] == [1, 1, 1]
    assert states(office, followups) == ["sent"] * 3
    lead, *others = (office.outbox(each) for each in followups)
    assert (lead.message_id, lead.carried_by) == (mail.message_id, None)
    assert {(row.message_id, row.carried_by) for row in others} == {(None, lead.id)}
    assert [office.history(each) for each in followups] == [["sent"]] * 3
    assert all(office.outbox(each).facts["steps_sent"] == 0 for each in followups)
    (message,) = office.messages()
    assert {office.followup(each).conversation_id for each in followups} == {
        message.conversation_id
    }
    assert office.installation.count(Conversation) == office.installation.count(SentCopy) == 1


def test_without_the_companys_wish_each_goes_by_itself(office: Office) -> None:
    wishes(office, invoice_unpaid={})
    invoices(office)
    assert office.send().counts == {"sent": 1, "waiting": 2}


def test_another_client_another_type_and_what_is_not_due_stay_out(office: Office) -> None:
    client = office.client()
    first, second = invoices(office, 2, client)
    others = [
        *invoices(office, 1, client, type="quote_unanswered"),
        *invoices(office, 1, client, due_date=db.utc_now().date()),
        *invoices(office, 1, client, status="paid"),
        *invoices(office, 1, client, promised_until=db.utc_now().date() + timedelta(days=9)),
        *invoices(office, 1, office.client("other")),
    ]
    office.send()
    assert office.outbox(second).carried_by == office.outbox(first).id
    carried = office.installation.rows(OutboxMail, OutboxMail.carried_by.is_not(None))
    assert [row.followup_id for row in carried] == [second]
    assert [office.followup(each).steps_sent for each in others] == [0, 0, 0, 0, 1]


def test_each_member_goes_on_by_its_own_steps(office: Office) -> None:
    late, new = invoices(office, 2)
    sent = {"steps_sent": 1, "last_step_at": db.utc_now() - timedelta(days=8)}
    due = db.utc_now().date() - timedelta(days=15)
    office.installation.set(Followup, late, due_date=due, **sent)

    assert office.send().counts == {"sent": 1, "carried": 1}

    assert (office.outbox(late, 2).state, office.outbox(new, 1).state) == ("sent", "sent")
    assert [office.followup(each).steps_sent for each in (late, new)] == [2, 1]
    (mail,) = office.delivered()
    assert "règlement en attente" in mail.subject  # the firmer of the two
    assert "Nous revenons vers vous" not in mail.text  # which is not so for the new one


def test_the_budgets_count_one_mail(office: Office) -> None:
    budgets = {**GROUPED["budgets"], "per_mailbox_per_day": 2, "per_run": 2}
    wishes(office, budgets=budgets)
    for name in "abc":
        invoices(office, 3, office.client(name))
    counts = office.send().counts
    assert (counts["sent"], counts["carried"]) == (2, 4)


def test_what_goes_into_another_conversation_goes_by_itself(office: Office) -> None:
    client = office.client()
    first, second = invoices(office, 2, client)
    thread = Conversation(
        company_id=office.company, client_id=client, thread_key="k", status="closed"
    )
    office.installation.set(Followup, second, conversation_id=office.installation.add(thread))
    assert office.send().counts == {"sent": 1, "waiting": 1}
    assert office.outbox(first).state == "sent"


def test_a_member_without_words_is_left_out_and_held_at_its_turn(office: Office) -> None:
    first, second, third = invoices(office)
    office.installation.set(Followup, second, amount=None)
    assert office.send().counts == {"sent": 1, "carried": 1, "waiting": 1}
    assert office.send(db.utc_now() + timedelta(days=2)).counts["held"] == 1
    assert office.state(second) == ("held", "missing_variable: amount")
    assert states(office, [first, third]) == ["sent", "sent"]


def test_files_go_with_it_up_to_the_limit_of_one_mail(
    office: Office, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / str(office.company)
    directory.mkdir()
    for name in ("1.pdf", "2.pdf", "3.pdf"):
        (directory / name).write_bytes(b"x" * 400)
    office.installation.extra["DOCUMENTS_DIR"] = str(tmp_path)
    followups = invoices(office)
    for number, each in enumerate(followups, start=1):
        office.installation.set(Followup, each, document=f"{number}.pdf")
    monkeypatch.setattr(group, "MOST_BYTES", 1000)

    assert office.send().counts == {"sent": 1, "carried": 1, "waiting": 1}

    (mail,) = office.delivered()
    assert [file.filename for file in mail.attachments] == ["1.pdf", "2.pdf"]
    assert office.followup(followups[2]).steps_sent == 0


def test_no_file_is_read_while_a_transaction_is_open(
    office: Office, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, open_ones = documents.load_document, []

    def load(*arguments: Any) -> Any:
        open_ones.append(db.SessionLocal.kw["bind"].pool.checkedout())
        return read(*arguments)

    monkeypatch.setattr(documents, "load_document", load)
    (tmp_path / str(office.company)).mkdir()
    (tmp_path / str(office.company) / "1.pdf").write_bytes(b"x")
    office.installation.extra["DOCUMENTS_DIR"] = str(tmp_path)
    invoices(office, 2, document="1.pdf")
    assert office.send().counts == {"sent": 1, "carried": 1}
    assert open_ones == [0, 0]


# Between planning and the body ----------------------------------------------------------------


def pays(office: Office, followup: int) -> None:
    office.installation.set(Followup, followup, status="paid")


def switches_off(office: Office, followup: int) -> None:
    office.installation.set(Followup, followup, auto_enabled=False)


def is_stopped(office: Office, followup: int) -> None:
    db.write(stop_followup, office.company, followup, db.utc_now(), "Claire")


@pytest.mark.parametrize("stop", [pays, switches_off, is_stopped])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_stop_after_the_claim_lets_no_mail_out_with_that_member_in_it(
    office: Office, monkeypatch: pytest.MonkeyPatch, stop: Callable[..., None], which: int
) -> None:
    followups = invoices(office)
    stopping = _stopping(send._before_body, stop, office, followups[which])
    monkeypatch.setattr(send, "_before_body", stopping)
    office.send()

    (mail,) = office.delivered()
    for number, each in enumerate(followups):
        assert (f"F-{number + 1} " in mail.text.replace("\xa0", " ")) == (number != which)
        assert office.followup(each).steps_sent == (number != which)
    assert office.outbox(followups[which]).state == "cancelled"


def _stopping(real: Any, stop: Callable[..., None], office: Office, followup: int) -> Any:
    """Once, before the body: no transaction is open then, so that it can be said."""
    done: list[bool] = []

    def before_body(*arguments: Any) -> None:
        if not done:
            done.append(True)
            stop(office, followup)
        real(*arguments)

    return before_body


def test_when_all_have_paid_nothing_goes_out(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    followups, real = invoices(office), send._before_body

    def before_body(*arguments: Any) -> None:
        for each in followups:
            pays(office, each)
        real(*arguments)

    monkeypatch.setattr(send, "_before_body", before_body)
    assert office.send().counts == {"stopped": 3}
    assert office.delivered() == []


def test_a_worker_whose_lease_has_ended_begins_nothing_of_the_group(office: Office) -> None:
    followups = invoices(office)
    claimed = office.claimed(followups[0])
    office.installation.set(OutboxMail, claimed.id, lease_until=PAST)
    with pytest.raises(ClaimLost):
        begin(claimed)
    assert states(office, followups) == ["claimed"] * 3


@pytest.mark.parametrize("which", [0, 1])
def test_a_late_worker_leaves_what_another_took_over(office: Office, which: int) -> None:
    """Even when it learns of a stop, which makes it give up what it believes to have."""
    followups = invoices(office)
    old = office.claimed(followups[0], "old")
    for each in followups:
        office.installation.set(OutboxMail, office.outbox(each).id, lease_until=PAST)
    db.write(resolve.take_back, old, db.utc_now())
    new = office.claimed(followups[1], "new")
    assert new.followup_id == followups[1]
    assert len(new.companions) == 2
    pays(office, followups[which])

    with pytest.raises(ClaimLost):
        begin(old)

    assert states(office, followups) == ["claimed"] * 3
    assert {office.outbox(each).owner for each in followups} == {"new"}


def test_a_mail_does_not_begin_when_one_of_its_steps_is_gone(office: Office) -> None:
    """Stopped by a person, and set going again by the host application, between claim and body."""
    followups = invoices(office)
    claimed = office.claimed(followups[0])
    is_stopped(office, followups[1])
    office.installation.set(Followup, followups[1], auto_state="active")
    with pytest.raises(ClaimLost):
        begin(claimed)
    assert states(office, followups) == ["claimed", "cancelled", "claimed"]


# Settlement -----------------------------------------------------------------------------------


def test_a_passing_refusal_puts_off_all_and_a_lasting_one_holds_all(office: Office) -> None:
    followups = invoices(office)
    later = NotSent("450 later", permanent=False, code=450)
    db.write(settle.settle_refused, office.claimed(followups[0]), later, db.utc_now())
    assert states(office, followups) == ["planned"] * 3
    assert {office.outbox(each).next_attempt_at for each in followups} == {
        office.followup(followups[0]).next_action_at
    }

    for each in followups:
        office.installation.set(OutboxMail, office.outbox(each).id, next_attempt_at=None)
        office.installation.set(Followup, each, next_action_at=db.utc_now())
    never = NotSent("550 never", permanent=True, code=550)
    db.write(settle.settle_refused, office.claimed(followups[0]), never, db.utc_now())
    assert states(office, followups) == ["failed"] * 3
    assert {office.state(each)[0] for each in followups} == {"held"}

    for each in followups:
        db.write(release_followup, office.company, each, db.utc_now(), "Claire")
    assert office.send().counts == {"sent": 1, "carried": 2}


@on_sqlite
def test_what_was_tried_as_a_text_message_and_goes_in_a_mail_is_kept_as_a_mail(
    text_office: TextOffice,
) -> None:
    office = text_office.office
    lead, second = invoices(office, 2, text_office.client())
    claimed = office.claim(second, now=text_office.now)
    assert claimed is not None
    assert claimed[1] is not None
    later = NotSent("429 later", permanent=False, code=429)
    db.write(settle.settle_refused, claimed[1], later, text_office.now)
    assert office.outbox(second).channel == "sms"
    office.installation.set(OutboxMail, office.outbox(second).id, next_attempt_at=None)
    office.installation.set(Followup, second, next_action_at=db.utc_now())
    wishes(office)  # by mail from now on

    assert office.send().counts == {"sent": 1, "carried": 1}

    assert office.outbox(second).channel == "email"
    assert db.read(reminders.find_message_ids, second) == [office.outbox(lead).message_id]


@pytest.mark.parametrize("which", [0, 2])
def test_a_word_on_any_step_of_an_uncertain_mail_holds_for_all(office: Office, which: int) -> None:
    followups = invoices(office)
    uncertain(office, followups)
    assert states(office, followups) == ["uncertain"] * 3
    row = office.outbox(followups[which]).id
    db.write(accept_as_sent, office.company, row, db.utc_now(), "Claire")
    assert states(office, followups) == ["sent"] * 3
    assert [office.history(each) for each in followups] == [["uncertain", "sent"]] * 3
    assert len(office.messages()) == 1


def test_what_is_sent_again_on_a_persons_word_keeps_its_message_id(office: Office) -> None:
    followups = invoices(office)
    claimed = uncertain(office, followups)
    db.write(send_again, office.company, office.outbox(followups[1]).id, db.utc_now(), "Claire")
    assert states(office, followups) == ["planned"] * 3
    pays(office, followups[2])

    wishes(office, budgets={**GROUPED["budgets"], "client_gap_days": 0})
    assert office.send().counts == {"sent": 1, "carried": 1, "stopped": 1}

    (mail,) = office.delivered()
    assert mail.message_id == claimed.message_id
    assert states(office, followups) == ["sent", "sent", "cancelled"]


def test_proof_of_the_mail_proves_every_step_of_it(read_office: Office) -> None:
    office = read_office
    wishes(office)
    followups = invoices(office)
    claimed = uncertain(office, followups)
    office.imap.append(office.account, claimed.raw, "Sent")
    assert not office.installation.sync().failed
    assert office.send().counts["proven_sent"] == 1
    assert states(office, followups) == ["sent"] * 3
    assert len(office.messages()) == 1


@pytest.mark.parametrize("state", ["claimed", "sending"])
def test_a_run_that_was_killed_leaves_no_step_behind(office: Office, state: str) -> None:
    followups = invoices(office)
    claimed = office.claimed(followups[0])
    if state == "sending":
        begin(claimed)
    for each in followups:
        office.installation.set(OutboxMail, office.outbox(each).id, lease_until=PAST)
    office.send()
    assert states(office, followups) == ["sent" if state == "claimed" else "uncertain"] * 3


def test_steps_of_a_mail_that_a_person_stopped_are_taken_back(office: Office) -> None:
    """The worker was killed before it could see it."""
    followups = invoices(office)
    office.claimed(followups[0])
    is_stopped(office, followups[0])
    assert states(office, followups) == ["cancelled", "claimed", "claimed"]
    for each in followups[1:]:
        office.installation.set(OutboxMail, office.outbox(each).id, lease_until=PAST)
    assert office.send().counts == {"taken_back": 2, "sent": 1, "carried": 1}
    assert states(office, followups) == ["cancelled", "sent", "sent"]


# What comes back ------------------------------------------------------------------------------


def test_a_reply_stops_every_member_that_stops_on_replies(read_office: Office) -> None:
    office = read_office
    wishes(office)
    followups = invoices(office)
    office.installation.set(Followup, followups[2], auto_stop_on_response=False)
    assert office.send().counts == {"sent": 1, "carried": 2}
    office.imap.append(office.account, reply(office, office.outbox(followups[0])))
    assert not office.installation.sync().failed

    later = db.utc_now() + timedelta(days=8)
    counts = office.send(later).counts
    assert (counts["stopped"], counts["sent"]) == (2, 1)
    assert [office.state(each)[0] for each in followups] == ["stopped", "stopped", "active"]
    (answer,) = office.messages(InboxMessage.is_from_client)
    assert answer.conversation_id == office.followup(followups[1]).conversation_id


def test_a_bounce_holds_every_member(read_office: Office) -> None:
    office = read_office
    wishes(office)
    followups = invoices(office)
    office.send()
    office.imap.append(office.account, bounce(office, office.outbox(followups[0])))
    assert not office.installation.sync().failed
    office.send(db.utc_now() + timedelta(days=8))
    assert {office.state(each) for each in followups} == {("held", "bounced_hard")}


# Several workers ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(3))
def test_of_workers_at_the_same_instant_one_takes_them_all(office: Office, number: int) -> None:
    followups = invoices(office, 4)
    freshen(office.installation, db.utc_now())
    start = threading.Barrier(4)

    def work(followup: int) -> OutboxClaim | None:
        start.wait()
        result = db.write(
            claim.claim_followup, followup, f"w{followup}", LEASE_SECONDS, db.utc_now()
        )
        return result[1] if result else None

    with ThreadPoolExecutor(4) as pool:
        won = [each for each in pool.map(work, followups) if each is not None]

    (claimed,) = won
    assert sorted(claimed.followup_ids) == followups
    assert states(office, followups) == ["claimed"] * 4


# Shown ----------------------------------------------------------------------------------------


def test_a_dry_run_says_what_goes_together(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    followups = invoices(office)
    freshen(office.installation, db.utc_now())
    report, installation = Report(), office.installation
    run = Run(installation.settings, installation.vault, "r", lambda: False, db.utc_now)
    with caplog.at_level("INFO"):
        show_due_followups(run, report)
    assert report.counts == {"would_send": 1, "would_carry": 2}
    assert f"followup={followups[1]} would go in the mail of followup={followups[0]}" in caplog.text
    assert office.installation.count(OutboxMail) == 0


def test_explain_and_preview_show_what_goes_together(office: Office) -> None:
    followups = invoices(office)
    now = db.utc_now()
    freshen(office.installation, now)
    explained = db.read(explain_followup, office.company, followups[1], now, None)
    assert explained.verdict is not None
    assert explained.verdict.with_followups == (followups[0], followups[2])
    directory = office.installation.directory
    shown = db.read(preview_step, office.company, followups[1], None, now, directory)
    assert shown.with_followups == (followups[0], followups[2])
    assert "3 factures" in shown.subject


def test_status_names_an_uncertain_mail_once(office: Office) -> None:
    followups = invoices(office)
    claimed = uncertain(office, followups)
    status = db.read(load_status, office.company, lambda _h, _p: None)
    (step,) = status.uncertain
    assert (step.outbox.id, step.with_followups) == (claimed.id, tuple(followups[1:]))
    assert status.outbox["uncertain"] == 3


def test_a_client_whose_mails_carried_several_is_erased_and_exported_whole(office: Office) -> None:
    followups = invoices(office)
    office.send()
    rows = [office.outbox(each).id for each in followups]
    mails = {db.read(client_export.load_reminder, each) for each in rows}
    assert {raw for raw, _ in filter(None, mails)} == {office.outbox(followups[0]).raw}
    client = office.followup(followups[0]).client_id
    keys = (office.address(),)
    found = ClientFound(
        id=client, company_id=office.company, name="Jean", email=office.address(), keys=keys
    )
    db.write(erasure.erase, found)
    assert office.installation.count(OutboxMail) == 0
