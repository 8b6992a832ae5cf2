"""crontab.example, fed line by line to a shell with the bare environment that cron gives."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backend.app.config import ROOT
from backend.app.credentials import new_key
from backend.app.schema import upgrade

LINES = (ROOT / "crontab.example").read_text().splitlines()
ASSIGNMENTS = dict(m.groups() for line in LINES if (m := re.match(r"([A-Z]+)=(\S+)$", line)))
ENTRIES = [line for line in LINES if re.match(r"[\d*]", line)]
# crontab(5): five fields, then the command as it stands.
COMMANDS = [entry.split(maxsplit=5)[5] for entry in ENTRIES]
WATCHING = [line.removeprefix("#   ") for line in LINES if re.match(r"#   (tail|grep) ", line)]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in a directory of its own, set up but for mailboxes."""
    top = tmp_path / "relance"
    unwanted = shutil.ignore_patterns("__pycache__", "data", "run", "*.log", "demo")
    shutil.copytree(ROOT / "backend", top / "backend", ignore=unwanted)
    shutil.copytree(ROOT / "alembic", top / "alembic", ignore=unwanted)
    url = f"sqlite:///{top / 'relance.db'}"
    (top / ".env").write_text(f"DATABASE_URL={url}\nCREDENTIALS_KEYS={new_key()}\n")
    upgrade(url)
    return top


def run_as_cron(command: str, checkout: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        "HOME": str(checkout.parent),
        "LOGNAME": "relance",
        "SHELL": "/bin/sh",
        "PATH": "/usr/bin:/bin",
        **{
            name: value.replace("/srv/relance", str(checkout))
            for name, value in ASSIGNMENTS.items()
        },
        "PYTHON": sys.executable,
    }
    return subprocess.run(
        ["/bin/sh", "-c", command],
        env=environment,
        cwd=checkout.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_has_the_two_entries_at_their_times() -> None:
    assert [entry.split(maxsplit=5)[:5] for entry in ENTRIES] == [list("*****"), list("0****")]


def test_no_command_holds_a_percent_sign() -> None:
    # crontab(5) turns an unescaped % into a line end.
    assert not any("%" in command for command in COMMANDS)


def test_each_entry_runs_in_crons_bare_environment_and_writes_its_log(checkout: Path) -> None:
    for command, log in zip(COMMANDS, ("email_sync.log", "followups_auto.log"), strict=True):
        done = run_as_cron(command, checkout)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        lines = (checkout / "backend" / "logs" / log).read_text().splitlines()
        assert len(lines) == 1
        assert " done nothing to do" in lines[0]


def test_the_operators_grep_finds_nothing_on_a_quiet_day(checkout: Path) -> None:
    for command in COMMANDS:
        run_as_cron(command, checkout)
    grep = next(line for line in WATCHING if line.startswith("grep"))
    found = run_as_cron(f"cd {checkout} && {grep}", checkout)
    assert (found.returncode, found.stdout) == (1, "")


def test_the_monitoring_commands_are_the_owners() -> None:
    assert WATCHING == [
        "tail -f backend/logs/email_sync.log",
        "tail -f backend/logs/followups_auto.log",
        r'grep -i "lock\|deadlock\|timeout" backend/logs/*.log',
    ]
