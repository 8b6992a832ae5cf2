"""The least that sending at most once can cost: commits_loop.py HOST PORT N STEP DATABASE

The bare driver and one SMTP connection: a row that says claimed, then sending (between DATA and the
body), then sent, each in a durable commit of its own. No check, no inbox, no wording.
DATABASE: a PostgreSQL's URL, or '' for SQLite.
"""

from __future__ import annotations

import smtplib
import sqlite3
import sys
from typing import Any

import psycopg2

TEXT = "Bonjour,\r\n\r\nSauf erreur de notre part, la facture reste impayée.\r\n\r\n" * 4
SENDER = "contact@atelier.example"
CLAIM = "INSERT INTO steps (id, raw, state) VALUES (%s, %s, 'claimed')"
BEGIN_SENDING = "UPDATE steps SET state = 'sending' WHERE id = %s AND state = 'claimed'"
SETTLE = "UPDATE steps SET state = 'sent' WHERE id = %s AND state = 'sending'"


class Commits:
    """Each statement in a commit of its own."""

    def __init__(self, url: str) -> None:
        self.connection: Any = psycopg2.connect(url) if url else sqlite3.connect("steps.db")
        self._mark = "%s" if url else "?"
        if not url:
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA synchronous = FULL")

    def __call__(self, statement: str, *values: object) -> None:
        cursor = self.connection.cursor()
        cursor.execute(statement.replace("%s", self._mark), values)
        cursor.close()
        self.connection.commit()


def main(host: str, port: str, mails: str, step: str, url: str) -> None:
    commit = Commits(url)
    if step == "prepare":
        commit("DROP TABLE IF EXISTS steps")
        commit("CREATE TABLE steps (id INTEGER PRIMARY KEY, raw TEXT, state TEXT)")
        return
    with smtplib.SMTP(host, int(port)) as smtp:
        smtp.ehlo()
        for number in range(int(mails)):
            recipient = f"client{number}@client.example"
            raw = f"From: <{SENDER}>\r\nTo: <{recipient}>\r\nSubject: Facture\r\n\r\n{TEXT}"
            commit(CLAIM, number, raw)
            smtp.mail(SENDER)
            smtp.rcpt(recipient)
            smtp.docmd("DATA")
            commit(BEGIN_SENDING, number)
            smtp.send(raw.encode() + b".\r\n")
            smtp.getreply()
            commit(SETTLE, number)


if __name__ == "__main__":
    main(*sys.argv[1:])
