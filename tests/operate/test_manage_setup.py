"""`manage.py init`, keys, and what every command does when something is missing."""

from __future__ import annotations

import dataclasses
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from dotenv import dotenv_values

from backend.app.config import ROOT, Monitoring, Settings, load_settings
from backend.app.credentials import Vault, new_key
from backend.app.models import InboxIntegration
from tests.installation import Installation
from tests.operate.conftest import Manage
from tests.servers.databases import Database

SCRIPT = ROOT / "backend" / "scripts" / "manage.py"


def run(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The script in a process of its own, with nothing of this one's environment."""
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        cwd=cwd,
        env={"PATH": os.defpath, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def place(directory: Path, url: str) -> dict[str, str]:
    """Where an installation without a key keeps its things."""
    return {
        "RELANCE_ENV_FILE": str(directory / "relance.env"),
        "DATABASE_URL": url,
        "ATTACHMENTS_DIR": str(directory / "files" / "attachments"),
    }


def test_init_makes_all_that_is_missing_and_changes_nothing_the_second_time(
    bare_database: Database, tmp_path: Path
) -> None:
    where = place(tmp_path, bare_database.url)
    env_file = tmp_path / "relance.env"

    first = run("init", cwd=tmp_path, **where)
    assert first.returncode == 0, first.stderr
    assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
    written = env_file.read_bytes()
    assert (tmp_path / "files" / "attachments").is_dir()
    assert "brought to this version" in first.stdout
    assert "company add" in first.stdout

    second = run("init", cwd=tmp_path, **where)
    assert second.returncode == 0, second.stderr
    assert "is at this version" in second.stdout
    assert env_file.read_bytes() == written
    assert run("company", "list", cwd=tmp_path, **where).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_full_disk_behind_the_output_is_said_without_a_traceback(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, SCRIPT, "key", "new"],
            env={"PATH": os.defpath},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        1,
        "Error: the disk is full, where the output goes: make room\n",
    )


def test_the_key_that_init_made_is_never_printed(tmp_path: Path) -> None:
    done = run("init", cwd=tmp_path, **place(tmp_path, f"sqlite:///{tmp_path}/a.db"))
    key = dotenv_values(tmp_path / "relance.env")["CREDENTIALS_KEYS"]
    assert key
    Vault((key,))
    assert key not in done.stdout + done.stderr


def test_init_adds_a_key_to_a_copy_of_the_example_and_keeps_every_line(tmp_path: Path) -> None:
    env_file = tmp_path / "relance.env"
    env_file.write_text((ROOT / ".env.example").read_text() + "SEND_LIMIT=7")
    env_file.chmod(0o644)
    done = run("init", cwd=tmp_path, **place(tmp_path, f"sqlite:///{tmp_path}/a.db"))
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
    settings = load_settings({"RELANCE_ENV_FILE": str(env_file)})
    assert settings.send_limit == 7
    Vault(settings.credentials_keys)


def test_init_leaves_a_key_alone_and_says_when_others_can_read_it(tmp_path: Path) -> None:
    env_file = tmp_path / "relance.env"
    env_file.write_text(f"CREDENTIALS_KEYS={new_key()}\n")
    env_file.chmod(0o644)
    before = env_file.read_bytes()
    done = run("init", cwd=tmp_path, **place(tmp_path, f"sqlite:///{tmp_path}/a.db"))
    assert done.returncode == 0, done.stderr
    assert env_file.read_bytes() == before
    assert f"chmod 600 {env_file}" in done.stdout


def test_init_makes_no_file_when_the_environment_has_the_key(tmp_path: Path) -> None:
    where = place(tmp_path, f"sqlite:///{tmp_path}/a.db")
    done = run("init", cwd=tmp_path, CREDENTIALS_KEYS=new_key(), **where)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "relance.env").exists()


def test_init_with_an_env_file_option_uses_that_file(tmp_path: Path) -> None:
    env_file = tmp_path / "other.env"
    env_file.write_text(f"DATABASE_URL=sqlite:///{tmp_path}/other.db\n")
    done = run("init", "--env-file", "other.env", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "other.db").exists()
    assert "CREDENTIALS_KEYS=" in env_file.read_text()


def test_init_says_which_directory_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "files").write_text("a file where a directory should be")
    done = run("init", cwd=tmp_path, **place(tmp_path, f"sqlite:///{tmp_path}/a.db"))
    assert done.returncode == 78
    assert f"{tmp_path}/files/attachments cannot be made" in done.stderr


@pytest.mark.parametrize(
    ("wrong", "status", "words"),
    [
        ({"CREDENTIALS_KEYS": ""}, 78, "manage.py init"),
        ({"CREDENTIALS_KEYS": "short"}, 78, "manage.py key new"),
        ({"SEND_LIMIT": "many"}, 78, "SEND_LIMIT must be a whole number"),
        ({"DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/x"}, 75, "does not answer"),
        ({"DATABASE_URL": "sqlite:////proc/none/x.db"}, 75, "/proc/none/x.db"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_status(
    wrong: dict[str, str], status: int, words: str, tmp_path: Path
) -> None:
    where = {**place(tmp_path, f"sqlite:///{tmp_path}/a.db"), "CREDENTIALS_KEYS": new_key()}
    done = run("company", "list", cwd=tmp_path, **{**where, **wrong})
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "hunter2" not in done.stderr


def test_it_runs_as_a_module_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "backend.scripts.manage", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Usage: manage.py" in done.stdout


def test_a_key_is_printed_and_fits(manage: Manage) -> None:
    Vault((manage("key", "new").stdout.strip(),))


def test_rotation_puts_every_secret_under_the_first_key(
    manage: Manage, installation: Installation, company_id: int
) -> None:
    old, new = installation.key, new_key()
    for number in (1, 2):
        installation.add(mailbox(company_id, number, Vault((old,))))
    result = manage("key", "rotate", CREDENTIALS_KEYS=f"{new},{old}")
    assert "secrets 3, mailboxes 2" in result.stdout
    first, second = installation.rows(InboxIntegration)
    vault = Vault((new,))
    assert [vault.decrypt(row.secret) for row in (first, second)] == ["imap 1", "imap 2"]
    assert first.smtp_secret is None
    assert vault.decrypt(second.smtp_secret) == "smtp 2"
    manage("key", "rotate", CREDENTIALS_KEYS=new)


def test_a_secret_that_fits_no_key_is_told_and_does_not_stop_the_others(
    manage: Manage, installation: Installation, company_id: int
) -> None:
    lost = installation.add(mailbox(company_id, 1, Vault((new_key(),))))
    installation.add(mailbox(company_id, 2, installation.vault))
    before = installation.rows(InboxIntegration)
    result = manage("key", "rotate", status=1)
    assert "secrets 2, mailboxes 1" in result.stdout
    assert f"left alone: {lost}." in result.stderr
    after = installation.rows(InboxIntegration)
    assert after[0].secret == before[0].secret
    assert after[1].secret != before[1].secret


def mailbox(company_id: int, number: int, vault: Vault) -> InboxIntegration:
    """Mailbox 2 has a password of its own for SMTP."""
    return InboxIntegration(
        company_id=company_id,
        email=f"box{number}@example.fr",
        imap_host="imap.example.fr",
        username=f"box{number}",
        secret=vault.encrypt(f"imap {number}"),
        smtp_secret=vault.encrypt(f"smtp {number}") if number == 2 else None,
    )


def example_values() -> dict[str, str]:
    """Every setting that .env.example names, those in a comment too."""
    found = {}
    for line in (ROOT / ".env.example").read_text().splitlines():
        name, is_setting, value = line.lstrip("#").partition("=")
        if is_setting and name.isupper() and " " not in name:
            found[name] = value
    return found


def test_the_example_names_every_setting_and_no_other() -> None:
    both = (*dataclasses.fields(Settings), *dataclasses.fields(Monitoring))
    fields = {field.name.upper() for field in both} - {"OAUTH_CLIENTS", "PING_URLS"}
    fields |= {"PING_URL_SYNC", "PING_URL_FOLLOWUPS"}
    assert {name for name in example_values() if not name.startswith("OAUTH_")} == fields


def test_every_oauth_setting_of_the_example_says_something() -> None:
    names = [name for name in example_values() if name.startswith("OAUTH_")]
    assert len(names) == 11
    full = {name: f"https://{name.lower()}.example" for name in names}
    nothing = {"RELANCE_ENV_FILE": "/nonexistent", "CREDENTIALS_KEYS": new_key()}
    before = load_settings({**full, **nothing}).oauth_clients
    for name in names:
        after = load_settings({**full, name: "https://other.example", **nothing}).oauth_clients
        assert after != before, name


def test_the_defaults_in_the_example_are_the_defaults(tmp_path: Path) -> None:
    nothing = {"RELANCE_ENV_FILE": str(tmp_path / "none"), "CREDENTIALS_KEYS": new_key()}
    assert load_settings({**example_values(), **nothing}) == load_settings(nothing)
    assert all(value for name, value in example_values().items() if name.endswith("SECONDS"))
