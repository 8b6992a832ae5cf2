"""cron, systemd and logrotate: right for odd paths, and nobody's other lines are touched."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from backend.app.config import ROOT
from backend.app.credentials import new_key
from backend.app.errors import BadInput
from backend.app.operate.crontab import JOBS, Place, block, with_block, without_block
from backend.app.operate.units import logrotate, units
from tests.conftest import or_skip
from tests.installation import Installation
from tests.operate.conftest import Manage
from tests.servers.shared import ServerMissing

PLACE = Place(Path("/srv/relance"), Path("/srv/relance/.venv/bin/python"))
ODD = Path("/srv/l'atelier 100% $HOME")
MINE = "MAILTO=me@example.test\n# m h\n5 4 * * * /usr/bin/backup --all\n"
# A stand-in for crontab(1), which changes the crontab of whoever runs the tests.
FAKE_CRONTAB = """#!/bin/sh
case "$1" in
-l) [ -e {file} ] || {{ echo "no crontab for me" >&2; exit 1; }}; /bin/cat {file} ;;
-r) /bin/rm {file} ;;
-) /bin/cat > {file} ;;
esac
"""


def missing(program: str, package: str) -> str:
    """The path of a program; skips the test where it is not installed."""
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    with or_skip():
        if found is None:
            raise ServerMissing(f"{program}: apt-get install {package}")
    assert found is not None
    return found


@pytest.mark.parametrize("mine", ["", MINE, MINE.rstrip("\n"), "SHELL=/usr/bin/fish\n" + MINE])
def test_the_other_lines_stay_to_the_byte(mine: str) -> None:
    installed = with_block(mine, PLACE)
    assert installed.startswith(mine)
    assert with_block(installed, PLACE) == installed
    rest = without_block(installed, PLACE.checkout)
    assert rest.rstrip("\n") == mine.rstrip("\n")
    assert without_block(rest, PLACE.checkout) == rest


def test_lines_below_ours_stay_too() -> None:
    later = "0 1 * * * later\n"
    changed = with_block(with_block(MINE, PLACE) + later, PLACE)
    assert changed.startswith(MINE + later)
    assert changed.count("sync_emails_periodic.py") == 1


def test_another_checkout_has_lines_of_its_own() -> None:
    other = Place(Path("/srv/relance-test"), PLACE.python)
    both = with_block(with_block(MINE, PLACE), other)
    assert without_block(both, other.checkout) == with_block(MINE, PLACE)


def test_half_a_block_is_left_to_a_person() -> None:
    half = with_block(MINE, PLACE).replace("# END relance", "# end relance")
    with pytest.raises(BadInput, match="crontab -e"):
        with_block(half, PLACE)


def test_a_shell_of_the_users_own_does_not_run_our_lines() -> None:
    assert "SHELL=/bin/sh\n*" not in with_block(MINE, PLACE)
    lines = with_block("SHELL=/usr/bin/fish\n", PLACE).splitlines()
    assert lines.index("SHELL=/bin/sh") < lines.index(
        next(line for line in lines if line.startswith("* "))
    )


@pytest.mark.parametrize("path", ["/srv/a\nb", "/srv/" + "x" * 500])
def test_a_path_that_cron_cannot_take_is_refused(path: str) -> None:
    with pytest.raises(BadInput):
        block(Place(Path(path), PLACE.python))


def test_the_example_in_the_repository_is_what_install_makes() -> None:
    example = (ROOT / "crontab.example").read_text()
    entries = [line for line in example.splitlines() if re.match(r"[\d*]", line)]
    plain = [
        e.replace("$PYTHON", str(PLACE.python)).replace("$RELANCE", "/srv/relance") for e in entries
    ]
    made = [line for line in block(PLACE).splitlines() if not line.startswith("#")]
    assert made == plain


def as_cron_would(line: str, home: Path) -> subprocess.CompletedProcess[str]:
    """crontab(5): five fields, then the command, in which `\\%` is `%`; a bare environment."""
    command = line.split(maxsplit=5)[5]
    assert not re.search(r"(?<!\\)%", command)
    environment = {"HOME": str(home), "LOGNAME": "me", "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}
    return subprocess.run(
        ["/bin/sh", "-c", command.replace(r"\%", "%")],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_lines_run_in_crons_environment_from_the_oddest_path(tmp_path: Path) -> None:
    top = tmp_path / ODD.name
    unwanted = shutil.ignore_patterns("__pycache__", "data", "run", "*.log", "demo")
    for name in ("backend", "alembic"):
        shutil.copytree(ROOT / name, top / name, ignore=unwanted)
    env_file = tmp_path / "my settings.env"
    env_file.write_text(
        f"CREDENTIALS_KEYS={new_key()}\nDATABASE_URL=sqlite:///{tmp_path}/no/x.db\n"
    )
    python = tmp_path / "py 50%"
    python.symlink_to(Path(sys.prefix))
    place = Place(top, python / "bin" / "python", env_file)
    for job, line in zip(JOBS, block(place).splitlines()[2:5:2], strict=True):
        done = as_cron_would(line, tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (78, "", "")
        assert "alembic upgrade head" in place.log(job).read_text()


@pytest.fixture
def own_crontab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the stand-in for crontab(1) keeps."""
    file, program = tmp_path / "spool", tmp_path / "bin" / "crontab"
    program.parent.mkdir()
    program.write_text(FAKE_CRONTAB.format(file=file))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent))
    return file


@pytest.fixture
def in_file(installation: Installation) -> Installation:
    """The installation with its key in its .env file, where cron finds it."""
    file = Path(installation.environment["RELANCE_ENV_FILE"])
    file.write_text(f"CREDENTIALS_KEYS={installation.key}\n")
    return installation


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_install_shows_asks_and_can_be_repeated_and_taken_back(
    manage: Manage, in_file: Installation, own_crontab: Path
) -> None:
    path = {"PATH": str(own_crontab.parent / "bin")}
    own_crontab.write_text(MINE)
    refused = manage("cron", "install", stdin="n\n", status=1, **path)
    assert "sync_emails_periodic.py" in refused.stdout
    assert own_crontab.read_text() == MINE
    manage("cron", "install", stdin="y\n", **path)
    installed = own_crontab.read_text()
    assert installed.startswith(MINE)
    assert in_file.environment["RELANCE_ENV_FILE"] in installed
    assert "already" in manage("cron", "install", "--yes", **path).stdout
    assert manage.json("cron", "show", **path)["standing"] == "installed"
    manage("cron", "remove", **path)
    assert own_crontab.read_text() == MINE
    assert manage.json("cron", "show", **path)["standing"] == "absent"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("mine", [b"# sauvegarde \xe0 5 h\n5 4 * * * b\n", b"5 4 * * * b\r\n"])
def test_what_is_no_utf_8_and_what_windows_wrote_stays_to_the_byte(
    manage: Manage, in_file: Installation, own_crontab: Path, mine: bytes
) -> None:
    path = {"PATH": str(own_crontab.parent / "bin")}
    own_crontab.write_bytes(mine)
    manage("cron", "install", "--yes", **path)
    assert own_crontab.read_bytes().startswith(mine)
    manage("cron", "remove", **path)
    assert own_crontab.read_bytes() == mine


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_lines_added_below_ours_make_them_no_others(
    manage: Manage, in_file: Installation, own_crontab: Path
) -> None:
    path = {"PATH": str(own_crontab.parent / "bin")}
    manage("cron", "install", "--yes", **path)
    own_crontab.write_text(own_crontab.read_text() + MINE)
    assert manage.json("cron", "show", **path)["standing"] == "installed"
    assert "already" in manage("cron", "install", "--yes", **path).stdout


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_only_this_shell_knows_is_refused_for_cron(manage: Manage, own_crontab: Path) -> None:
    path = {"PATH": str(own_crontab.parent / "bin")}
    said = manage("cron", "install", "--yes", status=78, **path).stderr
    assert "cron does not see this shell's environment" in said
    assert not own_crontab.exists()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_without_cron_systemd_is_named(manage: Manage, in_file: Installation) -> None:
    assert "systemd print" in manage("cron", "install", "--yes", status=1, PATH="/none").stderr


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_systemd_lets_the_scripts_write_the_metrics(manage: Manage, in_file: Installation) -> None:
    in_file.extra["METRICS_DIR"] = "/var/lib/node_exporter"
    said = manage("systemd", "print").stdout
    # Without it the run goes on all the same: "-" (systemd.exec(5)).
    assert said.count('ReadWritePaths="-/var/lib/node_exporter"\n') == 2


def test_systemd_takes_the_units_for_the_oddest_path(tmp_path: Path) -> None:
    analyze = missing("systemd-analyze", "systemd")
    top = tmp_path / ODD.name
    (top / "backend" / "logs").mkdir(parents=True)
    place = Place(top, Path(sys.executable), tmp_path / "my settings.env")
    made = units(place, "root", [str(top / "backend" / "logs"), str(tmp_path)])
    for name, text in made.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [analyze, "verify", "--man=no", *(str(tmp_path / name) for name in made)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert [line for line in done.stderr.splitlines() if "relance-" in line] == []
    assert sorted(made) == [
        "relance-followups.service",
        "relance-followups.timer",
        "relance-sync.service",
        "relance-sync.timer",
    ]


def test_a_rotated_log_loses_no_line(tmp_path: Path) -> None:
    rotate = missing("logrotate", "logrotate")
    place = Place(tmp_path / "my relance", Path(sys.executable))
    place.logs.mkdir(parents=True)
    place.logs.chmod(0o755)
    log = place.log(JOBS[0])
    file = tmp_path / "relance"
    user, group = (
        ("root", "root") if os.geteuid() == 0 else (Path.home().owner(), Path.home().group())
    )
    file.write_text(logrotate(place, user, group))
    file.chmod(0o644)
    with log.open("a") as running:  # a run that goes on while its log is rotated
        print("before", file=running, flush=True)
        subprocess.run([rotate, "-f", "-s", str(tmp_path / "state"), str(file)], check=True)
        print("after", file=running, flush=True)
    with log.open("a") as later:
        print("next run", file=later)
    assert (place.logs / f"{log.name}.1").read_text() == "before\nafter\n"
    assert log.read_text() == "next run\n"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_units_are_written_where_they_are_asked_for(manage: Manage, tmp_path: Path) -> None:
    place = tmp_path / "system"
    place.mkdir()
    said = manage("systemd", "write", place, "--user", "relance").stdout
    assert "systemctl enable --now relance-sync.timer" in said
    assert "User=relance" in (place / "relance-sync.service").read_text()
    assert "ReadWritePaths=" in manage("systemd", "print").stdout
    assert "copytruncate" not in manage("logrotate", "print").stdout
