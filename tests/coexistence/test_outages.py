"""The database goes away, the disk is full, the clock jumps: nothing is lost, nothing is doubled.

After each of them the log names what happened, the exit status says what the README says, and the
next run does the rest.
"""

from __future__ import annotations

import resource
import subprocess
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from backend.app.db import database_now
from backend.app.errors import EXIT_DATABASE_UNREACHABLE, EXIT_DONE, EXIT_SOME_FAILED
from backend.app.models import (
    Followup,
    InboxMessage,
    LedgerEntry,
    MailboxState,
    OutboxMail,
    QuarantinedMail,
)
from backend.app.schema import upgrade
from tests.coexistence.aftermath import end_leases, settle_by_the_copies_in_sent
from tests.coexistence.books import delivery_faults, imbalances, unaccounted
from tests.coexistence.cutting import run_cut
from tests.coexistence.extent import LONG
from tests.coexistence.figures import Figures
from tests.coexistence.scenes import Mailbox, due_reminders, fill, new_mailbox, threads
from tests.conftest import or_skip
from tests.installation import Installation, mail
from tests.servers.faulty_smtp import FaultySmtpServer
from tests.servers.link import Link
from tests.servers.postgresql import private_postgresql, restart_postgresql
from tests.servers.shared import HOST, ServerMissing

on_postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

STRIDE = 13 if LONG else 61
MOST_MOMENTS = 1000
RESTART_SECONDS = 120
ENDS = (EXIT_DONE, EXIT_SOME_FAILED, EXIT_DATABASE_UNREACHABLE)
CLIENTS, REMINDERS = 2, 2
TEN_MINUTES = timedelta(minutes=10)
JUMPS = ("+1h", "-1h") if LONG else ("+1h",)


@pytest.fixture
def box(installation: Installation, embedded_imap: Any, faulty_smtp: FaultySmtpServer) -> Mailbox:
    """With new mail on the server, and reminders that are due."""
    made = new_mailbox(installation, embedded_imap, faulty_smtp)
    assert not installation.sync().failed
    give_work(installation, embedded_imap, made)
    return made


def give_work(installation: Installation, imap: Any, box: Mailbox) -> None:
    fill(imap, box.account, threads(box.account.address, CLIENTS, 1))
    due_reminders(installation, box, REMINDERS)


def assert_all_is_done(
    installation: Installation, imap: Any, smtp: FaultySmtpServer, box: Mailbox
) -> None:
    """The next runs, when the leases are over, do the rest; what is uncertain finds its proof."""
    end_leases(installation)
    look_again = sa.update(Followup).values(next_action_at=database_now())
    installation.change(lambda s: s.execute(look_again))
    for report in (installation.sync(), installation.send()):
        assert not report.failed, report.counts
    assert imbalances(installation) == []
    settle_by_the_copies_in_sent(installation, imap, box, smtp.accepted())
    assert imbalances(installation) == []
    assert delivery_faults(installation, smtp.accepted()) == []
    assert unaccounted(installation, imap, box.id, box.account) == []
    left = [row for row in installation.rows(OutboxMail) if row.state not in ("sent", "uncertain")]
    assert left == []
    assert installation.count(OutboxMail) == installation.count(Followup)


@on_postgresql
@pytest.mark.usefixtures("clean_processes")
@pytest.mark.parametrize("script", ["sync", "followups"])
def test_connections_that_are_cut_lose_and_double_nothing(
    installation: Installation,
    embedded_imap: Any,
    faulty_smtp: FaultySmtpServer,
    box: Mailbox,
    figures: Figures,
    script: str,
) -> None:
    met: Counter[str] = Counter()
    for moment in range(0, MOST_MOMENTS, STRIDE):
        give_work(installation, embedded_imap, box)
        cut = run_cut(installation, script, moment)
        assert cut.status in ENDS, cut.log
        if cut.was_cut and cut.status != EXIT_DONE:
            assert "database: " in cut.log, cut.log
        assert_all_is_done(installation, embedded_imap, faulty_smtp, box)
        met += {"cuts": cut.was_cut, f"ended_with_{cut.status}": 1}  # type: ignore[arg-type]
        if not cut.was_cut:
            break
    else:
        raise AssertionError("the run never came to its end")
    figures.add(f"connections of {script} are cut", **met)


@on_sqlite
def test_postgresql_restarted_in_mid_run(
    installation: Installation,
    open_directory: Path,
    embedded_imap: Any,
    faulty_smtp: FaultySmtpServer,
) -> None:
    """On a PostgreSQL of its own: restarting the session's would end other tests."""
    with or_skip(), private_postgresql(open_directory) as url:
        upgrade(url)
        installation.close()
        installation.url = url
        box = new_mailbox(installation, embedded_imap, faulty_smtp)
        assert not installation.sync().failed
        for script, words in (
            ("sync", b"INSERT INTO inbox_messages"),
            ("followups", b"INSERT INTO outbox"),
        ):
            give_work(installation, embedded_imap, box)
            installation.close()
            with Link(f"{open_directory}/.s.PGSQL.5432", HOST) as link:
                restarted = link.when_said(words, lambda: restart_postgresql(open_directory))
                through = sa.make_url(url).set(host=HOST, port=link.port, query={})
                shown = through.render_as_string(hide_password=False)
                done = installation.script(script, DATABASE_URL=shown)
                assert restarted.wait(RESTART_SECONDS)  # the run may end before it is back
            assert done.returncode in (EXIT_DONE, EXIT_DATABASE_UNREACHABLE), done.stderr
            assert "connection lost" in done.stderr
            assert_all_is_done(installation, embedded_imap, faulty_smtp, box)
        installation.close()


@on_postgresql
def test_database_back_after_ten_minutes(
    installation: Installation,
    embedded_imap: Any,
    faulty_smtp: FaultySmtpServer,
    box: Mailbox,
) -> None:
    """The cron goes on meanwhile; the ten minutes are taken off all the times in the tables."""
    socket_directory = sa.make_url(installation.url).query["host"]
    with Link(f"{socket_directory}/.s.PGSQL.5432", HOST) as link:
        through = sa.make_url(installation.url).set(host=HOST, port=link.port, query={})
        away = {"DATABASE_URL": through.render_as_string(hide_password=False)}
        # The sender has committed `sending` and is answered no more.
        link.when_said(b"INSERT INTO followup_history", link.drop)
        sender = installation.script("followups", **away)
    meanwhile = [installation.script(script, **away) for script in ("sync", "followups")]
    for done in (sender, *meanwhile):
        assert done.returncode == EXIT_DATABASE_UNREACHABLE, done.stderr
        assert "ERROR" in done.stderr
        assert "database: " in done.stderr
    ago = sa.text("interval '10 minutes'")
    for model, column in (
        (OutboxMail, OutboxMail.lease_until),
        (OutboxMail, OutboxMail.sending_at),
        (MailboxState, MailboxState.lease_until),
        (MailboxState, MailboxState.fresh_at),
    ):
        earlier = sa.update(model).values({column: column - ago})
        installation.change(lambda s, e=earlier: s.execute(e))
    assert len(faulty_smtp.accepted()) == 1
    assert_all_is_done(installation, embedded_imap, faulty_smtp, box)
    assert len(faulty_smtp.accepted()) == REMINDERS


@on_sqlite
@pytest.mark.parametrize("script", ["sync", "followups"])
def test_disk_that_is_full_for_the_database(
    installation: Installation,
    embedded_imap: Any,
    faulty_smtp: FaultySmtpServer,
    box: Mailbox,
    script: str,
) -> None:
    wal = Path(sa.make_url(installation.url).database or "").with_name("test.db-wal")
    installation.close()
    room = (wal.stat().st_size if wal.exists() else 0) + 50_000
    done = with_files_up_to(room, installation, script)
    assert done.returncode == EXIT_DATABASE_UNREACHABLE, done.stderr
    assert "ERROR" in done.stderr
    assert any(words in done.stderr for words in ("disk is full", "disk I/O error")), done.stderr
    assert_all_is_done(installation, embedded_imap, faulty_smtp, box)


@on_postgresql
def test_disk_that_is_full_for_attachments_keeps_the_mail_and_delays_no_other(
    installation: Installation,
    embedded_imap: Any,
    faulty_smtp: FaultySmtpServer,
    box: Mailbox,
) -> None:
    large = mail(sender="paul@client.test", to=box.account.address)
    large = large.replace(
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit",
        b"Content-Type: application/pdf\r\nContent-Disposition: attachment; filename=plan.pdf",
    ).replace(b"Merci.", b"x" * 100_000)
    embedded_imap.append(box.account, large)
    fill(embedded_imap, box.account, threads(box.account.address, 1, 0))
    done = with_files_up_to(50_000, installation, "sync")
    assert done.returncode == EXIT_SOME_FAILED, done.stderr
    (line,) = [text for text in done.stderr.splitlines() if " ERROR " in text]
    assert "quarantined error=StorageFault" in line
    assert "uid=" in line
    assert installation.count(InboxMessage) == 2 * CLIENTS + 1
    due = sa.update(QuarantinedMail).values(next_attempt_at=database_now(-1))
    installation.change(lambda s: s.execute(due))
    assert_all_is_done(installation, embedded_imap, faulty_smtp, box)
    assert installation.count(QuarantinedMail) == 0


def with_files_up_to(
    size: int, installation: Installation, script: str
) -> subprocess.CompletedProcess[str]:
    """A script in a process that can make no file larger than `size` bytes (setrlimit(2))."""
    return subprocess.run(
        installation.command(script),
        env=installation.environment,
        cwd=installation.directory,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )


@pytest.fixture
def faketime() -> str:
    """What a process is to preload for a clock of its own (faketime(1))."""
    with or_skip():
        found = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
        if found is None:
            raise ServerMissing("libfaketime: apt-get install libfaketime")
    return str(found)


@pytest.mark.parametrize("jump", JUMPS)
def test_clock_that_jumps_an_hour(
    installation: Installation,
    embedded_imap: Any,
    faulty_smtp: FaultySmtpServer,
    box: Mailbox,
    faketime: str,
    jump: str,
) -> None:
    """This host's clock as both scripts see it, and on SQLite the database's as well."""
    wrong = {"LD_PRELOAD": faketime, "FAKETIME": jump, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    for script in ("sync", "followups", "sync"):
        done = installation.script(script, **wrong)
        assert done.returncode == EXIT_DONE, done.stderr
    assert imbalances(installation) == []
    assert delivery_faults(installation, faulty_smtp.accepted()) == []
    assert len(faulty_smtp.accepted()) <= REMINDERS
    assert_all_is_done(installation, embedded_imap, faulty_smtp, box)
    assert len(faulty_smtp.accepted()) == REMINDERS


@on_postgresql
def test_host_an_hour_ahead_takes_nobodys_lease(
    installation: Installation, box: Mailbox, faketime: str
) -> None:
    leased = sa.update(MailboxState).values(
        lease_owner="another", lease_until=database_now(300), lease_token=7
    )
    installation.change(lambda s: s.execute(leased))
    done = installation.script("sync", LD_PRELOAD=faketime, FAKETIME="+1h")
    assert (done.returncode, "nothing to do" in done.stderr) == (EXIT_DONE, True), done.stderr
    assert installation.count(LedgerEntry) == 0
