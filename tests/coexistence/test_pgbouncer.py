"""Through PgBouncer in transaction pooling: what holds, and what an operator must know.

The crash points, the kills and the simultaneous starts run through it in the long form.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from backend.app.errors import EXIT_DATABASE_UNREACHABLE, EXIT_DONE
from backend.app.models import Conversation, InboxMessage, MailboxState
from tests.coexistence.books import delivery_faults, imbalances
from tests.coexistence.inside import run_inside
from tests.coexistence.launch import OWNERS_GREP
from tests.coexistence.scenes import due_reminders, fill, new_mailbox, threads
from tests.coexistence.test_simultaneous import complaints, run_together
from tests.conftest import or_skip
from tests.installation import Installation
from tests.servers.databases import Database
from tests.servers.faulty_smtp import FaultySmtpServer
from tests.servers.pgbouncer import POOL_SIZE, private_pgbouncer, url_through

SESSION = sa.text("SELECT pg_backend_pid()")
REMEMBERED = {
    "synchronous_commit": "SELECT current_setting('synchronous_commit')",
    "idle limit": "SELECT current_setting('idle_in_transaction_session_timeout')",
    "prepared statements": "SELECT count(*) FROM pg_prepared_statements",
    "cursors": "SELECT count(*) FROM pg_cursors",
    "channels": "SELECT count(*) FROM pg_listening_channels()",
    "advisory locks": "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'",
    "temporary tables": "SELECT count(*) FROM pg_class WHERE relpersistence = 't'",
}


behind_pgbouncer = pytest.mark.parametrize("database", ["pgbouncer"], indirect=True)
straight = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@contextmanager
def every_session(url: str) -> Iterator[list[sa.Connection]]:
    """A client in each of the pool's sessions, kept there by an open transaction."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with ExitStack() as stack:
        clients = [stack.enter_context(engine.connect()) for _ in range(POOL_SIZE)]
        for client in clients:
            client.execute(SESSION)
        yield clients


@behind_pgbouncer
def test_two_transactions_of_one_client_are_in_two_sessions(database: Database) -> None:
    """What all the others rely on: nothing that a session remembers comes back."""
    with every_session(database.url) as clients:
        first, *_ = clients
        for client in clients:
            client.rollback()
        met = []
        for _ in range(POOL_SIZE):
            met.append(first.execute(SESSION).scalar_one())
            first.rollback()
    assert len(set(met)) == POOL_SIZE


@behind_pgbouncer
def test_the_scripts_leave_nothing_in_a_session(
    installation: Installation,
    database: Database,
    embedded_imap: Any,
    faulty_smtp: FaultySmtpServer,
) -> None:
    with every_session(database.url) as clients:
        before = [{k: c.scalar(sa.text(q)) for k, q in REMEMBERED.items()} for c in clients]
    box = new_mailbox(installation, embedded_imap, faulty_smtp)
    due_reminders(installation, box, 3)
    fill(embedded_imap, box.account, threads(box.account.address, 3, 1))
    for script in ("sync", "followups"):
        assert run_inside(installation, script) == EXIT_DONE
    assert len(faulty_smtp.accepted()) == 3
    installation.close()

    with every_session(database.url) as clients:
        after = [{k: c.scalar(sa.text(q)) for k, q in REMEMBERED.items()} for c in clients]
    assert after == before == [after[0]] * POOL_SIZE


@straight
def test_one_session_is_enough_for_both_scripts(
    installation: Installation,
    embedded_imap: Any,
    faulty_smtp: FaultySmtpServer,
    open_directory: Path,
) -> None:
    """No transaction waits for another one of its own run, and none misses what a reset forgets."""
    settings = "default_pool_size = 1\nserver_reset_query_always = 1\n"
    with pooled(installation, open_directory, settings):
        box = new_mailbox(installation, embedded_imap, faulty_smtp)
        due_reminders(installation, box, 3)
        installation.sync()  # the mailbox is fresh; what comes from now on is new mail
        number = fill(embedded_imap, box.account, threads(box.account.address, 3, 1))

        runs = run_together(installation, ["sync"], ["followups"])

        assert complaints(*runs) == []
        assert imbalances(installation) == []
        assert delivery_faults(installation, faulty_smtp.accepted()) == []
        assert len(faulty_smtp.accepted()) == 3
        assert installation.count(InboxMessage) == number + 3


@straight
def test_a_full_pool_ends_the_run_and_the_next_one_does_it(
    installation: Installation,
    embedded_imap: Any,
    open_directory: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = "default_pool_size = 1\nquery_wait_timeout = 1\n"
    with pooled(installation, open_directory, settings):
        box = new_mailbox(installation, embedded_imap)
        number = fill(embedded_imap, box.account, threads(box.account.address, 3, 1))
        holder = sa.create_engine(installation.url, poolclass=sa.NullPool)
        with holder.connect() as connection:
            connection.execute(SESSION)
            assert run_inside(installation, "sync") == EXIT_DATABASE_UNREACHABLE
        assert " ERROR sync database: " in capsys.readouterr().err
        assert run_inside(installation, "sync") == EXIT_DONE
        assert installation.count(InboxMessage) == number


@behind_pgbouncer
def test_options_in_the_url_are_refused_by_name(
    installation: Installation, database: Database
) -> None:
    url = database.url + "?options=-c%20lock_timeout%3D1000"
    done = installation.script("sync", DATABASE_URL=url)
    assert done.returncode == EXIT_DATABASE_UNREACHABLE
    assert "unsupported startup parameter: options" in done.stderr


@behind_pgbouncer
def test_lock_timeout_of_the_database_holds_through_it(
    installation: Installation,
    database: Database,
    embedded_imap: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What docs/pgbouncer.md advises instead of options in the URL."""
    box = new_mailbox(installation, embedded_imap)
    fill(embedded_imap, box.account, threads(box.account.address, 1, 0))
    assert run_inside(installation, "sync") == EXIT_DONE
    fill(embedded_imap, box.account, threads(box.account.address, 1, 0))
    installation.close()
    with past_it(database) as administrator:
        name = sa.make_url(database.url).database
        administrator.execute(sa.text(f"ALTER DATABASE {name} SET lock_timeout = 50"))
        # What is pooled was opened before: as `RECONNECT` on PgBouncer's console would.
        administrator.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    with past_it(database) as host:
        host.execute(sa.text("BEGIN"))
        host.execute(sa.update(MailboxState).values(backlog=False))
        assert run_inside(installation, "sync") == EXIT_DONE  # SKIP LOCKED waits for nobody
        host.execute(sa.text("ROLLBACK"))
        host.execute(sa.text("BEGIN"))
        host.execute(sa.text("LOCK TABLE inbox_messages"))
        assert run_inside(installation, "sync") == EXIT_DATABASE_UNREACHABLE
        host.execute(sa.text("ROLLBACK"))
    found = [line for line in capsys.readouterr().err.splitlines() if OWNERS_GREP.search(line)]
    assert "lock timeout" in found[-1], found
    installation.set(MailboxState, box.id, lease_until=None)
    assert run_inside(installation, "sync") == EXIT_DONE
    assert installation.count(Conversation) == 2


@contextmanager
def past_it(database: Database) -> Iterator[sa.Connection]:
    engine = sa.create_engine(
        database.direct_url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
    )
    with engine.connect() as connection:
        yield connection


@contextmanager
def pooled(installation: Installation, home: Path, settings: str) -> Iterator[None]:
    """The installation behind a PgBouncer with settings of its own."""
    straight_on = installation.url
    with or_skip(), private_pgbouncer(home, straight_on, settings) as facts:
        installation.url = url_through(facts, straight_on)
        try:
            yield
        finally:
            installation.close()
            installation.url = straight_on
