"""Each packaged mail as the client's program gets it, read back by our own parser."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from backend.app import db
from backend.app.followups.type_rules import FollowupType
from backend.app.mail.compose import compose
from backend.app.mail.message import Address, OutgoingMail
from backend.app.mail.parse import parse_mail
from backend.app.models import (
    Client,
    Company,
    CompanySettings,
    Conversation,
    Followup,
    InboxIntegration,
    InboxMessage,
    MailboxState,
)
from tests.followups.office import Office, freshen, open_office
from tests.followups.test_wording import EVERY
from tests.installation import ALWAYS_OPEN


def settle_for(office: Office, **followups: Any) -> None:
    document = {"followups": {**ALWAYS_OPEN, **followups}}
    office.installation.change(
        lambda s: s.merge(CompanySettings(company_id=office.company, settings=document))
    )


@pytest.mark.parametrize(("kind", "step", "language"), EVERY)
def test_every_packaged_mail_is_read_back_with_every_header_right(
    office: Office, kind: FollowupType, step: int, language: str, tmp_path: Path
) -> None:
    (tmp_path / str(office.company)).mkdir()
    (tmp_path / str(office.company) / "Pièce n° 1.pdf").write_bytes(b"%PDF-1.7 \xff\x00")
    office.installation.extra["DOCUMENTS_DIR"] = str(tmp_path)
    escalated = {"steps": [{"days_from_due": 1, "escalation": step}]}
    settle_for(
        office,
        **{kind.value: escalated},
        mail={"signature": "12 rue des Lilas\n69003 Lyon", "payment_link": "https://pay.test/i"},
    )
    followup = office.reminder(
        type=kind.value,
        source_label="Projet « Été » n° 12",
        document="Pièce n° 1.pdf",
    )
    client = office.followup(followup).client_id
    office.installation.set(Client, client, language=language, name="Élodie Œuvrard, née Dùpont")
    before = db.utc_now().replace(microsecond=0)

    assert office.send().counts == {"sent": 1}

    (mail,) = office.delivered()
    assert mail.sender == Address(office.account.address, "Claire Dubois")
    assert mail.to == (Address(office.address(), "Élodie Œuvrard, née Dùpont"),)
    assert (mail.cc, mail.bcc, mail.reply_to) == ((), (), ())
    assert (mail.in_reply_to, mail.references) == ((), ())
    assert mail.message_id == office.outbox(followup).message_id
    assert mail.date is not None
    assert before <= mail.date <= db.utc_now()
    assert mail.header("auto-submitted") == "auto-generated"
    assert mail.header("content-language") == language
    way_out = f"<mailto:{office.account.address}?subject=STOP>"
    advertising = kind is FollowupType.INACTIVE_CLIENT
    assert mail.header("list-unsubscribe") == (way_out if advertising else "")
    assert advertising == any(word in mail.text for word in ("«\u00a0stop\u00a0»", "“stop”"))
    assert mail.header("mime-version") == "1.0"
    assert {name: len(values) for name, values in mail.headers.items() if len(values) > 1} == {}
    outbox = office.outbox(followup)
    assert mail.subject == " ".join(outbox.subject.split())
    assert mail.text.split() == outbox.content.split()
    assert mail.html is not None
    assert "69003 Lyon" in mail.html
    assert [(file.filename, file.content) for file in mail.attachments] == [
        ("Pièce n° 1.pdf", b"%PDF-1.7 \xff\x00")
    ]
    assert mail.notes == ()


def test_a_company_may_leave_the_automatic_mark_out_and_sign_with_its_own_name(
    office: Office,
) -> None:
    settle_for(office, mail={"auto_submitted": False, "sender_name": "L’atelier"})
    office.reminder()
    office.send()
    (mail,) = office.delivered()
    assert mail.header("auto-submitted") == ""
    assert mail.sender == Address(office.account.address, "L’atelier")
    assert "L’atelier\n" in mail.text


# Reply-To: a mailbox of the company that is read


def with_reply_to(office: Office, address: str) -> None:
    settle_for(office, mail={"reply_to": address})


def test_answers_go_to_another_mailbox_of_the_company(office: Office) -> None:
    other = open_office(office.installation, office.smtp, company=office.company)
    with_reply_to(office, other.account.address)
    office.reminder(integration_id=office.mailbox)
    assert office.send().counts == {"sent": 1}
    (mail,) = office.delivered()
    assert mail.reply_to == (Address(other.account.address),)


def test_advertising_is_refused_where_answers_go(office: Office) -> None:
    other = open_office(office.installation, office.smtp, company=office.company)
    with_reply_to(office, other.account.address)
    office.reminder(type="inactive_client", integration_id=office.mailbox)
    assert office.send().counts == {"sent": 1}
    (mail,) = office.delivered()
    assert mail.header("list-unsubscribe") == f"<mailto:{other.account.address}?subject=STOP>"


def test_where_answers_go_must_be_fresh_too(office: Office) -> None:
    other = open_office(office.installation, office.smtp, company=office.company)
    with_reply_to(office, other.account.address)
    followup = office.reminder(integration_id=office.mailbox)
    office.send(limit=0)  # every mailbox is fresh
    stale = db.utc_now() - timedelta(hours=1)
    office.installation.set(MailboxState, other.mailbox, fresh_at=stale)
    assert office.installation.send().counts == {"waiting": 1}
    assert office.state(followup) == ("active", "mailbox_not_fresh")


def test_where_an_earlier_step_may_be_answered_must_be_fresh_too(office: Office) -> None:
    other = open_office(office.installation, office.smtp, company=office.company)
    followup = office.reminder(integration_id=other.mailbox)
    assert office.send().counts == {"sent": 1}
    office.installation.set(Followup, followup, integration_id=office.mailbox)
    then = office.followup(followup).next_action_at
    freshen(office.installation, then)
    office.installation.set(MailboxState, other.mailbox, fresh_at=then - timedelta(hours=1))

    assert office.installation.send(then).counts == {"waiting": 1}
    assert office.state(followup) == ("active", "mailbox_not_fresh")

    office.installation.set(InboxIntegration, other.mailbox, is_active=False)
    assert office.send(then + timedelta(hours=1)).counts == {"sent": 1}


@pytest.mark.parametrize("why", ["nobody's", "another company's", "inactive"])
def test_answers_that_nobody_would_read_hold_the_reminder(office: Office, why: str) -> None:
    address = "compta@elsewhere.test"
    if why == "another company's":
        address = open_office(office.installation, office.smtp).account.address
    elif why == "inactive":
        other = open_office(office.installation, office.smtp, company=office.company)
        office.installation.set(InboxIntegration, other.mailbox, is_active=False)
        address = other.account.address
    with_reply_to(office, address)
    followup = office.reminder(integration_id=office.mailbox)
    assert office.send().counts == {"held": 1}
    assert office.state(followup) == ("held", f"reply_to_unread: {address}")
    assert office.delivered() == []


# What no mail can be made of is held with its reason, not tried again and again


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"payment_link": "https://[x"}, "missing_variable: payment_link"),
        ({"payment_link": "https://pay.test/{id}"}, "missing_variable: payment_link"),
        ({"source_label": ""}, "missing_variable: source_label"),
    ],
)
def test_a_link_or_a_label_that_no_client_could_use_holds(
    office: Office, columns: dict[str, Any], reason: str
) -> None:
    followup = office.reminder(**columns)
    assert office.send().counts == {"held": 1}
    assert office.state(followup) == ("held", reason)


def test_a_template_that_cannot_be_filled_in_holds(office: Office) -> None:
    text = "{% if amount > 100 %}Une grosse somme.{% endif %}"
    settle_for(office, templates={"invoice_unpaid_1": {"fr": {"subject": "s", "text": text}}})
    followup = office.reminder()
    assert office.send().counts == {"held": 1}
    state, reason = office.state(followup)
    assert state == "held"
    assert reason is not None
    assert reason.startswith("wording_unusable: the template cannot be filled in: ")


def test_a_mailbox_whose_address_no_mail_can_bear_holds(office: Office) -> None:
    office.installation.set(InboxIntegration, office.mailbox, email="bureau no 2@atelier.example")
    followup = office.reminder()
    assert office.send().counts == {"held": 1}
    words = "mail_unusable: sender: no address that can be written to: "
    assert office.state(followup) == ("held", words + "'bureau no 2@atelier.example'")


@pytest.mark.parametrize("zone", ["Europe", "a" * 64, "../Paris", ""])
def test_a_time_zone_that_is_none_holds(office: Office, zone: str) -> None:
    office.installation.set(Company, office.company, timezone=zone)
    followup = office.reminder()
    assert office.send().counts == {"held": 1}
    assert office.state(followup) == ("held", "unknown_time_zone")


# What a late invoice costs a professional


@pytest.mark.parametrize(
    ("country", "rules", "stated"),
    [
        ("FR", {"from_step": 1}, True),
        ("fr", {"from_step": 1}, True),
        ("BE", {"from_step": 1}, False),
        ("FR", {"from_step": 2}, False),
        ("FR", {"from_step": 1, "charge": 0}, False),
        ("FR", {"from_step": 1, "charge": 0, "rate_percent": 12.15}, True),
    ],
)
def test_late_payment_is_stated_where_something_is_owed_and_only_there(
    office: Office, country: str, rules: dict[str, Any], stated: bool
) -> None:
    settle_for(office, late_payment=rules)
    office.installation.set(Company, office.company, country=country)
    followup = office.reminder()
    office.installation.set(Client, office.followup(followup).client_id, is_professional=True)
    assert office.send().counts == {"sent": 1}
    assert ("L441-10" in office.outbox(followup).content) == stated


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_an_amount_that_is_no_number_holds(office: Office) -> None:
    settle_for(office, late_payment={"from_step": 1})
    followup = office.reminder(amount=Decimal("NaN"))
    office.installation.set(Client, office.followup(followup).client_id, is_professional=True)
    assert office.send().counts == {"held": 1}
    assert office.state(followup) == ("held", "missing_variable: amount")


# The conversation that a reminder joins


def add_message(office: Office, conversation: int, name: str, **more: Any) -> None:
    values: dict[str, Any] = {
        "company_id": office.company,
        "conversation_id": conversation,
        "external_id": f"{name}@client.test",
        "fingerprint": name,
        "from_key": office.address(),
        "recipients": [office.account.address],
        "is_from_client": True,
        "kind": "human",
        "placement": "new_thread",
        "sent_at": db.utc_now() - timedelta(days=30),
        "arrived_at": db.utc_now() - timedelta(days=30),
    }
    office.installation.add(InboxMessage(**(values | more)))


def test_a_reminder_answers_what_the_client_last_wrote_or_got(office: Office) -> None:
    followup = office.reminder(created_at=db.utc_now() - timedelta(days=1))
    client = office.followup(followup).client_id
    conversation = office.installation.add(
        Conversation(company_id=office.company, client_id=client, thread_key="mail:x")
    )
    day = timedelta(days=1)
    start = db.utc_now() - 20 * day

    def add(name: str, number: int, **more: Any) -> None:
        at = start + number * day
        add_message(office, conversation, name, sent_at=at, arrived_at=at, **more)

    add("asks", 1, in_reply_to="before@elsewhere.test")
    ours = {"from_key": office.account.address, "is_from_client": False, "kind": "own"}
    add("offer", 2, in_reply_to="asks@client.test", recipients=[office.address()], **ours)
    add("thanks", 3, in_reply_to="offer@client.test")
    # Not part of what the client sees: a vacation notice, a word inside the company, a mail
    # without a Message-ID.
    add("away", 4, in_reply_to="offer@client.test", kind="auto_reply")
    add("inside", 5, in_reply_to="thanks@client.test", recipients=["boss@example.test"], **ours)
    add("synthetic", 6, external_id="0123@synthetic.invalid")
    office.installation.set(Followup, followup, conversation_id=conversation)

    assert office.send().counts == {"sent": 1}

    (mail,) = office.delivered()
    assert mail.in_reply_to == ("thanks@client.test",)
    assert mail.references == (
        "before@elsewhere.test",
        "asks@client.test",
        "offer@client.test",
        "thanks@client.test",
    )


def test_a_long_conversation_gives_a_bounded_header_and_a_loop_ends(office: Office) -> None:
    followup = office.reminder(created_at=db.utc_now() - timedelta(days=1))
    client = office.followup(followup).client_id
    conversation = office.installation.add(
        Conversation(company_id=office.company, client_id=client, thread_key="mail:x")
    )
    start = db.utc_now() - timedelta(days=20)
    for number in range(60):
        at = start + timedelta(minutes=number)
        parent = f"m{number - 1 if number else 59}@client.test"  # the first answers the last
        add_message(
            office, conversation, f"m{number}", in_reply_to=parent, sent_at=at, arrived_at=at
        )
    office.installation.set(Followup, followup, conversation_id=conversation)
    assert office.send().counts == {"sent": 1}
    (mail,) = office.delivered()
    assert mail.references == tuple(f"m{number}@client.test" for number in range(28, 60))


@pytest.mark.parametrize("value", ["a\r\nBcc: x@y.test", "a\nb", "a\0b", "\ud800"])
def test_no_header_can_be_injected(value: str) -> None:
    good = OutgoingMail(
        message_id="a@b.test",
        sender=Address("a@b.test", "A"),
        recipient=Address("c@d.test", "C"),
        subject="s",
        text="t",
        date=db.utc_now(),
    )
    assert parse_mail(compose(good)).notes == ()
    for change in (
        {"subject": value},
        {"sender": Address("a@b.test", value)},
        {"recipient": Address("c@d.test", value)},
        {"reply_to": Address(f"{value}@d.test")},
        {"in_reply_to": value},
        {"references": (value,)},
        {"extra_headers": {"X-A": value}},
    ):
        with pytest.raises(ValueError, match=r"line break or NUL|lone surrogate"):
            compose(replace(good, **change))  # type: ignore[arg-type]
