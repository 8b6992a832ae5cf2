"""What the tests of coexistence share with nobody else."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

from tests.coexistence.figures import Figures, tables
from tests.conftest import DIRECTORY


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Where a test's figures go; printed at the end when tests/coexistence is named to pytest."""
    callspec = getattr(request.node, "callspec", None)
    database = callspec.params.get("database", "-") if callspec else "-"
    return Figures(request.config.stash[DIRECTORY], str(database))


@pytest.fixture
def open_directory(request: pytest.FixtureRequest) -> Path:
    """For a server that leaves root behind: any user may enter it, and all above it."""
    made = Path(tempfile.mkdtemp(dir=request.config.stash[DIRECTORY]))
    made.chmod(0o755)
    return made


@pytest.fixture
def conflicts() -> Iterator[list[str]]:
    """What the database room logs meanwhile: each time that a transaction lost a race."""
    lines: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    listener, logger = Listener(), logging.getLogger("relance.db")
    logger.addHandler(listener)
    yield lines
    logger.removeHandler(listener)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if text := tables(terminalreporter.config.stash[DIRECTORY]):
        terminalreporter.write_line(text)


@pytest.fixture(scope="session")
def clean_processes(request: pytest.FixtureRequest) -> None:
    """The process of which crash.py makes its children.

    A pytest-xdist worker leaves without tidying up after itself: there its socket lies in the
    session's directory, which is removed at the end.
    """
    config = request.config
    is_worker = hasattr(config, "workerinput")
    with pytest.MonkeyPatch.context() as patch:
        if is_worker:
            patch.setattr(tempfile, "tempdir", str(config.stash[DIRECTORY]))
        forkserver.ensure_running()
