"""The database edge: engine, SessionLocal, SQLite's pragmas, transactions and their one retry.

    read(fn, ...)   a short transaction that only reads
    write(fn, ...)  a short transaction that writes; run again as a whole when the database says
                    that it lost a race (deadlock, serialisation failure, busy)

`fn(session, ...)` touches the database alone and returns plain values, because it may run twice.
No transaction is open during network I/O.

SQLite: a transaction that reads first and writes later fails at once with SQLITE_BUSY_SNAPSHOT
when another writer came between, whatever the busy time-out; so every session that may write
opens with BEGIN IMMEDIATE, where the time-out does work (sqlite.org/lang_transaction.html).
No session-level state is used (no advisory lock, no SET), so that a transaction-pooling proxy
such as PgBouncer may stand between.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.sql.functions import FunctionElement

from backend.app.config import ROOT, Settings, load_settings
from backend.app.errors import ConfigurationError, DatabaseUnreachable, RaceLost
from backend.app.models.types import UtcDateTime

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger("relance.db")

SQLITE_BUSY_SECONDS = 30.0
ATTEMPTS = 8
# A run that is frozen, or whose host is cut off, in the middle of a transaction: PostgreSQL ends it
# after this, and others get its rows long before TCP gives the connection up (two hours). Our
# transactions speak to the database alone, so none is idle for longer than Python needs.
IDLE_IN_TRANSACTION_SECONDS = 60
# The other end: a database that has gone without a word (libpq, tcp(7)).
KEEPALIVE = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}
# https://www.postgresql.org/docs/current/errcodes-appendix.html
POSTGRESQL_CONFLICTS = {
    "40001": "serialization failure (lock conflict)",
    "40P01": "deadlock",
    "55P03": "lock not available (lock timeout)",
}
SQLITE_CONFLICTS = {5: "database is locked (busy timeout)", 6: "database table is locked"}


def create_engine(
    url: str | URL, *, durable: bool = True, idle_seconds: float | None = None
) -> Engine:
    """An engine for SQLite or PostgreSQL with the rules of this module.

    durable=False lets the last commits of a power cut be lost (never a part of one): for the sync
    script alone, whose mail can be fetched again; but see outlive_power_cuts. idle_seconds:
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


@lru_cache(maxsize=1)
def default_engine() -> Engine:
    """The engine of DATABASE_URL, made on first use: for the host application and the shell."""
    return create_engine(load_settings().database_url)


class LazySession(Session):
    """A session that finds the installation's database by itself when nothing bound it."""

    def get_bind(self, *args: Any, **kwargs: Any) -> Engine | Connection:
        return self.bind if self.bind is not None else default_engine()


SessionLocal = sessionmaker(class_=LazySession, expire_on_commit=False)


def open_database(settings: Settings, *, durable: bool = True) -> Engine:
    """Bind SessionLocal to the settings' database and check that it is there, at this version.

    Raises DatabaseUnreachable, and ConfigurationError when a migration is missing; neither text
    ever holds the URL's password.
    """
    idle_seconds = IDLE_IN_TRANSACTION_SECONDS
    engine = create_engine(settings.database_url, durable=durable, idle_seconds=idle_seconds)
    SessionLocal.configure(bind=engine)
    try:
        found = read(_revision)
    except OperationalError as error:
        where = engine.url.render_as_string(hide_password=True)
        raise DatabaseUnreachable(f"{where} does not answer: {_first_line(error)}") from error
    if found != head_revision():
        raise ConfigurationError(
            f"the database's schema is {found or 'empty'}, this version needs "
            f"{head_revision()}. Run:  alembic upgrade head"
        )
    return engine


def outlive_power_cuts(session: Session) -> None:
    """Make the commit of this transaction durable in the sync script, too. Before all statements.

    For what something outside of the database is told of, which must not know more than it does.
    """
    bind = session.get_bind()
    if isinstance(bind, Engine):
        session.bind = bind.execution_options(outlives_power_cuts=True)


def read(fn: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run fn in a transaction that only reads; on SQLite it waits for no writer."""
    with SessionLocal() as session:
        bind = session.get_bind()
        if isinstance(bind, Engine):
            session.bind = bind.execution_options(sqlite_begin="DEFERRED")
        return fn(session, *args, **kwargs)


def write(fn: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run fn in a transaction and commit; again, as a whole, when it lost a race.

    A commit whose answer was lost is never run again: it may have happened.
    """
    for attempt in range(1, ATTEMPTS + 1):
        begun = time.monotonic()
        try:
            with SessionLocal.begin() as session:
                return fn(session, *args, **kwargs)
        except RaceLost:  # no conflict for the database: a unique key did its work
            if attempt == ATTEMPTS:
                raise
        except DBAPIError as error:
            conflict = conflict_of(error)
            if conflict is None or attempt == ATTEMPTS:
                raise
            if error.connection_invalidated:
                conflict += _cut_off_for_resting(time.monotonic() - begun)
            log.warning("conflict=%r attempt=%d transaction=%s", conflict, attempt, fn.__name__)
            time.sleep(random.uniform(0, min(1.0, 0.01 * 2**attempt)))  # noqa: S311
    raise AssertionError("unreachable")


def conflict_of(error: DBAPIError) -> str | None:
    """What kind of lock conflict this is, in the words that operators grep for; None for none.

    A connection that broke before COMMIT was sent counts too: nothing of it was kept.
    """
    original: Any = error.orig
    if (code := getattr(original, "pgcode", None)) in POSTGRESQL_CONFLICTS:
        return POSTGRESQL_CONFLICTS[code]
    if (code := getattr(original, "sqlite_errorcode", None)) is not None:
        return SQLITE_CONFLICTS.get(code & 0xFF)  # the low byte; the rest says more (SNAPSHOT)
    if error.connection_invalidated and error.statement is not None:
        return f"connection lost: {_first_line(error)}"
    return None


def _cut_off_for_resting(seconds: float) -> str:
    """Libpq does not hand on why a connection was cut off: by PostgreSQL's idle-in-transaction
    timeout, by a proxy's query_wait_timeout, by TCP. Only the time tells it from a restart.
    """
    rested = seconds >= IDLE_IN_TRANSACTION_SECONDS
    return f" (timeout: it had rested for {seconds:.0f} s)" if rested else ""


def fault_of(error: SQLAlchemyError) -> str | None:
    """One line for a database that cannot be used now (gone, restarted, full, held too long).

    None for anything else, which is then a mistake of ours.
    """
    if isinstance(error, PoolTimeoutError):
        return "timeout: no free connection"
    if not isinstance(error, DBAPIError):
        return None
    if isinstance(error, OperationalError) or error.connection_invalidated:
        return conflict_of(error) or _first_line(error)
    return conflict_of(error)


class database_now(FunctionElement[datetime]):  # noqa: N801 (reads as an SQL function)
    """The database's clock, `seconds` from now: hosts need not agree on the time for leases."""

    inherit_cache = True

    def __init__(self, seconds: float | sa.BindParameter[float] = 0) -> None:
        self.type = UtcDateTime()
        given = isinstance(seconds, sa.BindParameter)
        super().__init__(seconds if given else sa.literal(seconds, sa.Float()))


@compiles(database_now, "postgresql")
def _now_postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"(clock_timestamp() + make_interval(secs => {seconds}))"


@compiles(database_now, "sqlite")
def _now_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    # Six digits, as the column type writes them, so that text compares as time does.
    seconds = compiler.process(element.clauses, **kw)
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', {seconds} || ' seconds') || '000')"


def load_now(session: Session) -> datetime:
    """The database's clock, aware UTC."""
    return session.execute(sa.select(database_now())).scalar_one()


def utc_now() -> datetime:
    """This host's clock, aware UTC."""
    return datetime.now(UTC)


def _alembic_config(url: str) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(ROOT / "alembic"))
    config.attributes["url"] = url
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """What `alembic upgrade head` does, for the database at url."""
    from alembic import command

    command.upgrade(_alembic_config(url), revision)


@lru_cache(maxsize=1)
def head_revision() -> str:
    """The newest migration, read from file names: alembic's own import would cost each minute."""
    files = sorted((ROOT / "alembic" / "versions").glob("[0-9]*.py"))
    return files[-1].name.split("_")[0]


def _revision(session: Session) -> str | None:
    try:
        version = sa.Table("alembic_version", sa.MetaData(), sa.Column("version_num", sa.String))
        return session.scalar(sa.select(version.c.version_num))
    except DBAPIError as error:
        if "alembic_version" in str(error.orig):
            return None
        raise


def _first_line(error: DBAPIError) -> str:
    return (str(error.orig).strip() or type(error.orig).__name__).splitlines()[0]
