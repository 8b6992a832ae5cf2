"""The demo's own directory, and the real scripts run in it as a crontab would run them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backend.app.config import ROOT

SCRIPTS = ROOT / "backend" / "scripts"
LOCK = ".lock"
RUN_SECONDS = 60
SHOWN_LOG_LINES = 10
SHOWN_CHARS = 200


class StoryBroken(Exception):
    """The demo cannot go on. The text is for the reader, and may have several lines."""


@dataclass(frozen=True, slots=True)
class CronScript:
    """A script, and the log that its line in the crontab appends to."""

    file: str
    log: str


SYNC = CronScript("sync_emails_periodic.py", "email_sync.log")
FOLLOWUPS = CronScript("send_automatic_followups.py", "followups_auto.log")


@dataclass(frozen=True, slots=True)
class Workplace:
    """A directory of which nothing needs to be kept: settings, key, database, files, logs."""

    directory: Path

    @property
    def env_file(self) -> Path:
        return self.directory / ".env"

    @property
    def environment(self) -> dict[str, str]:
        """As bare as cron's. The rest stands in the demo's own .env, not in the checkout's."""
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.directory),
            "RELANCE_ENV_FILE": str(self.env_file),
        }

    def write_settings(self) -> None:
        """Where this installation lies. Its key is made by `manage.py init`."""
        self.env_file.write_text(
            f"DATABASE_URL='sqlite:///{self.directory / 'relance.db'}'\n"
            f"ATTACHMENTS_DIR='{self.directory / 'attachments'}'\n"
            f"STATE_DIR='{self.directory / 'state'}'\n",
            encoding="utf-8",
        )

    def manage(self, *arguments: str, typed: str | None = None) -> str:
        """Run manage.py and return what it printed; typed: its standard input.

        Raises StoryBroken when it fails.
        """
        done = subprocess.run(
            [sys.executable, str(SCRIPTS / "manage.py"), *arguments],
            env={**self.environment, "COLUMNS": "78"},
            cwd=self.directory,
            input=typed or "",
            capture_output=True,
            encoding="utf-8",
            timeout=RUN_SECONDS,
            check=False,
        )
        if done.returncode:
            raise StoryBroken(
                f"manage.py {shlex.join(arguments)}\n"
                f"ended with exit status {done.returncode} and said:\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def run_cron(self, *scripts: CronScript) -> list[str]:
        """Start the scripts at the same instant, wait for all, and return their summary lines.

        Raises StoryBroken when one of them fails.
        """
        before = {script: len(self._log_lines(script)) for script in scripts}
        with contextlib.ExitStack() as stack:
            running = [(script, stack.enter_context(self._started(script))) for script in scripts]
            for script, process in running:
                if status := process.wait(RUN_SECONDS):
                    raise StoryBroken(self._why(script, status))
        new = [line for script, start in before.items() for line in self._log_lines(script)[start:]]
        return [line for line in new if " done " in line]

    @contextlib.contextmanager
    def _started(self, script: CronScript) -> Iterator[subprocess.Popen[bytes]]:
        with (self.directory / script.log).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, str(SCRIPTS / script.file)],
                env=self.environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def _why(self, script: CronScript, status: int) -> str:
        lines = self._log_lines(script)[-SHOWN_LOG_LINES:]
        last = "\n".join(textwrap.shorten(line, SHOWN_CHARS, placeholder=" ...") for line in lines)
        return f"{script.file} ended with exit status {status}; the end of {script.log}:\n{last}"

    def _log_lines(self, script: CronScript) -> list[str]:
        log = self.directory / script.log
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    def lock_trouble(self) -> list[str]:
        """What the operators' own command finds in the logs."""
        found = subprocess.run(
            ["grep", "-Ei", "lock|deadlock|timeout", SYNC.log, FOLLOWUPS.log],
            cwd=self.directory,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if found.returncode > 1:
            raise StoryBroken(f"grep: {found.stderr}")
        return found.stdout.splitlines()


@contextlib.contextmanager
def emptied(directory: Path) -> Iterator[Workplace]:
    """The directory, without what an earlier demo left, for this demo alone.

    A demo that was killed has lost the lock with its process. Raises StoryBroken while another
    one runs.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoryBroken(f"another demo is running in {directory}") from None
        for entry in os.scandir(directory):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            elif entry.name != LOCK:
                os.unlink(entry.path)
        place = Workplace(directory)
        place.write_settings()
        yield place
