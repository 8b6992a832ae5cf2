"""The database edge: SessionLocal, transactions and their one retry, and the database's clock.

    read(fn, ...)   a short transaction that only reads
    write(fn, ...)  a short transaction that writes; run again as a whole when the database says
                    that it lost a race (deadlock, serialisation failure, busy)

`fn(session, ...)` touches the database alone and returns plain values, because it may run twice.
No transaction is open during network I/O.
How a transaction begins on each database: engines.py.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.sql.functions import FunctionElement

from backend.app.config import Settings, load_settings
from backend.app.engines import create_engine
from backend.app.errors import ConfigurationError, DatabaseUnreachable, RaceLost
from backend.app.models.types import UtcDateTime
from backend.app.schema import head_revision

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger("relance.db")

ATTEMPTS = 8
# A run that is frozen, or whose host is cut off, in the middle of a transaction: PostgreSQL ends it
# after this, and others get its rows long before TCP gives the connection up (two hours). Our
# transactions speak to the database alone, so none is idle for longer than Python needs.
IDLE_IN_TRANSACTION_SECONDS = 60
# https://www.postgresql.org/docs/current/errcodes-appendix.html
POSTGRESQL_CONFLICTS = {
    "40001": "serialization failure (lock conflict)",
    "40P01": "deadlock",
    "55P03": "lock not available (lock timeout)",
}
SQLITE_CONFLICTS = {5: "database is locked (busy timeout)", 6: "database table is locked"}


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
