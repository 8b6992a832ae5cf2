"""The least that a first sync can cost: least_sync.py HOST PORT USER PASSWORD DATABASE

IMAPClient fetches, our parser parses in a second process, the bare driver writes one row in a
commit of its own. No attachment on disk, no thread, no client, no ledger, no lease.
DATABASE: a PostgreSQL's URL, or '' for SQLite.
"""

from __future__ import annotations

import multiprocessing
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import psycopg2
from imapclient import IMAPClient

from backend.app.mail.parse import parse_mail

BATCH = 25
AT_ONCE = 8  # mails handed over together
Row = tuple[str, str, str]


def parsed(mails: Sequence[bytes]) -> list[Row]:
    return [(mail.fingerprint, mail.subject, mail.text) for mail in map(parse_mail, mails)]


def one_ahead(work: Iterable[Any]) -> Iterator[Any]:
    """What was begun, each while the next one is under way."""
    begun = None
    for each in work:
        if begun is not None:
            yield begun
        begun = each
    if begun is not None:
        yield begun


def fetched(client: IMAPClient) -> Iterator[list[bytes]]:
    def fetch(uids: Sequence[int]) -> list[bytes]:
        return [row[b"BODY[]"] for row in client.fetch(uids, ["BODY.PEEK[]"]).values()]

    uids = client.search("ALL")
    parts = [uids[start : start + BATCH] for start in range(0, len(uids), BATCH)]
    with ThreadPoolExecutor(1) as thread:
        for batch in one_ahead(thread.submit(fetch, part) for part in parts):
            yield batch.result()


def handed_over(
    batches: Iterable[list[bytes]], pool: ProcessPoolExecutor
) -> Iterator[list[Future[list[Row]]]]:
    for mails in batches:
        starts = range(0, len(mails), AT_ONCE)
        yield [pool.submit(parsed, mails[start : start + AT_ONCE]) for start in starts]


def connect(url: str) -> Any:
    table = "CREATE TABLE mails (fingerprint TEXT PRIMARY KEY, subject TEXT, content TEXT)"
    connection: Any = psycopg2.connect(url) if url else sqlite3.connect("mails.db")
    first = ["SET synchronous_commit = off"] if url else []
    if not url:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
    for statement in (*first, "DROP TABLE IF EXISTS mails", table):
        connection.cursor().execute(statement)
    connection.commit()
    return connection


def main(host: str, port: str, user: str, password: str, url: str) -> None:
    connection, mark = connect(url), "%s" if url else "?"
    insert = f"INSERT INTO mails VALUES ({mark}, {mark}, {mark}) ON CONFLICT DO NOTHING"
    client = IMAPClient(host, int(port), ssl=False)
    client._imap.debug = 0  # it would write each mail out for a log that nobody keeps
    client.login(user, password)
    client.select_folder("INBOX", readonly=True)
    stored = 0
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        for batch in one_ahead(handed_over(fetched(client), pool)):
            for row in (row for future in batch for row in future.result()):
                connection.cursor().execute(insert, row)
                connection.commit()
                stored += 1
    client.logout()
    print(stored)


if __name__ == "__main__":
    main(*sys.argv[1:])
