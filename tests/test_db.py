"""Sessions, transactions and their one retry, on both databases."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, StatementError
from sqlalchemy.orm import Session

from backend.app import db
from backend.app.config import ROOT
from backend.app.engines import create_engine
from backend.app.errors import RaceLost
from backend.app.models import Company, CronRun
from tests.installation import Installation

# On SQLite nobody is cut off, all transactions are serializable, and a lock ends with its process.
on_postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


def add_company(session: Session, name: str) -> None:
    session.add(Company(name=name))


def test_a_write_commits_and_a_failed_one_leaves_nothing(installation: Installation) -> None:
    db.write(add_company, "Kept")

    def fail(session: Session) -> None:
        add_company(session, "Gone")
        session.flush()
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        db.write(fail)
    assert [company.name for company in installation.rows(Company)] == ["Kept"]


def test_a_lost_race_is_run_again_as_a_whole(installation: Installation) -> None:
    attempts = []

    def lose_twice(session: Session) -> str:
        add_company(session, f"Attempt {len(attempts)}")
        attempts.append(session)
        if len(attempts) < 3:
            raise RaceLost("somebody was first")
        return "done"

    assert db.write(lose_twice) == "done"
    assert len({id(session) for session in attempts}) == 3
    assert [company.name for company in installation.rows(Company)] == ["Attempt 2"]


def test_a_race_that_is_never_won_is_raised(installation: Installation) -> None:
    def lose(session: Session) -> None:
        raise RaceLost("always")

    with pytest.raises(RaceLost):
        db.write(lose)


def test_a_mistake_is_not_run_again(installation: Installation) -> None:
    attempts = []

    def break_a_key(session: Session) -> None:
        attempts.append(1)
        session.execute(sa.insert(Company).values(id=1, name="A"))
        session.execute(sa.insert(Company).values(id=1, name="B"))

    with pytest.raises(IntegrityError):
        db.write(break_a_key)
    assert attempts == [1]


def test_writers_that_read_first_wait_for_each_other_without_any_conflict(
    installation: Installation, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With a deferred BEGIN, SQLite refuses all but one at once: "database is locked".
    monkeypatch.setattr(db.log.parent, "propagate", True)
    row = db.write(
        lambda s: s.execute(
            sa.insert(CronRun).values(script="x", host="h", pid=0).returning(CronRun.id)
        ).scalar_one()
    )

    def read_then_write(session: Session) -> None:
        session.execute(sa.select(CronRun.pid).where(CronRun.id == row)).one()
        session.execute(sa.update(CronRun).where(CronRun.id == row).values(pid=CronRun.pid + 1))

    def work() -> None:
        for _ in range(25):
            db.write(read_then_write)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert installation.rows(CronRun)[0].pid == 100
    assert "conflict" not in caplog.text


def test_a_reader_waits_for_no_writer(installation: Installation) -> None:
    with db.SessionLocal.begin() as writer:
        add_company(writer, "Not committed")
        writer.flush()
        assert db.read(lambda s: s.scalar(sa.select(sa.func.count()).select_from(Company))) == 0


def test_a_conflict_is_logged_in_words_that_operators_grep_for(
    installation: Installation, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db.log.parent, "propagate", True)
    left = [1]

    def busy_once(session: Session) -> None:
        if left:
            left.pop()
            raise OperationalError("UPDATE x", {}, _Busy())

    db.write(busy_once)
    assert "database is locked" in caplog.text


class _Busy(Exception):
    sqlite_errorcode = 517  # SQLITE_BUSY_SNAPSHOT


def test_a_commit_whose_answer_was_lost_is_not_run_again(installation: Installation) -> None:
    lost = DBAPIError(None, None, Exception("server closed the connection"), True)  # type: ignore[arg-type]
    broken = DBAPIError("UPDATE x", {}, Exception("server closed the connection"), True)
    lost.connection_invalidated = broken.connection_invalidated = True
    assert db.conflict_of(lost) is None
    assert db.conflict_of(broken) == "connection lost: server closed the connection"


@on_postgresql
def test_a_transaction_that_is_cut_off_at_its_commit_is_not_run_again(
    installation: Installation,
) -> None:
    db.open_database(installation.settings)
    other, attempts = create_engine(installation.url), []

    def write(session: Session) -> None:
        attempts.append(session)
        add_company(session, "Kept or not")
        session.flush()
        process = session.scalar(sa.text("SELECT pg_backend_pid()"))
        with other.begin() as connection:
            ended = sa.text("SELECT pg_terminate_backend(:process, 10000)")
            assert connection.execute(ended, {"process": process}).scalar()

    with pytest.raises(DBAPIError) as lost:
        db.write(write)
    other.dispose()
    assert db.fault_of(lost.value) is not None
    assert len(attempts) == 1
    db.write(add_company, "By the next connection")


@on_postgresql
def test_the_host_application_may_choose_another_isolation_level(
    installation: Installation,
) -> None:
    show = sa.text("SHOW transaction_isolation")
    engine = create_engine(installation.url, durable=False)
    rename = sa.update(Company).values(name=Company.name + "!")
    installation.add_company(name="Renamed")
    for _ in range(2):  # in one connection after the other's transaction
        with engine.connect().execution_options(isolation_level="SERIALIZABLE") as theirs:
            for _ in range(2):
                assert theirs.execute(show).scalar() == "serializable"
                theirs.execute(rename)
                theirs.commit()
            theirs.execute(rename)
            theirs.rollback()
        with engine.begin() as ours:
            assert ours.execute(show).scalar() == "read committed"
    engine.dispose()
    assert [company.name for company in installation.rows(Company)] == ["Renamed!!!!"]


@on_postgresql
def test_a_transaction_that_rests_gives_its_rows_to_others(
    installation: Installation, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    company = installation.add_company()
    monkeypatch.setattr(db.log.parent, "propagate", True)
    monkeypatch.setattr(db, "IDLE_IN_TRANSACTION_SECONDS", 0.05)
    db.open_database(installation.settings)
    other, met = create_engine(installation.url), []
    rename = sa.update(Company).where(Company.id == company)

    def rest(session: Session) -> None:
        session.execute(rename.values(name="first"))
        if not met:
            with other.begin() as connection:  # waits until the first one is ended
                connection.execute(sa.text("SET LOCAL lock_timeout = '10s'"))
                met.append(connection.execute(rename.values(name="other")).rowcount)
        session.execute(rename.values(name="first, again"))

    db.write(rest)
    other.dispose()
    assert met == [1]
    assert installation.rows(Company)[0].name == "first, again"
    assert "timeout" in caplog.text


def test_instants_are_aware_and_come_back_in_utc(installation: Installation) -> None:
    noon_in_paris = datetime(2027, 7, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    company = installation.add_company(created_at=noon_in_paris)
    found = installation.rows(Company, Company.id == company)[0].created_at
    assert found == datetime(2027, 7, 1, 10, tzinfo=UTC)
    assert found.tzinfo is UTC


def test_a_naive_instant_is_refused(installation: Installation) -> None:
    with pytest.raises(StatementError, match="naive datetime"):
        installation.add_company(created_at=datetime(2027, 7, 1))  # noqa: DTZ001


def test_the_databases_clock_counts_like_ours(installation: Installation) -> None:
    def load(session: Session) -> tuple[datetime, datetime]:
        ahead = session.execute(sa.select(db.database_now(90.5))).scalar_one()
        return db.load_now(session), ahead

    now, ahead = db.read(load)
    assert abs(now - datetime.now(UTC)) < timedelta(seconds=30)
    assert timedelta(seconds=90) < ahead - now <= timedelta(seconds=91)


def test_the_host_application_gets_a_session_by_the_environment_alone(
    installation: Installation, tmp_path: Path
) -> None:
    code = (
        "from backend.app.db import SessionLocal; from backend.app.models import Company\n"
        "with SessionLocal.begin() as s: s.add(Company(name='From the host'))"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        env={**installation.environment, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        check=True,
        timeout=60,
    )
    assert [company.name for company in installation.rows(Company)] == ["From the host"]


def test_sqlite_is_set_up_for_several_processes(tmp_path: Path) -> None:
    names = ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
    for durable, synchronous in ((True, 2), (False, 1)):
        engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}", durable=durable)
        with engine.connect() as connection:
            found = [connection.execute(sa.text(f"PRAGMA {name}")).scalar() for name in names]
        engine.dispose()
        assert found == ["wal", 1, 30000, synchronous]
