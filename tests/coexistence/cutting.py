"""A script in a process of its own whose connections to PostgreSQL are cut at a given moment.

Moments: before each statement and before each COMMIT, in their order; the first is 0.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tests.coexistence.crash import SCRIPTS, processes
from tests.installation import Installation

END_SECONDS = 60
CUT = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


@dataclass(frozen=True)
class Cut:
    """How a run ended whose connections were cut; was_cut: False when it was over before."""

    status: int
    was_cut: bool
    log: str


def run_cut(installation: Installation, script: str, moment: int) -> Cut:
    installation.close()  # or its connections would be cut as well
    log, sign = installation.directory / "cut.log", installation.directory / "was.cut"
    sign.unlink(missing_ok=True)
    arguments = (installation.environment, script, moment, log, sign)
    child = processes.Process(target=_run, args=arguments)
    child.start()
    child.join(END_SECONDS)
    assert child.exitcode is not None, "the run does not end"
    return Cut(child.exitcode, sign.exists(), log.read_text())


def _run(environment: Mapping[str, str], script: str, moment: int, log: Path, sign: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), sys.stderr.fileno())
    passed = itertools.count()

    def pass_by(*_: object) -> None:
        if next(passed) == moment:
            sign.touch()
            _cut_all(environment["DATABASE_URL"])

    event.listen(Engine, "before_cursor_execute", pass_by)
    event.listen(Engine, "commit", pass_by)
    sys.exit(SCRIPTS[script]([]))


def _cut_all(url: str) -> None:
    plain = sa.make_url(url).set(drivername="postgresql")
    connection = psycopg2.connect(plain.render_as_string(hide_password=False))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(CUT)
    connection.close()
