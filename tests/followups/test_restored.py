"""A database that was brought back from a copy sends nothing again that went out since.

Three witnesses: this host's mark, the Sent folder, a person. With any of them nothing goes twice.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session, sessionmaker

from backend.app import db
from backend.app import mark as mark_module
from backend.app.engines import create_engine
from backend.app.errors import NotSent
from backend.app.followups import send, settle
from backend.app.mark import Mark
from backend.app.models import Followup, FollowupHistory, OutboxMail
from backend.app.models import Installation as InstallationRow
from backend.app.store.installation import Count, load_secret
from tests.conftest import EmbeddedImapServer, EmbeddedSmtpServer
from tests.followups.office import Office
from tests.installation import Installation, mail
from tests.operate.conftest import Manage
from tests.servers.databases import back_up, bring_back

ON_SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
OLDER = "the database is an older copy"


@pytest.fixture
def office(
    installation: Installation,
    embedded_imap: EmbeddedImapServer,
    embedded_smtp: EmbeddedSmtpServer,
) -> Office:
    account = embedded_imap.add_user()
    company = installation.add_company()
    mailbox = installation.add_mailbox(company, account, embedded_imap, embedded_smtp)
    return Office(installation, embedded_smtp, embedded_imap, account, company, mailbox)


def sent_since_the_backup(office: Office) -> tuple[int, str]:
    """A follow-up whose first reminder went out after the copy was made, and the copy."""
    followup = office.reminder()
    run(office, "sync")
    office.installation.close()
    copy = back_up(office.installation.url)
    run(office, "followups")
    assert len(office.delivered()) == 1
    return followup, copy


def run(office: Office, script: str, status: int = 0) -> str:
    """A run as cron starts it; what it logged."""
    done, said = office.installation.as_cron(script)
    assert done == status, said
    return said


def restore(office: Office, copy: str, *, with_mark: bool = True) -> None:
    office.installation.close()
    bring_back(office.installation.url, copy)
    if not with_mark:
        shutil.rmtree(office.installation.directory / "state")


def file_in_sent(office: Office) -> None:
    """What the provider, or the sync script three minutes later, does."""
    [raw] = office.smtp.delivered(office.address())
    office.imap.append(office.account, raw, "Sent")


def state(office: Office, followup: int) -> tuple[str, str | None, int]:
    [row] = office.installation.rows(Followup, Followup.id == followup)
    return row.auto_state, row.auto_reason, row.steps_sent


def test_a_host_that_has_seen_the_newer_database_holds_what_may_have_gone_out(
    office: Office,
) -> None:
    followup, copy = sent_since_the_backup(office)
    restore(office, copy)
    assert OLDER in run(office, "sync", status=1)
    assert "reason=restored" in run(office, "followups")
    assert len(office.delivered()) == 1
    assert state(office, followup) == ("held", "restored", 0)


def test_a_person_lets_one_go_on_or_ends_the_holding_for_all(office: Office) -> None:
    other = office.reminder("other", auto_enabled=False)
    followup, copy = sent_since_the_backup(office)
    restore(office, copy)
    run(office, "sync", status=1)
    run(office, "followups")
    manage = Manage(office.installation)
    assert "restored" in manage("status").stdout
    manage("followup", "release", followup)
    run(office, "followups")
    assert len(office.delivered()) == 2  # a person said so
    assert "nothing is held" in manage("restored", "--end").stdout
    office.installation.set(Followup, other, auto_enabled=True)
    run(office, "followups")
    assert len(office.delivered("other")) == 1


@ON_SQLITE
def test_what_was_made_after_the_restore_goes_out_as_ever(office: Office) -> None:
    _, copy = sent_since_the_backup(office)
    restore(office, copy)
    run(office, "sync", status=1)
    office.installation.add_followup(
        office.company, office.client("new"), created_at=datetime.now(UTC) + timedelta(seconds=2)
    )
    run(office, "followups")
    assert len(office.delivered("new")) == 1


@pytest.mark.parametrize("with_mark", [True, False])
def test_a_copy_in_sent_settles_it_as_sent_and_the_answer_counts(
    office: Office, with_mark: bool
) -> None:
    followup, copy = sent_since_the_backup(office)
    file_in_sent(office)
    answer = mail(sender=office.address(), to=office.account.address, subject="Re: Facture")
    office.imap.append(office.account, answer)
    restore(office, copy, with_mark=with_mark)
    run(office, "sync", status=1 if with_mark else 0)
    if with_mark:
        Manage(office.installation)("restored", "--end")
    run(office, "followups")
    assert state(office, followup)[1:] == ("answered", 0)  # an answer stops it whatever was sent
    assert len(office.delivered()) == 1


def test_without_any_mark_the_copy_in_sent_is_enough(office: Office) -> None:
    followup, copy = sent_since_the_backup(office)
    file_in_sent(office)
    restore(office, copy, with_mark=False)
    assert OLDER not in run(office, "sync")
    run(office, "followups")
    run(office, "followups")
    assert len(office.delivered()) == 1
    assert state(office, followup) == ("active", None, 1)
    [step] = office.installation.rows(OutboxMail)
    [history] = office.installation.rows(FollowupHistory, FollowupHistory.status == "sent")
    assert (step.state, history.step) == ("sent", 1)
    assert abs(history.sent_at - datetime.now(UTC)) < timedelta(minutes=5)


def test_the_copy_in_sent_is_the_only_message_of_it(office: Office) -> None:
    """The mail that would be sent now has another Date, but the one that went out has that copy."""
    _, copy = sent_since_the_backup(office)
    file_in_sent(office)
    restore(office, copy, with_mark=False)
    run(office, "sync")
    for hours in (1, 2):
        office.send(db.utc_now() + timedelta(hours=hours))
    [step] = office.installation.rows(OutboxMail)
    assert step.state == "sent"
    [message] = office.messages()
    assert message.conversation_id == office.followup(step.followup_id).conversation_id


def test_the_copy_in_sent_counts_for_a_step_that_had_been_put_off_before_the_backup(
    office: Office,
) -> None:
    followup = office.reminder()
    run(office, "sync")
    later = NotSent("450 later", permanent=False, code=450)
    db.write(settle.settle_refused, office.claimed(followup), later, db.utc_now())
    office.installation.set(OutboxMail, office.outbox(followup).id, next_attempt_at=None)
    office.installation.set(Followup, followup, next_action_at=db.utc_now())
    office.installation.close()
    copy = back_up(office.installation.url)
    run(office, "followups")
    file_in_sent(office)
    restore(office, copy, with_mark=False)
    run(office, "sync")
    for hours in (1, 2):
        office.send(db.utc_now() + timedelta(hours=hours))
    assert len(office.delivered()) == 1
    assert office.outbox(followup).state == "sent"
    assert len(office.messages()) == 1


def test_every_host_knows_it_and_none_says_it_twice(office: Office, tmp_path: Path) -> None:
    _, copy = sent_since_the_backup(office)
    office.installation.extra["STATE_DIR"] = str(tmp_path / "second")
    run(office, "sync")
    second = tmp_path / "second"
    restore(office, copy)
    assert OLDER in run(office, "sync", status=1)
    Manage(office.installation)("restored", "--end")
    office.installation.extra["STATE_DIR"] = str(tmp_path / "state")  # the first host again
    assert OLDER not in run(office, "sync")
    assert second.is_dir()


@ON_SQLITE
def test_a_backup_made_in_the_middle_of_the_only_run_is_known_too(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The counter grows in the commit that says 'sending', so no copy without it is as high."""
    office.reminder()
    office.installation.make_fresh(office.mailbox, office.company)
    copies: list[str] = []
    real = send.db.write

    def write(fn: Any, *arguments: Any, **more: Any) -> Any:
        if fn is send.begin_counted:
            copies.append(back_up(office.installation.url))
        return real(fn, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(send.db, "write", write)
        run(office, "followups")
    assert len(office.delivered()) == 1
    restore(office, copies[0])
    assert OLDER in run(office, "sync", status=1)


@ON_SQLITE
def test_a_run_whose_mark_cannot_be_kept_says_so_and_does_its_work(
    office: Office, tmp_path: Path
) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    office.installation.extra["STATE_DIR"] = str(blocker / "below")
    office.reminder()
    office.installation.make_fresh(office.mailbox, office.company)
    said = run(office, "followups", status=1)
    assert said.count("STATE_DIR") == 1
    assert len(office.delivered()) == 1


@ON_SQLITE
def test_the_mark_never_goes_back(office: Office, tmp_path: Path) -> None:
    mark = Mark(tmp_path / "marks")
    mark.begin_run()
    [row] = office.installation.rows(InstallationRow)
    for counter in (500, 20):
        mark.remember(Count(row.secret, counter))
    [file] = list((tmp_path / "marks").iterdir())
    assert int(file.read_text()) == 500
    assert row.secret not in file.name


@ON_SQLITE
def test_a_run_that_begins_beside_another_is_no_restore(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both scripts begin at the full hour: the other may be counted, and its mark be kept, between
    this run's count and its look at the mark."""
    mark, real = Mark(tmp_path / "marks"), mark_module.db.write
    mark.begin_run()

    def write(fn: Any, *arguments: Any, **more: Any) -> Any:
        written = real(fn, *arguments, **more)
        monkeypatch.setattr(mark_module.db, "write", real)
        assert not mark.begin_run()
        return written

    monkeypatch.setattr(mark_module.db, "write", write)
    assert not mark.begin_run()
    [row] = office.installation.rows(InstallationRow)
    assert (row.counter, row.restored_at) == (3, None)


def test_a_power_cut_takes_no_run_back_that_the_mark_knows(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sync script's other commits may be lost; the mark, which is synced, would be ahead."""
    settings = office.installation.settings
    engine = create_engine(settings.database_url, durable=False)
    asks = {"sqlite": "PRAGMA synchronous", "postgresql": "SHOW synchronous_commit"}
    ask = sa.text(asks[engine.dialect.name])
    at_commit: dict[str, Any] = {}

    def note(session: Session) -> None:
        at_commit[engine.dialect.name] = session.scalar(ask)

    monkeypatch.setattr(db, "SessionLocal", sessionmaker(engine))
    event.listen(db.SessionLocal, "before_commit", note)
    durable, usual = {"sqlite": (2, 1), "postgresql": ("on", "off")}[engine.dialect.name]
    mark = Mark(tmp_path / "marks")
    for _ in range(2):
        mark.begin_run()
        assert at_commit.popitem()[1] == durable
        db.write(load_secret)
        assert at_commit.popitem()[1] == usual
    mark.remember(Count(db.read(load_secret), 500))
    assert mark.begin_run()
    assert at_commit.popitem()[1] == durable
    engine.dispose()
