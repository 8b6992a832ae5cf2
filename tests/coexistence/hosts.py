"""Hosts that share one PostgreSQL, each with its own crontab, state directory and cable.

With root and iproute2 each is a network namespace, whose cable is a pair of virtual interfaces;
elsewhere it is processes whose way to the database goes through a relay that can be cut.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from backend.app.config import ROOT
from tests.installation import SCRIPTS, Installation
from tests.servers.link import Address, Link
from tests.servers.shared import HOST, find_program, run_program

START = Path(__file__).with_name("on_a_host.py")
IDLE_SECONDS = 2.0  # instead of a minute: after this PostgreSQL ends a transaction that rests
END_SECONDS = 120


@dataclass
class Host:
    """enter: what stands before a command that shall run there."""

    name: str
    directory: Path
    database: Link
    url: str
    cut: Callable[[], None]
    mend: Callable[[], None]
    enter: list[str] = field(default_factory=list)

    def start(self, installation: Installation, script: str) -> Started:
        """One line of the crontab."""
        path = ROOT / "backend" / "scripts" / SCRIPTS[script]
        log = self.directory / f"{script}.{secrets.token_hex(3)}.log"
        with log.open("w") as stderr:
            process = subprocess.Popen(
                [*self.enter, sys.executable, START, self.name, str(IDLE_SECONDS), path],
                env={**installation.environment, "DATABASE_URL": self.url},
                cwd=self.directory,
                stderr=stderr,
            )
        return Started(process, log)

    def run(self, installation: Installation, script: str) -> tuple[int, str]:
        """To its end: the exit status, and the log."""
        return self.start(installation, script).end()


@dataclass(frozen=True)
class Started:
    process: subprocess.Popen[bytes]
    log: Path

    def end(self) -> tuple[int, str]:
        try:
            status = self.process.wait(END_SECONDS)
        finally:
            self.process.kill()
        return status, self.log.read_text()


@dataclass(frozen=True)
class Network:
    """gateway: the address at which the hosts find what listens here."""

    gateway: str
    hosts: list[Host]
    are_namespaces: bool

    @contextlib.contextmanager
    def way_to(self, server: Address) -> Iterator[Link]:
        with Link(server, self.gateway) as link:
            yield link


@contextlib.contextmanager
def network(directory: Path, url: str, number: int) -> Iterator[Network]:
    """So many hosts with a way to the PostgreSQL at url."""
    with contextlib.ExitStack() as at_the_end:
        cables = _namespaces(at_the_end, number)
        gateway = cables[0].gateway if cables else HOST
        hosts = []
        for index in range(number):
            link = at_the_end.enter_context(Link(_address(url), gateway))
            home = directory / f"host{index}"
            home.mkdir()
            cut, mend, enter = link.cut, link.mend, []
            if cables:
                cut, mend, enter = cables[index].cut, cables[index].mend, cables[index].enter
            by_link = sa.make_url(url).set(host=gateway, port=link.port, query={})
            shown = by_link.render_as_string(hide_password=False)
            hosts.append(Host(f"host{index}", home, link, shown, cut, mend, enter))
        yield Network(gateway, hosts, bool(cables))


def _address(url: str) -> Address:
    parsed = sa.make_url(url)
    directory = parsed.host or str(parsed.query["host"])
    if directory.startswith("/"):
        return f"{directory}/.s.PGSQL.{parsed.port or 5432}"
    return directory, parsed.port or 5432


@dataclass(frozen=True)
class _Cable:
    namespace: str
    interface: str  # our end
    gateway: str

    @property
    def enter(self) -> list[str]:
        return [find_program("ip") or "ip", "netns", "exec", self.namespace]

    def cut(self) -> None:
        run_program("ip", "link", "set", self.interface, "down")

    def mend(self) -> None:
        run_program("ip", "link", "set", self.interface, "up")


def _namespaces(at_the_end: contextlib.ExitStack, number: int) -> list[_Cable]:
    """[] where namespaces cannot be had."""
    if os.geteuid() != 0 or not find_program("ip"):
        return []
    word = secrets.token_hex(3)
    bridge, net = f"rl{word}", f"10.{secrets.randbelow(200) + 20}.{secrets.randbelow(256)}"
    try:
        run_program("ip", "link", "add", bridge, "type", "bridge")
    except RuntimeError:
        return []
    at_the_end.callback(run_program, "ip", "link", "delete", bridge)
    run_program("ip", "address", "add", f"{net}.1/24", "dev", bridge)
    run_program("ip", "link", "set", bridge, "up")
    cables = [_Cable(f"rl{word}{n}", f"rl{word}v{n}", f"{net}.1") for n in range(number)]
    for index, cable in enumerate(cables):
        run_program("ip", "netns", "add", cable.namespace)
        at_the_end.callback(run_program, "ip", "netns", "delete", cable.namespace)
        pair = ("type", "veth", "peer", "name", "eth0", "netns", cable.namespace)
        run_program("ip", "link", "add", cable.interface, *pair)
        run_program("ip", "link", "set", cable.interface, "master", bridge, "up")
        inside = ("-n", cable.namespace)
        run_program("ip", *inside, "address", "add", f"{net}.{index + 2}/24", "dev", "eth0")
        run_program("ip", *inside, "link", "set", "eth0", "up")
    return cables
