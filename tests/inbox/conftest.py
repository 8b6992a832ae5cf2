"""Fixtures of the inbound path: a company's inbox, and a watch on what is fetched."""

from __future__ import annotations

from typing import Any

import pytest

from tests.inbox.desk import Desk, Fetches, open_desk
from tests.installation import Installation

# What a server says and how a database locks do not depend on each other: each is met once.
PAIRS = [("sqlite", "embedded"), ("postgresql", "dovecot"), ("sqlite", "cyrus")]


@pytest.hookimpl(tryfirst=True)  # before the fixtures' own parameters are multiplied
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "desk" in metafunc.fixturenames:
        pairs = pytest.mark.parametrize(("database", "imap_server"), PAIRS, indirect=True)
        metafunc.definition.add_marker(pairs)


@pytest.fixture
def desk(installation: Installation, imap_server: Any) -> Desk:
    """On both databases and three IMAP servers: for what depends on a server's words."""
    return open_desk(installation, imap_server)


@pytest.fixture
def embedded_desk(installation: Installation, embedded_imap: Any) -> Desk:
    """On both databases, with the embedded server: for what happens once a mail is here."""
    return open_desk(installation, embedded_imap)


@pytest.fixture
def fetches(monkeypatch: pytest.MonkeyPatch) -> Fetches:
    watch = Fetches()
    watch.watch(monkeypatch)
    return watch
