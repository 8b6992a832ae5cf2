"""Relance itself, as cron starts it, on a database that is made anew for each run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from backend.app.config import ROOT
from backend.app.models import LedgerEntry
from backend.app.schema import upgrade
from backend.demo.servers import Account
from tests.bench import measure
from tests.bench.measure import Cost, Failed
from tests.installation import Installation
from tests.servers.postgresql import private_postgresql

DATABASES = ("sqlite", "postgresql")
MOST_RUNS = 20


class Relance:
    """One installation in a directory of its own, whose server is PostgreSQL or none."""

    def __init__(self, directory: Path, url: str, ca_file: Path | None = None) -> None:
        upgrade(url)
        self.installation = Installation(url, directory, ca_file)
        self.installation.extra = {
            "SEND_LIMIT": "100000",
            "SEND_PER_MINUTE": "1000000",
            "SYNC_DAILY_BYTES": "1000000000000",
        }
        self.company = self.installation.add_company()
        self.log = directory / "log"

    def add_mailbox(self, account: Account, imap: Any, smtp: Any = None, **more: Any) -> int:
        plain = {"imap_port": imap.port, "imap_security": "plain"}
        return self.installation.add_mailbox(self.company, account, imap, smtp, **{**plain, **more})

    def run(self, script: str = "sync", *arguments: object) -> Cost:
        """One run, whose database connections of this process are closed before."""
        self.installation.close()
        return measure.run(
            self.installation.command(script, *arguments),
            self.installation.environment,
            cwd=self.installation.directory,
            log=self.log,
        )

    def sync_all(self, mails: int) -> Cost:
        """Runs until so many mails are in the ledger. Raises Failed."""
        costs: list[Cost] = []
        while self.installation.change(count_ledger) < mails:
            if len(costs) == MOST_RUNS:
                last = measure.last_words(self.log)
                raise Failed(f"not all mails after {MOST_RUNS} runs: {last}")
            costs.append(self.run())
        return measure.total(costs)


def count_ledger(session: Any) -> int:
    return int(session.scalar(sa.select(sa.func.count()).select_from(LedgerEntry)))


@contextmanager
def databases(directory: Path) -> Iterator[dict[str, str]]:
    """name -> URL of a server or a directory, on which `fresh` makes databases."""
    home = directory / "postgresql"
    home.mkdir()
    with private_postgresql(home, durable=True) as url:
        yield {"sqlite": "", "postgresql": url}


@contextmanager
def fresh(directory: Path, server: str, ca_file: Path | None = None) -> Iterator[Relance]:
    """An empty installation. server: '' for SQLite, else a PostgreSQL's URL."""
    directory.mkdir(parents=True)
    try:
        if not server:
            yield from _closed(Relance(directory, f"sqlite:///{directory}/relance.db", ca_file))
            return
        name = f"bench_{directory.name}"
        with administrator(server) as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        url = sa.make_url(server).set(database=name).render_as_string(hide_password=False)
        yield from _closed(Relance(directory, url, ca_file))
        with administrator(server) as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _closed(relance: Relance) -> Iterator[Relance]:
    try:
        yield relance
    finally:
        relance.installation.close()


@contextmanager
def administrator(server: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        yield connection


def interpreter_with_imports(directory: Path) -> Cost:
    """What the minute job's process costs before it does anything."""
    command = [sys.executable, "-c", "import backend.scripts.sync_emails_periodic"]
    return measure.run(command, {"PYTHONPATH": str(ROOT)}, cwd=directory, log=directory / "log")
