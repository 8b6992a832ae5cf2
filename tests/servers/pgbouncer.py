"""A private PgBouncer in transaction pooling before the session's PostgreSQL.

Hostile on purpose: a handful of connections for each database, given out in turn, so that two
transactions of one client hardly ever meet the same one, and whatever a session would remember is
somebody else's. PgBouncer refuses to run as root, so root starts it as `nobody`.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from tests.servers.postgresql import postgresql_url
from tests.servers.shared import (
    HOST,
    Facts,
    ServerMissing,
    SharedServers,
    find_program,
    free_ports,
    listens,
    run_program,
    stop_process,
    wait_until,
)

HOW = "apt-get install pgbouncer"
POOL_SIZE = 4

CONFIGURATION = """
[databases]
* = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
admin_users = admin
pool_mode = transaction
default_pool_size = {pool_size}
server_round_robin = 1
max_client_conn = 500
logfile = {home}/pgbouncer.log
pidfile = {home}/pgbouncer.pid
"""


def through_pgbouncer(servers: SharedServers, url: str) -> str:
    """The way to a database of the session's PostgreSQL through PgBouncer. Raises ServerMissing."""
    facts = servers.facts("pgbouncer", lambda home: start(home, postgresql_url(servers)), wait)
    return url_through(facts, url)


def url_through(facts: Facts, url: str) -> str:
    through = sa.make_url(url).set(
        username="relance", password="any", host=HOST, port=facts["port"], query={}
    )
    return through.render_as_string(hide_password=False)


@contextlib.contextmanager
def private_pgbouncer(home: Path, url: str, more: str = "") -> Iterator[Facts]:
    """One for a single test, with settings of its own in `more`. Raises ServerMissing."""
    facts = start(home, sa.make_url(url), more)
    try:
        wait(facts)
        yield facts
    finally:
        stop_pgbouncer(facts)


def start(home: Path, server: sa.URL, more: str = "") -> Facts:
    """Start one in `home`, which other users must be able to enter."""
    if not find_program("pgbouncer"):
        raise ServerMissing(f"PgBouncer: {HOW}")
    user = "nobody" if os.geteuid() == 0 else None
    if user:
        os.chown(home, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
    (port,) = free_ports(1)
    configuration = home / "pgbouncer.ini"
    configuration.write_text(
        CONFIGURATION.format(server=_target(server), port=port, home=home, pool_size=POOL_SIZE)
        + more
    )
    run_program("pgbouncer", "-q", "-d", str(configuration), user=user)
    return {"port": port, "pid_file": str(home / "pgbouncer.pid")}


def wait(facts: Facts) -> None:
    wait_until(lambda: listens(facts["port"]), "PgBouncer listens")


def stop_pgbouncer(facts: Facts) -> None:
    """End a PgBouncer that this session started, whoever is connected."""
    stop_process(int(Path(facts["pid_file"]).read_text()), signal.SIGTERM)


def _target(server: sa.URL) -> str:
    """As PgBouncer's file writes it: the server, and the user to whom every client is made."""
    words = {
        "host": server.host or server.query["host"],
        "port": server.port or 5432,
        "user": server.username,
        "password": server.password,
    }
    return " ".join(f"{name}={value}" for name, value in words.items() if value)
