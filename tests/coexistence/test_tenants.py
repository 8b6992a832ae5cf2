"""Two companies whose clients share everything that can be forged: nothing crosses.

Both have a client with the same address, mails with the same Message-IDs and subjects, and the
same mails in their mailboxes; each client also tries to reach into the other company's thread.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.app import db
from backend.app.mail.message import MailKind
from backend.app.models import (
    AutoState,
    Base,
    Client,
    Conversation,
    Followup,
    InboxIntegration,
    InboxMessage,
    LedgerEntry,
    OutboxMail,
)
from backend.app.store.oauth import put_grant
from tests.coexistence.books import delivery_faults, imbalances, unaccounted
from tests.coexistence.scenes import Mailbox, fill, mail_with_file, new_mailbox
from tests.installation import Installation, mail
from tests.servers.faulty_smtp import FaultySmtpServer

SHARED_CLIENT = "Jean Petit <jean@client.test>"
SHARED_ID = "<everywhere@client.test>"
REFERENCES = [
    constraint
    for table in Base.metadata.sorted_tables
    for constraint in sorted(table.foreign_key_constraints, key=lambda c: str(c.name))
    if len(constraint.columns) == 2 and "company_id" in constraint.columns
]
REFERRED_TO = {key.referred_table for key in REFERENCES if key.referred_table is not key.parent}


@pytest.fixture
def boxes(
    installation: Installation, embedded_imap: Any, faulty_smtp: FaultySmtpServer
) -> tuple[Mailbox, Mailbox]:
    """The empty mailboxes of two companies."""
    first, second = (new_mailbox(installation, embedded_imap, faulty_smtp) for _ in range(2))
    return first, second


def crossings(installation: Installation) -> list[str]:
    """Mails in the ledger of one company's mailbox that are messages of another company.

    Every other reference between companies' tables is refused by the schema itself, see below.
    """
    query = (
        sa.select(LedgerEntry.integration_id, LedgerEntry.uid)
        .join(InboxIntegration, InboxIntegration.id == LedgerEntry.integration_id)
        .join(InboxMessage, InboxMessage.id == LedgerEntry.message_id)
        .where(InboxIntegration.company_id != InboxMessage.company_id)
    )
    return [str(row) for row in installation.change(lambda s: s.execute(query).all())]


def test_same_mails_become_separate_clients_conversations_and_messages(
    installation: Installation, embedded_imap: Any, boxes: tuple[Mailbox, Mailbox]
) -> None:
    to = ", ".join(box.account.address for box in boxes)
    mails = [
        mail(sender=SHARED_CLIENT, to=to, subject="Devis", message_id=SHARED_ID),
        mail(sender=SHARED_CLIENT, to=to, subject="Re: Devis", In_Reply_To=SHARED_ID),
        mail(sender=SHARED_CLIENT, to=to, subject="Re: Devis"),
    ]
    for box in boxes:
        fill(embedded_imap, box.account, iter(mails))
    assert not installation.sync().failed

    for box in boxes:
        mine = {
            model: installation.count(model, model.company_id == box.company_id)
            for model in (Client, Conversation, InboxMessage)
        }
        assert mine == {Client: 1, Conversation: 1, InboxMessage: 3}
        assert unaccounted(installation, embedded_imap, box.id, box.account) == []
    assert {row.state for row in installation.rows(LedgerEntry)} == {"stored"}
    assert crossings(installation) == []
    assert imbalances(installation) == []


def test_answer_stops_the_reminder_of_its_own_company_only(
    installation: Installation,
    embedded_imap: Any,
    faulty_smtp: FaultySmtpServer,
    boxes: tuple[Mailbox, Mailbox],
) -> None:
    reminded, silent = (reminder_to_the_shared_client(installation, box) for box in boxes)
    assert installation.send().counts == {"sent": 2}
    reminder = installation.rows(OutboxMail, OutboxMail.followup_id == reminded)[0]
    embedded_imap.append(
        boxes[0].account,
        mail(
            sender=SHARED_CLIENT,
            to=boxes[0].account.address,
            subject="Re: Facture",
            In_Reply_To=f"<{reminder.message_id}>",
        ),
    )
    assert not installation.sync().failed
    for box in boxes:
        installation.make_fresh(box.id, box.company_id)
    for followup in (reminded, silent):
        installation.send(followup_id=followup)

    (stopped,) = installation.rows(Followup, Followup.id == reminded)
    assert (stopped.auto_state, stopped.status) == (AutoState.STOPPED.value, "answered")
    (going_on,) = installation.rows(Followup, Followup.id == silent)
    assert going_on.auto_state == AutoState.ACTIVE.value
    assert crossings(installation) == []
    assert imbalances(installation) == []
    assert delivery_faults(installation, faulty_smtp.accepted()) == []


def test_absence_puts_off_the_reminder_of_its_own_company_only(
    installation: Installation, embedded_imap: Any, boxes: tuple[Mailbox, Mailbox]
) -> None:
    for box in boxes:
        reminder_to_the_shared_client(installation, box)
    absent = mail(sender=SHARED_CLIENT, to=boxes[0].account.address, subject="Absente")
    embedded_imap.append(boxes[0].account, absent)
    installation.sync()
    (notice,) = installation.rows(InboxMessage)
    back_on = db.utc_now().date() + timedelta(days=5)
    installation.set(InboxMessage, notice.id, kind=MailKind.AUTO_REPLY.value, back_on=back_on)
    installation.send()
    assert [row.company_id for row in installation.rows(OutboxMail)] == [boxes[1].company_id]


def test_a_subject_joins_a_conversation_of_its_own_company_only(
    installation: Installation, embedded_imap: Any, boxes: tuple[Mailbox, Mailbox]
) -> None:
    for box, subject in zip(boxes, ("Devis", "Re: Devis"), strict=True):
        raw = mail(sender=SHARED_CLIENT, to=box.account.address, subject=subject)
        embedded_imap.append(box.account, raw)
        assert not installation.sync().failed
    of_companies = [row.company_id for row in installation.rows(Conversation)]
    assert of_companies == [box.company_id for box in boxes]


def reminder_to_the_shared_client(installation: Installation, box: Mailbox) -> int:
    client = installation.add_client(box.company_id, "jean@client.test")
    followup = installation.add_followup(box.company_id, client)
    installation.make_fresh(box.id, box.company_id)
    return followup


def test_reference_to_another_companys_reminder_opens_a_thread_of_ones_own(
    installation: Installation, embedded_imap: Any, boxes: tuple[Mailbox, Mailbox]
) -> None:
    followup = reminder_to_the_shared_client(installation, boxes[0])
    installation.send()
    (reminder,) = installation.rows(OutboxMail, OutboxMail.followup_id == followup)
    to = boxes[1].account.address
    forged = f"<{reminder.message_id}>"
    embedded_imap.append(
        boxes[1].account,
        mail(sender=SHARED_CLIENT, to=to, subject="Bien reçu", In_Reply_To=forged),
    )
    embedded_imap.append(
        boxes[1].account, mail(sender=SHARED_CLIENT, to=to, subject="Facture", message_id=forged)
    )
    assert not installation.sync(company_id=boxes[1].company_id).failed

    both = sa.or_(InboxMessage.in_reply_to == forged.strip("<>"), InboxMessage.subject == "Facture")
    placed = installation.rows(InboxMessage, InboxMessage.company_id == boxes[1].company_id, both)
    # The second is what the first answers, as far as their own company can tell.
    assert [message.placement for message in placed] == ["new_thread", "answered_by"]
    assert crossings(installation) == []


def test_copy_in_another_companys_mailbox_proves_nothing(
    installation: Installation,
    embedded_imap: Any,
    faulty_smtp: FaultySmtpServer,
    boxes: tuple[Mailbox, Mailbox],
) -> None:
    client = installation.add_client(boxes[0].company_id, "drop-at-dot@client.test")
    installation.add_followup(boxes[0].company_id, client)
    installation.make_fresh(boxes[0].id, boxes[0].company_id)
    installation.send()
    (copy,) = faulty_smtp.accepted()
    embedded_imap.append(boxes[1].account, copy.raw, "Sent")
    installation.sync()
    installation.send()

    (reminder,) = installation.rows(OutboxMail)
    assert reminder.state == "uncertain"
    assert crossings(installation) == []


def test_schema_refuses_every_reference_into_another_company(
    installation: Installation, embedded_imap: Any, boxes: tuple[Mailbox, Mailbox]
) -> None:
    for box in boxes:
        reminder_to_the_shared_client(installation, box)
        db.write(put_grant, box.id, "custom", "sealed")
    installation.send()
    for box in boxes:
        sender, to = "paul@client.test", box.account.address
        embedded_imap.append(box.account, mail_with_file(sender=sender, to=to))
    installation.sync()

    ours, theirs = (box.company_id for box in boxes)
    accepted = [
        str(key.name) for key in REFERENCES if not is_refused(installation, key, ours, theirs)
    ]
    assert len(REFERENCES) >= 15
    assert accepted == []


def is_refused(
    installation: Installation, key: sa.ForeignKeyConstraint, ours: int, theirs: int
) -> bool:
    """Whether our row may not be made to refer to a row of theirs."""
    table, target = key.parent, key.referred_table
    (column,) = (name for name in key.column_keys if name != "company_id")
    their_id = sa.select(sa.func.min(target.c.id)).where(target.c.company_id == theirs)

    def refer_across(session: Session) -> None:
        found = session.scalar(their_id)
        assert found, f"no row in {target.name}"
        # Their rows of this table go, or a unique key might refuse before the reference does.
        if table is not target and table not in REFERRED_TO:
            session.execute(sa.delete(table).where(table.c.company_id == theirs))
        changed = sa.update(table).where(table.c.company_id == ours).values({column: found})
        assert session.execute(changed.returning(table.c.company_id)).first(), table.name

    try:
        installation.change(refer_across)
    except IntegrityError as refused:
        return "foreign key" in str(refused.orig).lower()
    return False


def test_every_reference_between_companies_tables_names_the_company() -> None:
    loose = [
        f"{table.name}.{key.column_keys}"
        for table in Base.metadata.sorted_tables
        for key in table.foreign_key_constraints
        if "company_id" in table.c and "company_id" in key.referred_table.c
        if "company_id" not in key.column_keys
    ]
    assert loose == []
