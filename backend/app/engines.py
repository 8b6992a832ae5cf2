"""Engines for both databases: how each connects, and how its transactions begin.

SQLite: a transaction that reads first and writes later fails at once with SQLITE_BUSY_SNAPSHOT
when another writer came between, whatever the busy time-out; so every session that may write
opens with BEGIN IMMEDIATE, where the time-out does work (sqlite.org/lang_transaction.html).
No session-level state is used (no advisory lock, no SET), so that a transaction-pooling proxy
such as PgBouncer may stand between.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError

from backend.app.errors import ConfigurationError, DatabaseUnreachable

SQLITE_BUSY_SECONDS = 30.0
# The other end: a database that has gone without a word (libpq, tcp(7)).
KEEPALIVE = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}


def create_engine(
    url: str | URL, *, durable: bool = True, idle_seconds: float | None = None
) -> Engine:
    """An engine for SQLite or PostgreSQL with the rules of this module.

    durable=False lets the last commits of a power cut be lost (never a part of one): for the sync
    script alone, whose mail can be fetched again; but see db.outlive_power_cuts. idle_seconds:
    PostgreSQL ends a transaction that rests for so long; None for a person's shell and the host
    application.
    Raises ConfigurationError, and DatabaseUnreachable when SQLite's directory cannot be made.
    """
    try:
        url = make_url(url)
    except ArgumentError as error:
        raise ConfigurationError("DATABASE_URL is not a database URL") from error
    if url.drivername == "sqlite":
        return _sqlite_engine(url, durable)
    # Bare names mean the driver that we install, whatever SQLAlchemy's default is.
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg2"):
        url = url.set(drivername="postgresql+psycopg2")
        return _postgresql_engine(url, durable, idle_seconds)
    raise ConfigurationError(f"DATABASE_URL must be sqlite or postgresql, not {url.drivername}")


def _sqlite_engine(url: URL, durable: bool) -> Engine:
    if url.database and url.database != ":memory:":
        try:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseUnreachable(f"{url.database} cannot be made: {error}") from error
    usual = "FULL" if durable else "NORMAL"
    engine = sa.create_engine(
        url,
        connect_args={"timeout": SQLITE_BUSY_SECONDS},
        **_no_limit(url),
        hide_parameters=True,  # they hold mails, and an error's text goes into the log
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        # The driver's own BEGIN is always deferred; with None it leaves BEGIN to us.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(f"PRAGMA synchronous = {usual}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        level = "FULL" if options.get("outlives_power_cuts") else usual
        if connection.info.get("synchronous", usual) != level:  # it cannot be set within BEGIN
            connection.exec_driver_sql(f"PRAGMA synchronous = {level}")
            connection.info["synchronous"] = level
        connection.exec_driver_sql(f"BEGIN {options.get('sqlite_begin', 'IMMEDIATE')}")

    return engine


def _no_limit(url: URL) -> dict[str, int]:
    """Every thread may have its connection: how many threads there are is SYNC_WORKERS."""
    in_memory = url.drivername == "sqlite" and url.database in (None, "", ":memory:")
    return {} if in_memory else {"max_overflow": -1}


def _postgresql_engine(url: URL, durable: bool, idle_seconds: float | None) -> Engine:
    engine = sa.create_engine(
        url,
        isolation_level="AUTOCOMMIT",  # the driver's: BEGIN is left to us
        connect_args={**KEEPALIVE, "connection_factory": _driver_connection()},
        **_no_limit(url),
        hide_parameters=True,
    )
    # LOCAL: for this transaction alone, whichever session a proxy gives to the next one.
    settings = []
    if idle_seconds is not None:
        milliseconds = int(idle_seconds * 1000)
        settings.append(f"SET LOCAL idle_in_transaction_session_timeout = {milliseconds}")
    usual = settings if durable else [*settings, "SET LOCAL synchronous_commit = off"]

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        statements = settings if options.get("outlives_power_cuts") else usual
        level = options.get("isolation_level")
        if level == "AUTOCOMMIT":  # VACUUM, CREATE DATABASE
            return
        if level is None:  # else the host application chose one, with which the driver begins
            statements = ["BEGIN ISOLATION LEVEL READ COMMITTED", *statements]
        if statements:
            connection.exec_driver_sql("; ".join(statements))  # one round trip

    return engine


def _driver_connection() -> Any:
    """psycopg2's connection, which would begin each transaction by a round trip of its own.

    Of a transaction that it did not begin itself (autocommit) it knows no end either.
    """
    from psycopg2 import extensions  # type: ignore[import-untyped]

    class DriverConnection(extensions.connection):  # type: ignore[misc]
        def commit(self) -> None:
            if self.autocommit:
                self._end("COMMIT")
            else:
                super().commit()

        def rollback(self) -> None:
            if self.autocommit:
                self._end("ROLLBACK")
            else:
                super().rollback()

        def _end(self, word: str) -> None:
            if self.info.transaction_status != extensions.TRANSACTION_STATUS_IDLE:
                with self.cursor() as cursor:
                    cursor.execute(word)

    return DriverConnection
