"""The two entries in a user's crontab, between two marks. Pure: text in, text out.

What stands outside of the marks is the user's and stays as it is, to the byte. The marks name the
checkout, so that two installations may share a crontab. No variable is set, since an assignment
would hold for every line below it; the commands name everything in full, so that cron's bare
environment (PATH=/usr/bin:/bin, /bin/sh, the home directory) is enough.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from backend.app.errors import BadInput

LONGEST_LINE = 998  # Debian's cron takes a command of MAX_COMMAND 1000 with its line end


@dataclass(frozen=True, slots=True)
class Job:
    """when: the five fields of crontab(5). calendar: the same for systemd.time(7)."""

    name: str
    script: str
    log: str
    when: str
    calendar: str
    words: str


JOBS = (
    Job(
        "sync",
        "sync_emails_periodic.py",
        "email_sync.log",
        "* * * * *",
        "*:*:00",
        "mail from every company's mailboxes into the shared inbox",
    ),
    Job(
        "followups",
        "send_automatic_followups.py",
        "followups_auto.log",
        "0 * * * *",
        "*:00:00",
        "the reminders that are due",
    ),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an installation lies. env_file: None for .env at the top of the checkout."""

    checkout: Path
    python: Path
    env_file: Path | None = None

    @property
    def logs(self) -> Path:
        return self.checkout / "backend" / "logs"

    def script(self, job: Job) -> Path:
        return self.checkout / "backend" / "scripts" / job.script

    def log(self, job: Job) -> Path:
        return self.logs / job.log

    def command(self, job: Job) -> list[str]:
        setting = [] if self.env_file is None else [f"RELANCE_ENV_FILE={self.env_file}"]
        before = ["/usr/bin/env", *setting] if setting else []
        return [*before, str(self.python), str(self.script(job))]


def entries(place: Place) -> list[str]:
    """The lines, without the marks. Raises BadInput for a path that cron cannot take."""
    lines = []
    for job in JOBS:
        command = f"{shlex.join(place.command(job))} >> {shlex.quote(str(place.log(job)))} 2>&1"
        if not command.isprintable():
            raise BadInput(f"a path with control characters cannot stand in a crontab: {command!r}")
        if len(command) > LONGEST_LINE:
            raise BadInput(f"the command is longer than the {LONGEST_LINE} characters cron takes")
        # crontab(5): an unescaped % is a line end, and the rest standard input.
        lines += [f"# {job.words}", f"{job.when} {command}".replace("%", r"\%")]
    return lines


def block(place: Place) -> str:
    begin, end = _marks(place.checkout)
    return "\n".join([begin, *entries(place), end]) + "\n"


def with_block(crontab: str, place: Place) -> str:
    """The crontab with our lines at its end, in place of earlier ones of this checkout."""
    rest = without_block(crontab, place.checkout)
    if rest and not rest.endswith("\n"):
        rest += "\n"
    # A SHELL that the user chose for his own lines need not know `2>&1`.
    shell = "SHELL=/bin/sh\n" if re.search(r"(?m)^\s*SHELL\s*=", rest) else ""
    begin, _, after = block(place).partition("\n")
    return f"{rest}{begin}\n{shell}{after}"


def without_block(crontab: str, checkout: Path) -> str:
    """The crontab without our lines. Raises BadInput when only one of the marks is there."""
    begin, end = _marks(checkout)
    lines = crontab.splitlines(keepends=True)
    bare = [line.rstrip("\n") for line in lines]
    if begin not in bare and end not in bare:
        return crontab
    try:
        first, last = bare.index(begin), bare.index(end)
    except ValueError:
        last = first = -1
    if first < 0 or last < first:
        raise BadInput("only one of the two marks is in the crontab: mend it with crontab -e")
    return "".join(lines[:first] + lines[last + 1 :])


def is_installed(crontab: str, place: Place) -> bool:
    """Whether our very lines are there, whatever stands above or below them."""
    rest = without_block(crontab, place.checkout)
    return with_block(rest, place).removeprefix(rest).lstrip("\n") in crontab


def holds_block(crontab: str, checkout: Path) -> bool:
    return _marks(checkout)[0] in crontab.splitlines()


def _marks(checkout: Path) -> tuple[str, str]:
    return f"# BEGIN relance {checkout}", f"# END relance {checkout}"
