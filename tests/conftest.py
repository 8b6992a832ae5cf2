"""Fixtures for every test: databases, IMAP and SMTP servers, a workspace.

A fixture with several servers runs its test once on each. Where a real server cannot be had, its
tests are skipped, and one line at the end says which server and how to get it; with
REQUIRE_SERVERS=1 they fail instead.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

from backend.demo.servers import MailServers
from tests.installation import Installation
from tests.servers.certificates import Certificates, make_certificates
from tests.servers.cyrus import CyrusServer, cyrus, stop_cyrus
from tests.servers.databases import Database, bare, drop_template, migrated
from tests.servers.dovecot import DovecotServer, dovecot, stop_dovecot
from tests.servers.embedded_imap import EmbeddedImapServer
from tests.servers.embedded_smtp import EmbeddedSmtpServer
from tests.servers.faulty_smtp import FaultySmtpServer
from tests.servers.pgbouncer import stop_pgbouncer
from tests.servers.postfix import PostfixServer, postfix, stop_postfix
from tests.servers.postgresql import stop_postgresql
from tests.servers.shared import ServerMissing, SharedServers

ImapServer = EmbeddedImapServer | DovecotServer | CyrusServer
SmtpServer = EmbeddedSmtpServer | PostfixServer

MISSING = "not tested on "
DIRECTORY = pytest.StashKey[Path]()


@dataclass(frozen=True)
class Workspace:
    """Directories that one test has for itself."""

    directory: Path
    attachments: Path


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty directory, with an empty attachments directory in it."""
    attachments = tmp_path / "attachments"
    attachments.mkdir()
    return Workspace(tmp_path, attachments)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database at the newest migration, for this test alone.

    A third kind, pgbouncer, is asked for by name: tests/coexistence/extent.py.
    """
    with or_skip(), migrated(_servers(request), request.param, tmp_path) as made:
        yield made


@pytest.fixture
def installation(
    database: Database, tmp_path: Path, certificates: Certificates
) -> Iterator[Installation]:
    """An installation of Relance on an empty database; each test adds its own rows."""
    made = Installation(database.url, tmp_path, certificates.ca_file)
    made.open()
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def bare_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without tables, for the tests of the migrations themselves."""
    with or_skip(), bare(_servers(request), request.param, tmp_path) as made:
        yield made


@pytest.fixture(params=["embedded", "dovecot"])
def imap_server(request: pytest.FixtureRequest) -> ImapServer:
    """An IMAP server; a test makes its own user on it with add_user()."""
    if request.param == "dovecot":
        with or_skip():
            return dovecot(_servers(request))
    if request.param == "cyrus":  # asked for by name: tests/inbox/conftest.py
        with or_skip():
            return cyrus(_servers(request))
    server: EmbeddedImapServer = request.getfixturevalue("embedded_imap")
    return server


@pytest.fixture(params=["embedded", "postfix"])
def smtp_server(request: pytest.FixtureRequest) -> SmtpServer:
    """An SMTP server that accepts all mail, but for the names listed in tests/servers/postfix.py.

    A test uses recipients of its own, so that delivered(address) holds its own mails alone.
    """
    if request.param == "postfix":
        real: PostfixServer = request.getfixturevalue("postfix_server")
        return real
    server: EmbeddedSmtpServer = request.getfixturevalue("embedded_smtp")
    return server


@pytest.fixture
def postfix_server(request: pytest.FixtureRequest) -> PostfixServer:
    """The real SMTP server alone, for what the embedded one cannot do."""
    with or_skip():
        return postfix(_servers(request), _dovecot_or_none(request))


@pytest.fixture
def faulty_smtp(tmp_path: Path) -> Iterator[FaultySmtpServer]:
    """An SMTP server that fails on demand, see tests/servers/faulty_smtp.py."""
    with FaultySmtpServer(tmp_path / "accepted.jsonl") as server:
        yield server


@pytest.fixture(scope="session")
def mail_servers(certificates: Certificates) -> Iterator[MailServers]:
    """The embedded pair, which carries mail to each other; a test adds accounts of its own."""
    with MailServers(certificates.server_context()) as servers:
        yield servers


@pytest.fixture(scope="session")
def embedded_imap(mail_servers: MailServers, certificates: Certificates) -> EmbeddedImapServer:
    """The embedded IMAP server alone, for tests that need no second one."""
    return EmbeddedImapServer(mail_servers, certificates.ca_file)


@pytest.fixture(scope="session")
def embedded_smtp(certificates: Certificates) -> Iterator[EmbeddedSmtpServer]:
    """The embedded SMTP server alone, for tests that need no second one."""
    server = EmbeddedSmtpServer(certificates)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """What the embedded servers show in TLS, and the authority that vouches for it."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def _servers(request: pytest.FixtureRequest) -> SharedServers:
    return SharedServers(request.config.stash[DIRECTORY])


def _dovecot_or_none(request: pytest.FixtureRequest) -> DovecotServer | None:
    try:
        return dovecot(_servers(request))
    except ServerMissing:
        return None


@contextlib.contextmanager
def or_skip() -> Iterator[None]:
    """Skip the test, or fail it, where a real server cannot be had."""
    try:
        yield
    except ServerMissing as missing:
        _skip(str(missing))


def _skip(reason: str) -> NoReturn:
    if os.environ.get("REQUIRE_SERVERS") == "1":
        pytest.fail(f"REQUIRE_SERVERS=1, but {MISSING}{reason}", pytrace=False)
    pytest.skip(MISSING + reason)


# One directory for the servers of the whole session: made, and emptied, by the process that owns
# the session; its pytest-xdist workers are told where it is.


def pytest_configure(config: pytest.Config) -> None:
    given = getattr(config, "workerinput", {}).get("servers")
    config.stash[DIRECTORY] = Path(given or tempfile.mkdtemp(prefix="relance-tests-"))
    if not given:
        config.stash[DIRECTORY].chmod(0o755)  # Dovecot, Postfix and PostgreSQL leave root behind
        # Ended by a time limit, the session must stop its servers as it does after Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["servers"] = str(node.config.stash[DIRECTORY])


def pytest_unconfigure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return
    servers = SharedServers(config.stash[DIRECTORY])
    stops = {
        "postgresql": stop_postgresql,
        "pgbouncer": stop_pgbouncer,
        "dovecot": stop_dovecot,
        "cyrus": stop_cyrus,
        "postfix": stop_postfix,
    }
    with contextlib.ExitStack() as at_the_end:  # last in, first out; each runs whatever else fails
        at_the_end.callback(shutil.rmtree, servers.directory)
        for name, stop in stops.items():
            if facts := servers.started(name):
                at_the_end.callback(stop, facts)
        at_the_end.callback(drop_template, servers)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line for each server that was missing, however many tests asked for it."""
    reasons = {str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", [])}
    for reason in sorted(reasons):
        if MISSING in reason:
            terminalreporter.write_line(reason.partition(": ")[2])
