"""Conflicts with the host application: logged in the words operators grep for, and survived."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from backend.app import engines
from backend.app.engines import create_engine
from backend.app.errors import EXIT_DATABASE_UNREACHABLE, EXIT_DONE
from backend.app.models import Conversation, InboxMessage, MailboxState
from tests.coexistence.books import imbalances
from tests.coexistence.inside import run_inside
from tests.coexistence.launch import OWNERS_GREP
from tests.coexistence.scenes import Mailbox, fill, new_mailbox, threads
from tests.coexistence.waiting import wait_until_blocked
from tests.installation import Installation, mail
from tests.servers.databases import Database

SHORT_PATIENCE = 0.05


@pytest.fixture
def box(installation: Installation, embedded_imap: Any) -> Mailbox:
    """A mailbox with one thread in the inbox and an answer to it on the server."""
    made = new_mailbox(installation, embedded_imap)
    root = "<root@client.test>"
    letter = {"sender": "jean@client.test", "to": made.account.address}
    embedded_imap.append(made.account, mail(**letter, subject="Devis", message_id=root))
    assert not installation.sync().failed
    embedded_imap.append(made.account, mail(**letter, subject="Re: Devis", In_Reply_To=root))
    return made


@contextlib.contextmanager
def when_a_conflict_is_logged(act: Callable[[], None]) -> Iterator[None]:
    """Do something, once, as soon as the database room logs a conflict."""
    once = iter([act])

    class Listener(logging.Handler):
        def emit(self, _record: logging.LogRecord) -> None:
            for each in once:
                each()

    listener, logger = Listener(), logging.getLogger("relance.db")
    logger.addHandler(listener)
    try:
        yield
    finally:
        logger.removeHandler(listener)


def found_by_the_owner(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if OWNERS_GREP.search(line)]


@pytest.fixture
def host(database: Database) -> Iterator[sa.Engine]:
    """The host application's own connections."""
    engine = create_engine(database.url)
    yield engine
    engine.dispose()


@pytest.fixture
def impatient(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts that wait for a lock for a moment only."""
    if database.dialect == "sqlite":
        monkeypatch.setattr(engines, "SQLITE_BUSY_SECONDS", SHORT_PATIENCE)
        return
    set_for_new_connections(database, "lock_timeout", SHORT_PATIENCE)


def set_for_new_connections(database: Database, name: str, seconds: float) -> None:
    engine = sa.create_engine(database.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        where = f"ALTER DATABASE {sa.make_url(database.url).database}"
        connection.execute(sa.text(f"{where} SET {name} = {int(seconds * 1000)}"))


@pytest.fixture
def late_deadlock_check(database: Database) -> None:
    """Time to close a circle on a slow machine before PostgreSQL looks for it.

    Who looks first after it is closed is ended, each once and `deadlock_timeout` after it began to
    wait. Only a superuser may set that: elsewhere it stays at one second.
    """
    with contextlib.suppress(sa.exc.ProgrammingError):
        set_for_new_connections(database, "deadlock_timeout", 4.0)


@pytest.mark.usefixtures("impatient")
def test_lock_held_too_long_is_logged_and_the_run_goes_on_when_it_is_free(
    installation: Installation,
    box: Mailbox,
    host: sa.Engine,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with host.connect() as connection, when_a_conflict_is_logged(connection.rollback):
        connection.execute(sa.update(Conversation).values(subject="edited"))
        assert run_inside(installation, "sync") == EXIT_DONE

    lines = found_by_the_owner(capsys)
    assert len(lines) == 1, lines
    assert "attempt=1" in lines[0]
    assert installation.count(InboxMessage) == 2
    assert imbalances(installation) == []


@pytest.mark.usefixtures("impatient")
def test_lock_never_given_back_ends_the_run_and_the_next_one_loses_nothing(
    installation: Installation,
    box: Mailbox,
    host: sa.Engine,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with host.connect() as connection:
        connection.execute(sa.update(Conversation).values(subject="edited"))
        assert run_inside(installation, "sync") == EXIT_DATABASE_UNREACHABLE

    lines = found_by_the_owner(capsys)
    assert " ERROR sync database: " in lines[-1]
    installation.set(MailboxState, box.id, lease_until=None)
    assert run_inside(installation, "sync") == EXIT_DONE
    assert installation.count(InboxMessage) == 2
    assert imbalances(installation) == []


# SQLite has one writer at a time: there is no order in which two could wait for each other.
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.usefixtures("late_deadlock_check")
def test_deadlock_with_the_host_application_is_logged_and_the_mail_stored(
    installation: Installation,
    database: Database,
    box: Mailbox,
    host: sa.Engine,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with host.connect() as connection:
        connection.execute(sa.update(Conversation).values(subject="edited"))

        def close_the_circle() -> None:
            # The script waits for the conversation and holds its lease, which is waited for here.
            # It began to wait first, so PostgreSQL ends its transaction and not this one.
            assert wait_until_blocked(database)
            connection.execute(sa.update(MailboxState).values(backlog=False))
            connection.commit()

        circle = threading.Thread(target=close_the_circle)
        circle.start()
        assert run_inside(installation, "sync") == EXIT_DONE
        circle.join()

    lines = found_by_the_owner(capsys)
    assert ["deadlock" in line for line in lines] == [True], lines
    assert installation.count(InboxMessage) == 2
    assert installation.rows(Conversation)[0].subject == "edited"
    assert imbalances(installation) == []


def test_quiet_day_shows_nothing(
    installation: Installation,
    box: Mailbox,
    embedded_imap: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(embedded_imap, box.account, threads(box.account.address, 3, 1))
    for script in ("sync", "followups", "sync"):
        assert run_inside(installation, script, "-v") == EXIT_DONE
    assert found_by_the_owner(capsys) == []
