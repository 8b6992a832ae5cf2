"""The same run with little and with much on the server, and with little and with much stored."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from backend.app import db
from backend.app.engines import create_engine
from backend.app.models.types import UtcDateTime
from backend.demo.servers import Account
from tests.bench import measure, ours
from tests.bench.corpus import OUR_ADDRESS, Corpus
from tests.bench.measure import Cost
from tests.bench.ours import Relance
from tests.bench.post_office import PostOffice, post_office
from tests.bench.table import Finding, Section, megabytes

COLUMNS = ("", "CPU s", "wall s", "peak memory")
NEW = 10
# One row for each i from 1 to :rows, whatever the database.
_SERIES = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows) SELECT "
_TABLES = (  # table, divisor, columns, values
    (
        "clients",
        10,
        "id, company_id, name, email, email_key",
        "i, 1, 'Old', 'old' || i || '@old.example', 'old' || i || '@old.example'",
    ),
    (
        "conversations",
        5,
        "id, company_id, source, thread_key, client_id, subject, subject_key, last_message_at",
        "i, 1, 'email', 'old:' || i, 1 + (i - 1) / 2, 'Devis', 'devis', :at",
    ),
    (
        "inbox_messages",
        1,
        "id, company_id, conversation_id, external_id, in_reply_to, fingerprint, from_key, "
        "content, is_from_client, kind, placement, sent_at, arrived_at",
        "i, 1, 1 + (i - 1) / 5, 'old.' || i || '@old.example', "
        "CASE i % 5 WHEN 1 THEN NULL ELSE 'old.' || (i - 1) || '@old.example' END, 'old' || i, "
        "'old' || (1 + (i - 1) / 10) || '@old.example', 'Bonjour', true, 'human', 'new_thread', "
        ":at, :at",
    ),
    (
        "followups",
        1,
        "id, company_id, client_id, type, auto_state, next_action_at",
        "i, 1, 1 + (i - 1) / 10, 'invoice_unpaid', 'stopped', :at",
    ),
)


def compare(directory: Path, rows: tuple[int, ...], mails: tuple[int, ...], rounds: int) -> Section:
    """rows: messages stored (and as many follow-ups, a fifth of it conversations); mails: of INBOX.

    Each with nothing new and with 10 new mails.
    """
    section = Section("Growth", COLUMNS)
    with post_office(directory / "dovecot") as office, ours.databases(directory) as databases:
        for name, server in databases.items():
            _compare_stored(section, directory, office, name, server, rows, rounds)
        _compare_mailboxes(section, directory, office, mails, rounds)
    return section


def _compare_stored(
    section: Section,
    directory: Path,
    office: PostOffice,
    name: str,
    server: str,
    rows: tuple[int, ...],
    rounds: int,
) -> None:
    costs = []
    for number in rows:
        with ours.fresh(directory / f"grown_{name}_{number}", server) as relance:
            fill(relance, number)
            account = office.fill(Corpus().mails(100))
            costs.append(_visit(relance, office, account, 100, rounds))
        _add_rows(section, f"{name}, {number} messages stored", costs[-1])
    _find(section, f"{name}, {rows[-1]} messages stored over {rows[0]}", costs[0], costs[-1], 1.3)


def _compare_mailboxes(
    section: Section, directory: Path, office: PostOffice, mails: tuple[int, ...], rounds: int
) -> None:
    costs = []
    for number in mails:
        with ours.fresh(directory / f"mailbox_{number}", "") as relance:
            account = office.fill(_small_mails(number))
            costs.append(_visit(relance, office, account, number, rounds))
        _add_rows(section, f"sqlite, {number} mails in the mailbox", costs[-1])
    _find(section, f"{mails[-1]} mails in the mailbox over {mails[0]}", costs[0], costs[-1], 1.2)


def _visit(
    relance: Relance, office: PostOffice, account: Account, mails: int, rounds: int
) -> tuple[Cost, Cost]:
    """The medians of a run with nothing new, and of one with 10 new mails; all else is read."""
    relance.add_mailbox(account, office.server)
    relance.sync_all(mails)
    relance.run()  # the audit that follows a first sync
    new = Corpus(seed=2).mails(1_000_000)
    nothing, some = [], []
    for _ in range(rounds):
        nothing.append(relance.run())
        for raw in itertools.islice((raw for raw in new if len(raw) < 50_000), NEW):
            office.add(account, raw)
        some.append(relance.run())
    return measure.median(nothing), measure.median(some)


def _add_rows(section: Section, what: str, costs: tuple[Cost, Cost]) -> None:
    for new, cost in zip(("nothing new", f"{NEW} new mails"), costs, strict=True):
        section.rows.append((f"{what}, {new}", cost.cpu, cost.wall, megabytes(cost.peak)))


def _find(
    section: Section, what: str, small: tuple[Cost, Cost], big: tuple[Cost, Cost], most: float
) -> None:
    for new, before, after in zip(("nothing new", f"{NEW} new"), small, big, strict=True):
        finding = Finding(f"{what}, {new}: CPU", after.cpu / before.cpu, most, False)
        section.findings.append(finding)


def _small_mails(number: int) -> Any:
    """Short ones: what is in the mailbox already is to be many mails, not many bytes."""
    for index in range(number):
        yield (
            f"From: c{index % 500}@old.example\r\nTo: {OUR_ADDRESS}\r\nSubject: Devis {index}\r\n"
            f"Message-ID: <{index}@old.example>\r\nDate: Mon, 5 Jan 2026 08:00:00 +0000\r\n\r\n"
            "Bonjour.\r\n"
        ).encode()


def fill(relance: Relance, rows: int) -> None:
    """Old messages, and the clients, conversations and ended follow-ups that go with them."""
    at = db.utc_now() - timedelta(days=200)
    engine = create_engine(relance.installation.url)
    with engine.begin() as connection:
        for table, divisor, columns, values in _TABLES:
            statement = f"INSERT INTO {table} ({columns}) {_SERIES}{values} FROM n"
            stamp = [sa.bindparam("at", at, type_=UtcDateTime())] if ":at" in values else []
            given = sa.text(statement).bindparams(*stamp)
            connection.execute(given, {"rows": max(1, rows // divisor)})
            if engine.dialect.name == "postgresql":
                sequence = f"pg_get_serial_sequence('{table}', 'id')"
                highest = f"(SELECT max(id) FROM {table})"
                connection.exec_driver_sql(f"SELECT setval({sequence}, {highest})")
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        sqlite = engine.dialect.name == "sqlite"
        connection.exec_driver_sql("ANALYZE" if sqlite else "VACUUM ANALYZE")
    engine.dispose()
