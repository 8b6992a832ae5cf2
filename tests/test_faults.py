"""What each fault does to a run: its log line, its exit status, and all else still done.

One company with a sound mailbox and a sound client, beside which one thing is broken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from backend.app.models import (
    Followup,
    InboxMessage,
    LedgerEntry,
    MailboxState,
    MessageAttachment,
    OutboxMail,
)
from tests.conftest import EmbeddedImapServer, EmbeddedSmtpServer
from tests.installation import Installation, mail

ATTACHED = (
    b"From: Jean <jean@client.test>\r\nTo: us@example.test\r\nSubject: plan\r\n"
    b"Message-ID: <with-file@client.test>\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
    b"--b\r\nContent-Type: text/plain\r\n\r\nVoici le plan.\r\n"
    b"--b\r\nContent-Type: application/pdf\r\n"
    b'Content-Disposition: attachment; filename="plan.pdf"\r\n\r\n%PDF-1.4 plan\r\n--b--\r\n'
)


@dataclass(frozen=True)
class Sound:
    """What works: a mailbox with one new mail, and a due reminder to `client`."""

    installation: Installation
    imap: EmbeddedImapServer
    smtp: EmbeddedSmtpServer
    company: int
    mailbox: int
    client: str

    def assert_mail_came_in(self) -> None:
        stored = self.installation.rows(InboxMessage, InboxMessage.integration_id == self.mailbox)
        assert "Bonjour" in [message.subject for message in stored]

    def assert_reminder_went_out(self) -> None:
        assert len(self.smtp.delivered(self.client)) == 1


@pytest.fixture
def sound(
    installation: Installation,
    embedded_imap: EmbeddedImapServer,
    embedded_smtp: EmbeddedSmtpServer,
) -> Sound:
    account = embedded_imap.add_user()
    client = f"client-{account.address}"
    company = installation.add_company()
    mailbox = installation.add_mailbox(company, account, embedded_imap, embedded_smtp)
    embedded_imap.append(account, mail(sender="autre@client.test", to=account.address))
    installation.make_fresh(mailbox, company)
    installation.add_followup(company, installation.add_client(company, client))
    return Sound(installation, embedded_imap, embedded_smtp, company, mailbox, client)


def line(stderr: str, pattern: str) -> str:
    """The one line that tells of the fault."""
    found = [text for text in stderr.splitlines() if re.search(pattern, text)]
    assert len(found) == 1, stderr
    return found[0]


def test_wrong_password(sound: Sound) -> None:
    other = sound.imap.add_user()
    secret = sound.installation.vault.encrypt("a wrong password")
    bad = sound.installation.add_mailbox(sound.company, other, sound.imap, secret=secret)

    done = sound.installation.script("sync")

    assert done.returncode == 1
    told = line(done.stderr, "ERROR")
    assert f"integration={bad} company={sound.company} failed kind=credentials retry_in=" in told
    assert "refused the user name or password: [AUTHENTICATIONFAILED]" in told
    assert "a wrong password" not in done.stderr
    sound.assert_mail_came_in()


def test_unreachable_imap_host(sound: Sound) -> None:
    other = sound.imap.add_user()
    bad = sound.installation.add_mailbox(sound.company, other, sound.imap, imap_port=1)

    done = sound.installation.script("sync")

    assert done.returncode == 1
    told = line(done.stderr, "ERROR")
    assert f"integration={bad} company={sound.company} failed kind=network" in told
    assert "no connection with 127.0.0.1:1: Connection refused" in told
    sound.assert_mail_came_in()
    state = sound.installation.rows(MailboxState, MailboxState.integration_id == bad)[0]
    assert (state.error_kind, state.failures, state.lease_owner) == ("network", 1, None)


def test_password_under_a_key_that_is_gone(sound: Sound) -> None:
    other = sound.imap.add_user()
    bad = sound.installation.add_mailbox(sound.company, other, sound.imap, secret="gAAAAA")

    done = sound.installation.script("sync")

    assert done.returncode == 1
    assert f"integration={bad} " in line(done.stderr, "ERROR.*kind=key")
    sound.assert_mail_came_in()


def test_smtp_refuses_a_recipient(sound: Sound) -> None:
    nobody = sound.installation.add_client(sound.company, f"refused-{sound.client}")
    bad = sound.installation.add_followup(sound.company, nobody)

    done = sound.installation.script("followups")

    assert done.returncode == 1
    told = line(done.stderr, "ERROR")
    assert f"followup={bad} step=1 not sent state=failed attempt=1: 550 5.1.1" in told
    sound.assert_reminder_went_out()
    followup = sound.installation.rows(Followup, Followup.id == bad)[0]
    assert followup.auto_state == "held"
    assert followup.auto_reason.startswith("refused_by_server: 550 5.1.1")


def test_smtp_defers_a_recipient(sound: Sound) -> None:
    later = sound.installation.add_client(sound.company, f"deferred-{sound.client}")
    bad = sound.installation.add_followup(sound.company, later)

    done = sound.installation.script("followups")

    assert done.returncode == 1
    told = line(done.stderr, "WARNING")
    assert f"followup={bad} step=1 not sent state=planned attempt=1: 450 4.2.0" in told
    sound.assert_reminder_went_out()
    outbox = sound.installation.rows(OutboxMail, OutboxMail.followup_id == bad)[0]
    assert (outbox.state, outbox.smtp_code, outbox.owner) == ("planned", 450, None)


def test_smtp_host_unreachable(sound: Sound) -> None:
    other = sound.imap.add_user()
    bad = sound.installation.add_mailbox(sound.company, other, sound.imap, sound.smtp, smtp_port=1)
    sound.installation.make_fresh(bad, sound.company)
    client = sound.installation.add_client(sound.company, f"x-{sound.client}")
    sound.installation.add_followup(sound.company, client, integration_id=bad)

    done = sound.installation.script("followups")

    assert done.returncode == 1
    assert f"integration={bad} cannot send: no connection" in line(done.stderr, "ERROR")
    sound.assert_reminder_went_out()


@pytest.mark.parametrize("script", ["sync", "followups"])
def test_missing_key(sound: Sound, script: str) -> None:
    done = sound.installation.script(script, CREDENTIALS_KEYS="")
    assert done.returncode == 78
    assert "CREDENTIALS_KEYS is not set" in line(done.stderr, "ERROR")
    assert sound.smtp.delivered(sound.client) == []


def test_unwritable_attachments_directory(sound: Sound) -> None:
    account = sound.imap.add_user()
    sound.installation.add_mailbox(sound.company, account, sound.imap)
    sound.imap.append(account, ATTACHED)
    sound.imap.append(account, mail(sender="jean@client.test", to="us@example.test"))
    blocker = sound.installation.directory / "a-file"
    blocker.touch()

    done = sound.installation.script("sync", ATTACHMENTS_DIR=str(blocker / "below"))

    assert done.returncode == 1
    told = line(done.stderr, "ERROR")
    assert "quarantined error=StorageFault:" in told
    assert "cannot be written: Not a directory" in told
    sound.assert_mail_came_in()
    states = [entry.state for entry in sound.installation.rows(LedgerEntry)]
    assert sorted(states) == ["quarantined", "stored", "stored"]
    assert sound.installation.count(MessageAttachment) == 0


@pytest.mark.parametrize("script", ["sync", "followups"])
def test_database_down(sound: Sound, script: str) -> None:
    done = sound.installation.script(script, DATABASE_URL="postgresql://relance@127.0.0.1:1/none")
    assert done.returncode == 75
    told = line(done.stderr, "ERROR")
    assert "database: postgresql+psycopg2://relance@127.0.0.1:1/none does not answer" in told
    assert sound.smtp.delivered(sound.client) == []


def test_a_broken_mail_is_no_fault_at_all(sound: Sound) -> None:
    account = sound.imap.add_user()
    sound.installation.add_mailbox(sound.company, account, sound.imap)
    sound.imap.append(account, b"\xff\xfe\x00 no header at all \x00\r\n")

    done = sound.installation.script("sync")

    assert done.returncode == 0
    assert sound.installation.count(LedgerEntry, LedgerEntry.state == "stored") == 2
