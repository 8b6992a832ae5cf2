"""Real servers that a whole test session shares, whichever worker process asks first.

The process that owns the session makes one directory and passes it to its workers. A server is
started by the first test that needs it, under a file lock; its facts (ports, paths) lie in a
JSON file beside it. The owner stops what was started, at the end.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
BELOW_THE_KERNELS = range(20_000, 32_768)

Facts = dict[str, Any]


class ServerMissing(Exception):
    """A real server cannot be had here. The text says which one and how to get it, in one line."""


class SharedServers:
    """The servers of one test session, in one directory that other users can traverse."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def facts(
        self,
        name: str,
        start: Callable[[Path], Facts],
        wait: Callable[[Facts], None] = lambda _: None,
    ) -> Facts:
        """What start(directory) said when the server was started, by us or by another worker.

        wait(facts) returns when the server answers. What has been started is written down before
        that, so that a server which never answers is still stopped at the end.
        """
        with locked(self.directory / f"{name}.lock"):
            file = self.directory / f"{name}.json"
            if not file.exists():
                home = self.directory / name
                home.mkdir(exist_ok=True)
                home.chmod(0o755)
                facts = start(home)
                file.write_text(json.dumps(facts))
                wait(facts)
            return dict(json.loads(file.read_text()))

    def started(self, name: str) -> Facts | None:
        """The facts of a server that has been started, None if nobody asked for it."""
        file = self.directory / f"{name}.json"
        return json.loads(file.read_text()) if file.exists() else None


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file, across processes."""
    with file.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on right now; another program may still take one before us.

    Below those that the kernel gives to whoever asks for any (ip_local_port_range): every
    connection of another test would be such a program.
    """
    found: list[int] = []
    while len(found) < count:
        port = secrets.choice(BELOW_THE_KERNELS)
        if port not in found and _is_free(port):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    try:
        socket.create_server((HOST, port)).close()
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Return as soon as the condition holds. Raises TimeoutError, which names `what`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: still not so after {seconds:.0f} s")
        time.sleep(0.01)


def listens(port: int) -> bool:
    """Whether a server on loopback accepts connections on the port."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def find_program(name: str) -> str | None:
    """The program's path; servers lie in directories that a plain user's PATH lacks."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin")


def run_program(name: str, *arguments: str, user: str | int | None = None) -> str:
    """Run a program to its end, as `user` if given, and return what it printed.

    Raises RuntimeError with its output if it failed. The output goes to a file, not a pipe: a
    server that goes into the background keeps what it inherits open, and a pipe would never end.
    """
    program = find_program(name)
    assert program is not None, name
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
            user=user,
            extra_groups=None if user is None else [],
            cwd="/",
        )
        output.seek(0)
        text = output.read().decode(errors="replace")
    if done.returncode:
        raise RuntimeError(f"{name} ended with {done.returncode}: {text.strip()}")
    return text


def stop_process(pid: int, signal_number: int) -> None:
    """Send the signal and wait until the process is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal_number)
        wait_until(lambda: not _runs(pid), f"process {pid} ended")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie whose parent never waits (an init-less container) has ended too.
    return process_state(pid) != "Z"


def process_state(pid: int | None) -> str | None:
    """The letter of proc(5), T when it is stopped; None when it has ended, or without /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return stat.rpartition(")")[2].split()[0]
