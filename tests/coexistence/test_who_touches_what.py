"""The design's table "who touches what", held to every statement of whole runs of both scripts."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from backend.app.db import database_now
from backend.app.models import Client, OutboxMail, QuarantinedMail, SentCopy
from tests.coexistence.inside import run_inside
from tests.coexistence.scenes import Mailbox, due_reminders, mail_with_file, new_mailbox
from tests.coexistence.statements import TABLES, Touch, touches, watched
from tests.installation import Installation, mail
from tests.servers.faulty_smtp import FaultySmtpServer

# Section 3 of the design, word for word, with a line for each table of our own.
THE_TABLE = """
| inbox_integrations  | read                 | read                 |
| clients             | read, create         | read                 |
| inbox_folders       | read, create         | -                    |
| conversations       | read, create, update | read, create, update |
| inbox_messages      | read, create         | read, create         |
| followups           | -                    | read, update         |
| followup_history    | -                    | read, create         |
| company_settings    | read                 | read                 |
| companies           | read                 | read                 |
| mailbox_states      | read, create, update | read                 |
| folder_checkpoints  | read, create, update | read                 |
| message_ledger      | read, create, update | read                 |
| message_attachments | read, create, update | read                 |
| outbox              | read                 | read, create, update |
"""
# Not in the design's table: the mails kept raw beside the ledger, which leave it when they could
# be handled after all, the senders' counters, the OAuth2 tokens, which either script renews, the
# accounts of text messages, the runs' own records, and alembic's word on the schema.
BESIDES = """
| quarantined_mails   | read, create, update, delete | read           |
| oauth_grants        | read, update         | read, update         |
| sent_copies         | read, update                 | create         |
| sms_accounts        | -                            | read           |
| sender_hours        | create, update, delete | -                  |
| erased_mails        | read                         | -              |
| erased_files        | read, create, delete         | -              |
| cron_runs           | read, create, update, delete | read, create, update, delete |
| installation        | read, update         | read, update         |
| alembic_version     | read                         | read           |
"""
# Allowed, and not done by what these runs do: no script needs it, or no mailbox here signs in by
# OAuth2, no step is a text message, no audit is due.
NOT_DONE = """
| message_ledger      | -      | read |
| message_attachments | update | read |
| followup_history    | -      | read |
| oauth_grants        | read, update | read, update |
| sms_accounts        | -      | read |
| erased_files        | read, create, delete | - |
"""


def cells(text: str, column: int) -> set[Touch]:
    """(table, operation) for one script: column 1 is sync, 2 is follow-ups."""
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.split("\n")]
    return {
        (row[0], operation)
        for row in rows
        if row[0]
        for operation in row[column].split(", ")
        if operation != "-"
    }


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT clients.id FROM clients WHERE clients.id = ? FOR NO KEY UPDATE", "clients read"),
        ("INSERT INTO clients (name) VALUES (?) RETURNING clients.id", "clients create"),
        ("UPDATE outbox SET token=outbox.token + 1 WHERE outbox.id = ?", "outbox update"),
        (
            "UPDATE outbox SET state=? WHERE outbox.id IN (SELECT outbox.id \nFROM outbox)",
            "outbox read, outbox update",
        ),
        (
            "UPDATE outbox SET state=? WHERE EXISTS (SELECT 1 FROM followups)",
            "followups read, outbox update",
        ),
        ("DELETE FROM quarantined_mails WHERE id = ?", "quarantined_mails delete"),
        (
            "SELECT conversations.id FROM conversations LEFT OUTER JOIN clients ON true, companies",
            "clients read, companies read, conversations read",
        ),
        ("BEGIN IMMEDIATE", ""),
    ],
)
def test_statement_is_understood(statement: str, expected: str) -> None:
    assert ", ".join(" ".join(touch) for touch in sorted(touches(statement))) == expected


def test_table_speaks_of_every_table() -> None:
    assert {table for column in (1, 2) for table, _ in cells(THE_TABLE + BESIDES, column)} == TABLES


def test_each_script_touches_what_the_design_allows(
    installation: Installation, embedded_imap: Any, faulty_smtp: FaultySmtpServer
) -> None:
    box = new_mailbox(installation, embedded_imap, faulty_smtp)
    by_sync, by_followups = eventful_days(installation, embedded_imap, faulty_smtp, box)

    for column, touched in ((1, by_sync), (2, by_followups)):
        allowed = cells(THE_TABLE + BESIDES, column)
        assert sorted(touched - allowed) == []
        # What is allowed does happen here, so that the runs above are worth watching.
        assert sorted(allowed - touched) == sorted(cells(NOT_DONE, column))


def eventful_days(
    installation: Installation, imap: Any, smtp: FaultySmtpServer, box: Mailbox
) -> tuple[set[Touch], set[Touch]]:
    """What each script touches while all that can happen does happen."""
    by_sync: set[Touch] = set()
    by_followups: set[Touch] = set()

    def run(script: str, *statuses: int) -> None:
        with watched() as seen:
            assert run_inside(installation, script) in statuses
        (by_sync if script == "sync" else by_followups).update(seen)

    first_mails(installation, imap, box)
    run("sync", 1)  # one mail goes into quarantine
    quarantine_is_due(installation)
    run("sync", 1)  # it still cannot be stored
    reminders_of_every_fate(installation, imap, smtp, box)
    run("followups", 1)  # one is refused, one uncertain
    answers_and_returns(installation, imap, smtp, box)
    run("sync", 0)
    run("followups", 0)
    imap.new_uidvalidity(box.account)
    run("sync", 0)
    no_proof_comes(installation)
    run("followups", 0)
    return by_sync, by_followups


def first_mails(installation: Installation, imap: Any, box: Mailbox) -> None:
    """A mail in two mailboxes, one that looks like it, a newsletter, one that cannot be stored."""
    second = new_mailbox(installation, imap, company_id=box.company_id)
    to = box.account.address
    twice = mail(sender="jean@client.test", to=f"{to}, {second.account.address}")
    for account in (box.account, second.account):
        imap.append(account, twice)
    imap.append(box.account, twice.replace(b"Merci.", b"Non merci."))
    imap.append(box.account, mail(sender="news@shop.test", to=to, List_Id="<news.shop.test>"))
    in_the_way(installation, box).write_text("no directory can be made here")
    imap.append(box.account, mail_with_file(sender="paul@client.test", to=to))


def in_the_way(installation: Installation, box: Mailbox) -> Any:
    place = installation.settings.attachments_dir / str(box.company_id)
    place.parent.mkdir(exist_ok=True)
    return place


def reminders_of_every_fate(
    installation: Installation, imap: Any, smtp: FaultySmtpServer, box: Mailbox
) -> None:
    """Sent, refused, put off, uncertain with and without proof, answered before, held, waiting."""
    due_reminders(installation, box, 2)
    for fate in ("5xx-at-rcpt", "4xx-at-data", "drop-at-dot", "lost-at-dot"):
        client = installation.add_client(box.company_id, f"{fate}@client.test")
        installation.add_followup(box.company_id, client)
    (jean,) = installation.rows(Client, Client.email == "jean@client.test")
    installation.add_followup(box.company_id, jean.id)
    nobody = installation.add_client(box.company_id, None)
    installation.add_followup(box.company_id, nobody)
    installation.add_followup(box.company_id, nobody, due_date=None)
    installation.add_company("Couverture Martin", settings={"followups": {}})


def answers_and_returns(
    installation: Installation, imap: Any, smtp: FaultySmtpServer, box: Mailbox
) -> None:
    """Copies in Sent, an answer, a bounce; the mail in quarantine is due again."""
    accepted = smtp.accepted()
    for each in accepted:
        imap.append(box.account, each.raw, "Sent")
    answer = {"In_Reply_To": accepted[0].message_id or "", "subject": "Re: Facture"}
    sender, to = accepted[0].recipients[0], box.account.address
    imap.append(box.account, mail(sender=sender, to=to, **answer))
    imap.append(box.account, mail_with_file(sender=sender, to=to))
    returned = {"subject": "Undelivered Mail Returned to Sender", "Auto_Submitted": "auto-replied"}
    references = {"References": accepted[1].message_id or ""}
    imap.append(
        box.account, mail(sender="MAILER-DAEMON@mail.test", to=to, **returned, **references)
    )
    in_the_way(installation, box).unlink()
    quarantine_is_due(installation)
    installation.change(
        lambda s: s.execute(sa.update(SentCopy).values(next_attempt_at=database_now(-1)))
    )


def quarantine_is_due(installation: Installation) -> None:
    due = sa.update(QuarantinedMail).values(next_attempt_at=database_now(-1))
    installation.change(lambda s: s.execute(due))


def no_proof_comes(installation: Installation) -> None:
    past = sa.update(OutboxMail).where(OutboxMail.state == "uncertain")
    installation.change(lambda s: s.execute(past.values(sending_at=database_now(-25 * 3600))))
