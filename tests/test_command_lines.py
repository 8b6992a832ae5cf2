"""The two scripts as cron and people call them: from anywhere, and what their exit status says."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from backend.app.config import ROOT
from backend.app.db import utc_now
from backend.app.models import CronRun, InboxIntegration
from backend.app.store.runs import FORGOTTEN_AT_ONCE, KEPT
from tests.conftest import EmbeddedImapServer
from tests.installation import Installation
from tests.servers.databases import Database

BOTH = ("sync", "followups")
PASSWORD_IN_URL = "hunter2-in-the-url"


@pytest.fixture
def here(tmp_path: Path) -> Installation:
    """Settings without a database behind them."""
    return Installation(f"sqlite:///{tmp_path / 'none.db'}", tmp_path)


@pytest.mark.parametrize("script", BOTH)
@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"CREDENTIALS_KEYS": ""}, 78, "python backend/scripts/manage.py init"),
        ({"CREDENTIALS_KEYS": "short"}, 78, "python backend/scripts/manage.py key new"),
        ({"SYNC_LEASE_SECONDS": "soon"}, 78, "SYNC_LEASE_SECONDS must be a whole number"),
        ({"DATABASE_URL": "mysql://localhost/x"}, 78, "must be sqlite or postgresql"),
        ({"DATABASE_URL": "not a url"}, 78, "DATABASE_URL is not a database URL"),
        ({}, 78, "alembic upgrade head"),
        (
            {"DATABASE_URL": f"postgresql://u:{PASSWORD_IN_URL}@127.0.0.1:1/x"},
            75,
            "does not answer",
        ),
        ({"DATABASE_URL": "sqlite:////dev/null/x.db"}, 75, "cannot be made"),
    ],
)
def test_what_cannot_start_says_why_and_what_to_do(
    here: Installation, script: str, changes: dict[str, str], status: int, words: str
) -> None:
    done = here.script(script, **changes)
    assert done.returncode == status
    assert done.stdout == ""
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert PASSWORD_IN_URL not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("script", BOTH)
def test_it_runs_as_a_module_too(installation: Installation, script: str, tmp_path: Path) -> None:
    module = "backend.scripts." + Path(installation.command(script)[1]).stem
    done = subprocess.run(
        [sys.executable, "-m", module, "--dry-run"],
        env={**installation.environment, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert "done nothing to do" in done.stderr


@pytest.mark.parametrize("script", BOTH)
def test_a_wrong_flag_is_a_usage_error(here: Installation, script: str) -> None:
    done = here.script(script, "--no-such-flag")
    assert done.returncode == 2
    assert "usage:" in done.stderr


@pytest.mark.parametrize(
    ("value", "said"), [("many", "must be a whole number, not 'many'"), ("0", "must be at least 1")]
)
def test_a_limit_that_is_none_is_told_in_words(here: Installation, value: str, said: str) -> None:
    done = here.script("followups", "--limit", value)
    assert done.returncode == 2
    assert f"argument --limit: {said}" in done.stderr


@pytest.mark.parametrize("script", BOTH)
def test_help_shows_examples_and_exit_statuses(here: Installation, script: str) -> None:
    done = here.script(script, "--help")
    assert done.returncode == 0
    assert "examples:" in done.stdout
    assert "78 bad configuration" in done.stdout


@pytest.mark.parametrize(
    ("script", "flag", "said"),
    [
        ("sync", "--mailbox", "there is no mailbox 9; see: manage.py mailbox list"),
        ("followups", "--followup", "there is no follow-up 9; see: manage.py followup list"),
        *((script, "--company", "there is no company 9; see: manage.py ") for script in BOTH),
    ],
)
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_who_names_what_is_not_there_is_told_and_nothing_is_run(
    installation: Installation, script: str, flag: str, said: str, dry: tuple[str, ...]
) -> None:
    done = installation.script(script, flag, "9", *dry)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert installation.rows(CronRun) == []


def test_mailbox_of_another_company_is_not_read(
    installation: Installation, embedded_imap: EmbeddedImapServer
) -> None:
    owner, other = installation.add_company(), installation.add_company()
    box = installation.add_mailbox(owner, embedded_imap.add_user(), embedded_imap)
    done = installation.script("sync", "--company", str(other), "--mailbox", str(box))
    assert done.returncode == 1
    assert f"there is no mailbox {box} of company {other}" in done.stderr


def test_named_mailbox_that_is_off_is_told_of(
    installation: Installation, embedded_imap: EmbeddedImapServer
) -> None:
    company = installation.add_company()
    box = installation.add_mailbox(company, embedded_imap.add_user(), embedded_imap)
    installation.set(InboxIntegration, box, is_active=False)
    done = installation.script("sync", "--mailbox", str(box))
    assert done.returncode == 0
    assert f"integration={box} not read: another run reads it, or it is off" in done.stderr


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_named_followup_that_is_over_is_told_of(
    installation: Installation, dry: tuple[str, ...]
) -> None:
    company = installation.add_company()
    client = installation.add_client(company, "jean@client.test")
    followup = installation.add_followup(company, client, status="paid")
    assert installation.script("followups").returncode == 0
    done = installation.script("followups", "--followup", str(followup), *dry)
    assert done.returncode == 0
    assert "manage.py followup explain says why" in done.stderr


def test_every_run_leaves_its_record(installation: Installation) -> None:
    for script in BOTH:
        assert installation.script(script).returncode == 0
        installation.script(script, "--dry-run")  # leaves none
    runs = installation.rows(CronRun)
    assert [(run.script, run.exit_status) for run in runs] == [("sync", 0), ("followups", 0)]
    assert all(run.finished_at is not None for run in runs)


def test_runs_of_long_ago_are_forgotten(installation: Installation) -> None:
    began = utc_now() - KEPT
    an_hour = timedelta(hours=1)

    def ran(script: str, at: datetime) -> None:
        installation.add(CronRun(script=script, host="h", pid=1, started_at=at))

    for _ in range(FORGOTTEN_AT_ONCE + 1):
        ran("sync", began - an_hour)
    ran("sync", began + an_hour)
    ran("followups", began - an_hour)
    for left in (1, 0):
        assert installation.script("sync").returncode == 0
        old = [run.script for run in installation.rows(CronRun, CronRun.started_at < began)]
        assert sorted(old) == ["followups"] + left * ["sync"]
    assert installation.count(CronRun) == 1 + 1 + 2


def test_one_failing_mailbox_makes_status_1_and_the_others_are_done(
    installation: Installation, embedded_imap: EmbeddedImapServer
) -> None:
    company = installation.add_company()
    good, bad = embedded_imap.add_user(), embedded_imap.add_user()
    installation.add_mailbox(company, good, embedded_imap)
    secret = installation.vault.encrypt("not the password")
    installation.add_mailbox(company, bad, embedded_imap, secret=secret)
    embedded_imap.append(good, b"From: a@b.test\r\nMessage-ID: <1@b.test>\r\n\r\nBonjour\r\n")

    done = installation.script("sync")

    assert done.returncode == 1
    assert "stored" in done.stderr
    assert "kind=credentials" in done.stderr
    assert "not the password" not in done.stderr


def test_a_log_line_has_the_time_with_its_offset_the_level_and_the_room(
    installation: Installation, database: Database
) -> None:
    line = installation.script("sync", TZ="Europe/Paris").stderr.strip()
    moment, level, room, *_ = line.split(" ")
    assert (level, room) == ("INFO", "sync")
    assert moment[10] == "T"
    assert moment[-6:] in ("+01:00", "+02:00")


@pytest.mark.parametrize("script", [*BOTH, "manage"])
def test_a_python_without_the_packages_is_told_to_install_them(
    here: Installation, script: str
) -> None:
    program, *rest = here.command(script)
    bare = [program, "-S", *rest]  # no site-packages
    done = subprocess.run(
        bare, env=here.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 78
    assert "make install" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("module", ["sync_emails_periodic", "send_automatic_followups"])
def test_what_is_imported_at_the_start_is_never_looked_through_for_garbage(module: str) -> None:
    code = (
        "import gc; before = gc.get_stats()[2]['collections']\n"
        f"import backend.scripts.{module}\n"
        "looked = gc.get_stats()[2]['collections'] - before\n"
        "print(looked, gc.get_freeze_count() > 10_000, gc.isenabled())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0", "True", "True"]
