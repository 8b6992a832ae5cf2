"""Real scripts in processes of their own: started together, or killed."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.installation import Installation

STARTING_BLOCK = Path(__file__).with_name("starting_block.py")
END_SECONDS = 120
# What the owner looks for in his logs: grep -i "lock\|deadlock\|timeout"
OWNERS_GREP = re.compile("lock|deadlock|timeout", re.IGNORECASE)

Command = Sequence[object]  # the script's name, then its arguments


@dataclass(frozen=True)
class Ended:
    """A script that has ended. status: negative when a signal ended it."""

    command: Command
    status: int
    log: str

    @property
    def conflicts(self) -> list[str]:
        """The lines that the owner's grep finds."""
        return [line for line in self.log.splitlines() if OWNERS_GREP.search(line)]

    @property
    def warnings(self) -> list[str]:
        """The lines of WARNING and above."""
        return [line for line in self.log.splitlines() if not re.match(r"\S+ (INFO|DEBUG) ", line)]


class Started:
    """A script whose imports are done and that waits for the word."""

    def __init__(self, installation: Installation, command: Command, log: Path) -> None:
        name, *arguments = command
        python, *script = installation.command(str(name), *arguments)
        self._command = command
        self._log = log
        with log.open("w") as stderr:
            self._process = subprocess.Popen(
                [python, str(STARTING_BLOCK), *script],
                env=installation.environment,
                cwd=installation.directory,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )

    def wait_until_ready(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", self._log.read_text()

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def kill_after(self, seconds: float) -> None:
        """SIGKILL after so many seconds, if the script has not ended by then."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> Ended:
        self._process.communicate(timeout=END_SECONDS)
        return Ended(self._command, self._process.returncode, self._log.read_text())

    def clean_up(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=END_SECONDS)


@contextmanager
def at_the_start(installation: Installation, *commands: Command) -> Iterator[list[Started]]:
    """The scripts, each ready to run in a process of its own; none is left behind."""
    logs = (installation.directory / f"run{n}.log" for n in range(len(commands)))
    started = [Started(installation, *pair) for pair in zip(commands, logs, strict=True)]
    try:
        for each in started:
            each.wait_until_ready()
        yield started
    finally:
        for each in started:
            each.clean_up()


def run_together(installation: Installation, *commands: Command) -> list[Ended]:
    """Run the scripts to their ends, started at the same instant."""
    with at_the_start(installation, *commands) as started:
        for each in started:
            each.go()
        return [each.end() for each in started]


def run_and_kill(installation: Installation, command: Command, after_seconds: float) -> Ended:
    """Run a script and send it SIGKILL after so many seconds, unless it has ended before."""
    with at_the_start(installation, command) as (started,):
        started.go()
        started.kill_after(after_seconds)
        return started.end()


def seconds_of(installation: Installation, command: Command) -> float:
    """How long a run takes from the word to its end."""
    with at_the_start(installation, command) as (started,):
        begun = time.monotonic()
        started.go()
        ended = started.end()
        assert ended.status == 0, ended.log
        return time.monotonic() - begun
