"""Faults planted one at a time: `doctor` and `status` name each, with the command that mends it.

pytest tests/operate/test_planted_faults.py -n0 -s -k table      prints them as a table
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa

from backend.app import db
from backend.app.credentials import new_key
from backend.app.models import (
    Company,
    CronRun,
    InboxIntegration,
    LedgerEntry,
    MailboxState,
    OutboxMail,
    QuarantinedMail,
    SentCopy,
)
from backend.app.operate.health import host, records
from backend.app.store.installation import set_restored
from tests.conftest import EmbeddedImapServer, EmbeddedSmtpServer
from tests.installation import Installation
from tests.operate.conftest import Manage
from tests.servers.certificates import make_certificates

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
NOWHERE = 1  # nothing listens on port 1 of loopback


@dataclass
class Sound:
    """An installation in which nothing is wrong, and what a fault needs to spoil it."""

    installation: Installation
    imap: EmbeddedImapServer
    smtp: EmbeddedSmtpServer
    company: int
    mailbox: int
    monkeypatch: pytest.MonkeyPatch
    tmp_path: Path
    stops: list[Callable[[], None]] = field(default_factory=list)

    def mailbox_row(self, **values: Any) -> None:
        self.installation.set(InboxIntegration, self.mailbox, **values)

    def state(self, **values: Any) -> None:
        self.installation.set(MailboxState, self.mailbox, **values)

    def extra(self, **values: str) -> None:
        self.installation.extra.update(values)

    def outbox(self, **values: Any) -> int:
        client = self.installation.add_client(self.company, "jean@client.test")
        followup = self.installation.add_followup(self.company, client)
        facts = {"message_id": "a@b", "fingerprint": "f", "recipient": "jean@client.test"}
        return self.installation.add(
            OutboxMail(
                company_id=self.company,
                followup_id=followup,
                client_id=client,
                step=1,
                integration_id=self.mailbox,
                subject="Facture",
                content="x",
                raw=b"x",
                **facts,
                **values,
            )
        )

    def quarantine(self, number: int, *, for_person: bool) -> None:
        def rows(session: Any) -> None:
            for uid in range(1, number + 1):
                place = {
                    "integration_id": self.mailbox,
                    "folder": "INBOX",
                    "uidvalidity": 9,
                    "uid": uid,
                }
                session.add(LedgerEntry(**place, state="quarantined"))
                session.flush()
                again = None if for_person else datetime.now(UTC) + DAY
                kept = {"raw": b"x", "arrived_at": datetime.now(UTC), "error": "ValueError: x"}
                session.add(QuarantinedMail(**place, **kept, next_attempt_at=again))

        self.installation.change(rows)

    def runs(self, ago: timedelta) -> None:
        at = datetime.now(UTC) - ago
        values = {"started_at": at, "finished_at": at}
        self.installation.change(lambda s: s.execute(sa.update(CronRun).values(**values)))


@pytest.fixture
def sound(
    installation: Installation,
    embedded_imap: EmbeddedImapServer,
    embedded_smtp: EmbeddedSmtpServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Sound]:
    account = embedded_imap.add_user()
    company = installation.add_company()
    mailbox = installation.add_mailbox(company, account, embedded_imap, embedded_smtp)
    for name in ("attachments", "logs", "state"):
        (tmp_path / name).mkdir()
    for module in ("health.host", "install"):
        monkeypatch.setattr(f"backend.app.operate.{module}.LOGS", tmp_path / "logs")
    # The tests' certificates last two days.
    monkeypatch.setattr("backend.app.operate.health.mailboxes.CERTIFICATE_WARNING", DAY)
    monkeypatch.setattr("backend.app.operate.health.mailboxes.CERTIFICATE_FAULT", MINUTE)
    installation.sync()
    now = datetime.now(UTC)
    for script in ("sync", "followups"):
        installation.add(
            CronRun(script=script, host="h", pid=1, started_at=now, finished_at=now, exit_status=0)
        )
    made = Sound(
        installation, embedded_imap, embedded_smtp, company, mailbox, monkeypatch, tmp_path
    )
    yield made
    for stop in made.stops:
        stop()


class Fault(NamedTuple):
    """plant: what spoils the sound installation. words: what is said of it; fix: what to type.

    doctor, status: the check under which each names it; None where it cannot.
    """

    plant: Callable[[Sound], None]
    doctor: str | None
    status: str | None
    words: str
    fix: str


def expired(sound: Sound, ends_in: timedelta) -> None:
    """A certificate that ends then, at the SMTP server."""
    made = make_certificates(sound.tmp_path, ends_in=ends_in)
    server = EmbeddedSmtpServer(made)
    server.start()
    sound.stops.append(server.stop)
    trusted = sound.tmp_path / "both.pem"
    trusted.write_bytes(made.ca_file.read_bytes() + sound.imap.ca_file.read_bytes())
    sound.extra(TLS_CA_FILE=str(trusted))
    sound.mailbox_row(smtp_host="localhost", smtp_port=server.tls_port, smtp_security="tls")


def wrong_password(sound: Sound) -> None:
    sound.mailbox_row(secret=sound.installation.vault.encrypt("wrong"))
    sound.installation.sync()


def wrong_smtp_password(sound: Sound) -> None:
    wrong = sound.installation.vault.encrypt("wrong")
    sound.mailbox_row(smtp_username="u", smtp_secret=wrong)
    sound.outbox(state="planned", error="smtp:465 refused the user name or password")


def other_key(sound: Sound) -> None:
    sound.installation.key = new_key()
    sound.installation.sync()


def nowhere(sound: Sound) -> None:
    sound.mailbox_row(imap_port=NOWHERE)
    sound.installation.sync()


def full_disk(sound: Sound) -> None:
    usage = shutil.disk_usage(sound.tmp_path)._replace(free=1_000_000)
    sound.monkeypatch.setattr(host.shutil, "disk_usage", lambda _path: usage)


def migration_missing(sound: Sound) -> None:
    sound.monkeypatch.setattr(db, "head_revision", lambda: "9999")


def clock_off(sound: Sound) -> None:
    """The database is ten minutes behind this host; on SQLite cron's record is in the future."""
    if sound.installation.url.startswith("sqlite"):
        sound.runs(-10 * MINUTE)
    else:
        real = db.utc_now
        sound.monkeypatch.setattr(records.db, "utc_now", lambda: real() + 10 * MINUTE)


def broken_settings(sound: Sound) -> None:
    sound.installation.set_settings(sound.company, {"followups": {"windows": {}}})


def no_authority(sound: Sound) -> None:
    sound.extra(TLS_CA_FILE="")


def attachments_gone(sound: Sound) -> None:
    (sound.tmp_path / "attachments").rename(sound.tmp_path / "elsewhere")


def open_env_file(sound: Sound) -> None:
    file = sound.tmp_path / "no.env"
    file.write_text("")
    file.chmod(0o644)


def copy_given_up(sound: Sound) -> None:
    outbox = sound.outbox(state="sent", sent_at=datetime.now(UTC))
    copy = {"outbox_id": outbox, "integration_id": sound.mailbox, "state": "given_up"}
    again = {"next_attempt_at": datetime.now(UTC), "error": "the mailbox has no Sent folder"}
    sound.installation.change(lambda session: session.add(SentCopy(**copy, **again)))


def uncertain(sound: Sound) -> None:
    sound.outbox(state="uncertain", sending_at=datetime.now(UTC) - 2 * DAY, needs_person=True)


def killed(sound: Sound) -> None:
    at = datetime.now(UTC)
    sound.installation.add(CronRun(script="sync", host="h", pid=1, started_at=at - DAY))
    sound.installation.change(
        lambda session: session.execute(
            sa.delete(CronRun).where(CronRun.script == "sync", CronRun.finished_at.is_not(None))
        )
    )


FAULTS = {
    "wrong password": Fault(
        wrong_password, "imap_sign_in", "mailbox", "refused the user name or", "--ask-password"
    ),
    "wrong SMTP password": Fault(
        wrong_smtp_password, "smtp_sign_in", "smtp", "refused the user name or", "mailbox"
    ),
    "expired certificate": Fault(
        lambda s: expired(s, -DAY), "smtp_sign_in", None, "certificate has expired", "renew it"
    ),
    "certificate ends tomorrow": Fault(
        lambda s: expired(s, DAY / 2), "certificate", None, "valid for 0 days", "renew it"
    ),
    "unknown authority": Fault(
        no_authority, "imap_sign_in", None, "not trusted", "TLS_CA_FILE=/path"
    ),
    "wrong Sent folder": Fault(
        lambda s: s.mailbox_row(sent_folder="Snet"), "sent_folder", None, "'Snet'", "--sent-folder"
    ),
    "mail server down": Fault(
        nowhere, "imap_sign_in", "mailbox", "no connection with", "127.0.0.1|mailbox check"
    ),
    "host name wrong": Fault(
        lambda s: s.mailbox_row(imap_host="no-such-host.invalid"),
        "imap_sign_in",
        None,
        "cannot be resolved",
        "getent hosts no-such-host.invalid",
    ),
    "key gone": Fault(
        lambda s: s.extra(CREDENTIALS_KEYS=""), "key", None, "is not set", "manage.py init"
    ),
    "key is none": Fault(
        lambda s: s.extra(CREDENTIALS_KEYS="x"), "key", None, "not a key", "manage.py key new"
    ),
    "another key": Fault(
        other_key, "secret", "mailbox", "fits none of CREDENTIALS_KEYS", "CREDENTIALS_KEYS"
    ),
    "setting is no number": Fault(
        lambda s: s.extra(SYNC_WORKERS="many"), "settings", None, "SYNC_WORKERS", "correct it in"
    ),
    "full disk": Fault(full_disk, "disk", None, "1 MB are free", "make room: du"),
    "directory gone": Fault(attachments_gone, "directory", None, "is not there", "manage.py init"),
    "others can read the key": Fault(open_env_file, "env_file", None, "others", "chmod 600"),
    "database down": Fault(
        lambda s: s.extra(DATABASE_URL="postgresql://u:hunter2@127.0.0.1:1/x"),
        "database",
        None,
        "does not answer",
        "start it",
    ),
    "database file gone": Fault(
        lambda s: s.extra(DATABASE_URL=f"sqlite:///{s.tmp_path}/gone.db"),
        "database",
        None,
        "is not there",
        "manage.py init",
    ),
    "migration missing": Fault(
        migration_missing, "migrations", None, "this version needs 9999", "manage.py init"
    ),
    "clock off": Fault(clock_off, "clock", None, "clock|future", "timedatectl"),
    "cron does not run": Fault(
        lambda s: s.runs(DAY), "cron", "cron", "cron does not start it", "systemctl status cron"
    ),
    "cron was never set up": Fault(
        lambda s: s.installation.change(lambda session: session.execute(sa.delete(CronRun))),
        "cron",
        "cron",
        "has never run",
        "manage.py cron install",
    ),
    "run killed": Fault(killed, "run", "run", "was killed", "dmesg"),
    "mailbox behind": Fault(
        lambda s: s.state(fresh_at=datetime.now(UTC) - DAY),
        "lag",
        "lag",
        "last read to its end 1440 min ago",
        "sync_emails_periodic.py --mailbox",
    ),
    "quarantine grows": Fault(
        lambda s: s.quarantine(12, for_person=False),
        "quarantine",
        "quarantine",
        "12 mails in 24 hours",
        "manage.py quarantine list",
    ),
    "mail waits in quarantine": Fault(
        lambda s: s.quarantine(1, for_person=True),
        "quarantine",
        "quarantine",
        "wait for a person: 1",
        "quarantine retry ID",
    ),
    "settings broken": Fault(
        broken_settings, "company_settings", "company_settings", "windows", "settings check"
    ),
    "time zone unknown": Fault(
        lambda s: s.installation.set(Company, s.company, timezone="Europe/Pariss"),
        "time_zone",
        None,
        "did you mean Europe/Paris",
        "companies.timezone",
    ),
    "uncertain reminder": Fault(
        uncertain, "uncertain", "uncertain", "may have gone out or not", "outbox sent"
    ),
    "restored database": Fault(
        lambda s: s.installation.change(lambda q: set_restored(q, restored=True)),
        "restored",
        "restored",
        "brought back from a copy",
        "manage.py restored",
    ),
    "no copy in Sent": Fault(
        copy_given_up, "sent_copy", "sent_copy", "without a copy in Sent", "--sent-folder NAME"
    ),
}


def looked_at(manage: Manage, fault: Fault) -> tuple[list[Any], list[Any]]:
    """The findings of doctor and of status, those in order left out."""
    of_doctor = manage.json("doctor", "--quiet", "--strict", status=1)
    if fault.status is None:
        return of_doctor, []
    return of_doctor, manage.json("status")["findings"]


def named(findings: list[Any], check: str, fault: Fault) -> Any:
    """The one finding about the fault: with its words, and with its fix."""
    found = [each for each in findings if each["check"] == check]
    assert found, findings
    for each in found:
        if any(words in each["words"] for words in fault.words.split("|")):
            assert any(part in each["fix"] for part in fault.fix.split("|")) or check == "mailbox"
            assert each["fix"]
            return each
    raise AssertionError(found)


ON_SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
ON_BOTH = ["clock off", "migration missing", "quarantine grows", "wrong SMTP password"]


@pytest.mark.parametrize(
    ("name", "database"),
    [(name, base) for name in FAULTS for base in ("sqlite", *["postgresql"] * (name in ON_BOTH))],
    indirect=["database"],
)
def test_a_planted_fault_is_named_with_its_fix(name: str, sound: Sound, manage: Manage) -> None:
    fault = FAULTS[name]
    fault.plant(sound)
    of_doctor, of_status = looked_at(manage, fault)
    if fault.doctor is not None:
        each = named(of_doctor, fault.doctor, fault)
        print(f"{name:26} doctor {each['level']:8} {each['words'][:90]}\n{'':26} -> {each['fix']}")
    if fault.status is not None:
        each = named(of_status, fault.status, fault)
        print(f"{name:26} status {each['level']:8} {each['words'][:90]}\n{'':26} -> {each['fix']}")
    assert "hunter2" not in str(of_doctor)


def test_what_was_asked_for_and_is_not_there_is_a_fault(sound: Sound, manage: Manage) -> None:
    for option, words in (("--company", "no company 99"), ("--mailbox", "no active mailbox 99")):
        said = manage("doctor", "--offline", "--quiet", option, 99, status=1).stdout
        assert f"there is {words}" in said


def test_nothing_is_found_where_nothing_is_wrong(sound: Sound, manage: Manage) -> None:
    found = manage.json("doctor", "--strict")
    assert {each["level"] for each in found} == {"ok"}, found
    assert {each["check"] for each in found} >= {
        *("settings", "key", "directory", "disk", "database", "migrations", "clock", "secret"),
        *("cron", "imap_sign_in", "smtp_sign_in", "certificate"),
    }
    assert manage.json("status")["findings"] == []


@ON_SQLITE
def test_doctor_writes_nothing(sound: Sound, manage: Manage) -> None:
    written: list[str] = []

    def note(_c: Any, _cur: Any, statement: str, *_: Any) -> None:
        if statement.split()[0].upper() in ("INSERT", "UPDATE", "DELETE"):
            written.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        manage("doctor")
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    assert written == []


@ON_SQLITE
def test_doctor_makes_no_database_where_there_is_none(sound: Sound, manage: Manage) -> None:
    gone = sound.tmp_path / "gone" / "x.db"
    sound.extra(DATABASE_URL=f"sqlite:///{gone}")
    manage("doctor", status=1)
    assert not gone.parent.exists()


@ON_SQLITE
def test_doctor_is_text_of_80_columns_with_the_worst_last(sound: Sound, manage: Manage) -> None:
    FAULTS["wrong password"].plant(sound)
    text = manage("doctor", status=1).stdout
    # A path that is longer than a line stays whole, so that it can be copied.
    assert [line for line in text.splitlines() if len(line) > 80 and " " in line.strip()] == []
    assert "-> manage.py mailbox set" in text
    assert text.splitlines()[-1].startswith("faults: 2, warnings: 0")


@ON_SQLITE
def test_offline_signs_in_nowhere(sound: Sound, manage: Manage) -> None:
    sound.mailbox_row(imap_port=NOWHERE)
    assert "imap_sign_in" not in {each["check"] for each in manage.json("doctor", "--offline")}


@ON_SQLITE
def test_naming_the_sent_folder_wants_the_copies_that_were_given_up(
    sound: Sound, manage: Manage
) -> None:
    copy_given_up(sound)
    manage("mailbox", "set", sound.mailbox, "--sent-folder", "INBOX.Sent", "--no-check")
    assert manage.json("status")["findings"] == []
    [copy] = sound.installation.rows(SentCopy)
    assert (copy.state, copy.attempts) == ("wanted", 0)
    [mailbox] = sound.installation.rows(InboxIntegration)
    assert mailbox.sent_folder == "INBOX.Sent"
