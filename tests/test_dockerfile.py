"""The Dockerfile names what is there: no engine builds it here, so it is held to the code."""

from __future__ import annotations

import json
import re
import shlex
import subprocess

from backend.app.config import ROOT, load_settings
from backend.scripts.cli.root import COMMANDS

TEXT = (ROOT / "Dockerfile").read_text()
JOINED = TEXT.replace("\\\n", " ")


def test_what_it_makes_is_a_target() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"RUN make (\w+)", JOINED)) <= {*targets}


def test_its_start_is_a_shells_and_its_commands_are_ours() -> None:
    shell, options, script = json.loads(re.findall(r"^CMD (.*)$", JOINED, re.MULTILINE)[0])
    assert (shell, options) == ("sh", "-ec")
    assert subprocess.run(["/bin/sh", "-n", "-c", script], check=False).returncode == 0
    steps = shlex.split(script.partition("for step in ")[2].partition(";")[0])
    assert [step.split()[0] for step in steps] == ["init", "cron"]
    assert {step.split()[0] for step in steps} <= set(COMMANDS)
    health = json.loads(re.findall(r"^HEALTHCHECK .*?CMD (.*)$", JOINED, re.MULTILINE)[0])
    assert "doctor" in health


def test_its_settings_and_its_data_lie_in_the_volume() -> None:
    [env_file] = re.findall(r"^ENV RELANCE_ENV_FILE=(\S+)$", JOINED, re.MULTILINE)
    data, logs = json.loads(re.findall(r"^VOLUME (.*)$", JOINED, re.MULTILINE)[0])
    settings = load_settings({"CREDENTIALS_KEYS": "k", "RELANCE_ENV_FILE": "/nonexistent"})
    places = [settings.attachments_dir, settings.state_dir, settings.documents_dir]
    inside = data.removeprefix("/srv/relance/")
    assert env_file.startswith(f"{data}/")
    assert logs.endswith("backend/logs")
    assert all(place.is_relative_to(ROOT / inside) for place in places)


def test_nothing_secret_is_copied_into_it() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {".env", ".venv", ".git", "backend/data"} <= set(ignored)
