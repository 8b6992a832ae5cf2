"""Days for the report: an empty, an ordinary and a bad one, made from a seed.

    python -m tests.operate.report_days DIRECTORY

writes each as a page, to be looked at.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import sqlalchemy as sa

from backend.app import db
from backend.app.models import (
    Base,
    Client,
    Company,
    Conversation,
    CronRun,
    Followup,
    InboxIntegration,
    InboxMessage,
    LedgerEntry,
    MailboxState,
    OutboxMail,
    QuarantinedMail,
)
from backend.app.operate.report.figures import Report, load_report
from backend.app.operate.report.page import render_page, write_page
from backend.app.schema import upgrade
from tests.installation import Installation

NAMES = ("Menuiserie Dubois", "Cabinet Lefèvre & Fils", "Atelier Martin", "Studio Öst")
HOSTILE = "<script>alert('x')</script>\"&\u202eliame"
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


class Days:
    """Rows for one day. trouble: whether things go wrong; the seed decides the rest.

    days: of both crons' runs.
    """

    def __init__(
        self, installation: Installation, seed: int, *, trouble: bool, days: int = 30
    ) -> None:
        self.days = days
        self.installation = installation
        self.random = Random(seed)
        self.trouble = trouble
        self.now = datetime.now(UTC)
        self.number = 0

    def insert(self, model: type[Base], rows: list[dict[str, Any]]) -> None:
        if rows:
            self.installation.change(lambda session: session.execute(sa.insert(model), rows))

    def make(self) -> None:
        for index, name in enumerate(NAMES):
            company = self.installation.add(Company(name=name))
            box = self.mailbox(company, index)
            self.mails(company, box, index)
            self.reminders(company, box)
        if self.trouble:
            self.installation.add(Company(name=HOSTILE))
        self.runs()

    def mailbox(self, company: int, index: int) -> int:
        failing = self.trouble and index == 1
        box = self.installation.add(
            InboxIntegration(
                company_id=company,
                email=f"contact@societe{index}.example",
                imap_host="imap.example",
                username="u",
                secret="x",
            )
        )
        behind = timedelta(hours=9 if failing else 0, seconds=30)
        state: dict[str, Any] = {
            "integration_id": box,
            "company_id": company,
            "fresh_at": self.now - behind,
            "last_success_at": self.now - behind,
            "connected_at": self.now - 90 * DAY,
            "audited_at": self.now - 20 * MINUTE,
            "audit": {"server": 900, "missing": 2 if self.trouble and index == 2 else 0},
        }
        if failing:
            state |= {"failures": 12, "error_kind": "wrong_credentials", "error": HOSTILE}
            state |= {"error_since": self.now - behind}
        self.insert(MailboxState, [state])
        self.ledger(box, index)
        return box

    def ledger(self, box: int, index: int) -> None:
        place = {"integration_id": box, "folder": "INBOX", "uidvalidity": 1}
        states = ["stored"] * 600 + ["duplicate"] * 90 + ["ignored"] * self.random.randrange(30)
        raw = 3 if self.trouble and index in (0, 2) else 0
        states += ["quarantined"] * raw
        self.insert(
            LedgerEntry,
            [{**place, "uid": uid, "state": state} for uid, state in enumerate(states, 1)],
        )
        last = len(states)
        self.insert(
            QuarantinedMail,
            [
                {**place, "uid": uid, "raw": b"x", "arrived_at": self.now, "error": HOSTILE}
                for uid in range(last - raw + 1, last + 1)
            ],
        )

    def mails(self, company: int, box: int, index: int) -> None:
        """Few at night, many in the morning; on a bad day nothing came in for two hours."""
        client = self.client(company)
        talk = self.installation.add(
            Conversation(
                company_id=company,
                client_id=client,
                thread_key=f"client:{client}",
                subject=HOSTILE,
                last_message_at=self.now,
            )
        )
        rows = []
        for minutes in range(0, 23 * 60, 3 + index):
            arrived = self.now - timedelta(minutes=minutes, seconds=self.random.randrange(60))
            busy = 0.7 if 7 <= arrived.hour < 18 else 0.08
            if self.random.random() > busy:
                continue
            delay = timedelta(seconds=self.random.randrange(3, 100))
            if self.trouble and 200 < minutes < 420:
                delay = timedelta(minutes=minutes - 200) + delay
            kind = self.random.choice(["human"] * 5 + ["own"] * 2 + ["auto_reply", "list"])
            rows.append(self.message(company, talk, box, kind, arrived, arrived + delay))
        self.insert(InboxMessage, rows)

    def message(
        self,
        company: int,
        talk: int,
        box: int | None,
        kind: str,
        arrived: datetime,
        stored: datetime,
    ) -> dict[str, Any]:
        self.number += 1
        return {
            "company_id": company,
            "conversation_id": talk,
            "integration_id": box,
            "external_id": f"{self.number}@example",
            "fingerprint": f"{self.number:064}",
            "subject": HOSTILE,
            "is_from_client": kind != "own",
            "kind": kind,
            "placement": "references",
            "sent_at": arrived,
            "arrived_at": arrived,
            "created_at": min(stored, self.now),
        }

    def client(self, company: int) -> int:
        self.number += 1
        return self.installation.add(
            Client(company_id=company, name=HOSTILE, email_key=f"{self.number}@client.example")
        )

    def reminders(self, company: int, box: int) -> None:
        fates: list[tuple[str, str | None]] = [
            *[("stopped", "answered")] * 9,
            *[("stopped", "paid")] * 12,
            *[("stopped", "refused"), ("stopped", "by_person")],
            *[("completed", "completed")] * 4,
            *[("active", "not_due")] * 8,
            *[("active", "outside_window")] * 3,
        ]
        if self.trouble:
            fates += [("held", "bounced_hard")] * 3 + [("held", "refused_by_server: 550 no")] * 6
            fates += [("active", "mailbox_not_fresh")] * 14 + [("held", "too_old")] * 5
        client = self.client(company)
        for state, reason in fates:
            at = self.now - self.random.random() * 29 * DAY
            unsent = reason in ("too_old", "mailbox_not_fresh", "outside_window")
            made = self.installation.add(
                Followup(
                    company_id=company,
                    client_id=client,
                    type="invoice_unpaid",
                    source_label=HOSTILE,
                    auto_state=state,
                    auto_reason=reason,
                    steps_sent=0 if unsent else 1,
                    last_step_at=None if unsent else at,
                )
            )
            if not unsent:
                self.insert(OutboxMail, [self.outbox(company, box, client, made, at)])

    def outbox(
        self, company: int, box: int, client: int, followup: int, at: datetime, step: int = 1
    ) -> dict[str, Any]:
        state = "uncertain" if self.trouble and self.random.random() < 0.06 else "sent"
        return {
            "company_id": company,
            "followup_id": followup,
            "client_id": client,
            "step": step,
            "integration_id": box,
            "message_id": f"{followup}.{step}@relance.example",
            "fingerprint": f"{followup}.{step}".zfill(64),
            "recipient": "client@example",
            "subject": HOSTILE,
            "content": "x",
            "raw": b"x",
            "state": state,
            "sending_at": at,
            "sent_at": at,
        }

    def runs(self) -> None:
        """A month of both crons; on a bad day some are killed, many are long, and one sleeps."""
        begin = self.now - (self.days - 1) * DAY - 12 * HOUR
        minutes = int((self.now - begin) / MINUTE)
        self.insert(CronRun, [self.sync_run(begin + n * MINUTE) for n in range(minutes)])
        first = begin.replace(minute=0, second=0, microsecond=0) + HOUR
        hours = int((self.now - first) / HOUR) + 1
        self.insert(CronRun, [self.followup_run(first + n * HOUR) for n in range(hours)])
        if self.trouble:
            stopped = (self.now - 7 * HOUR, self.now - 7 * HOUR + 200 * MINUTE)
            self.installation.change(
                lambda session: session.execute(
                    sa.delete(CronRun).where(CronRun.started_at.between(*stopped))
                )
            )

    def sync_run(self, at: datetime) -> dict[str, Any]:
        at += timedelta(seconds=self.random.random())
        took = 0.8 + self.random.expovariate(0.5)
        if self.trouble and self.now - at < 5 * HOUR and self.random.random() < 0.3:
            took = self.random.uniform(40, 130)
        failed = self.trouble and self.random.random() < 0.05
        stored = self.random.choice([0, 0, 0, 1, 2]) if 6 <= at.hour < 18 else 0
        row = self.run("sync", at, took, failed, {"stored": stored, "duplicate": stored // 2})
        if self.trouble and self.now - at < DAY and self.random.random() < 0.004:
            row |= {"finished_at": None, "exit_status": None, "counts": {}}
        return row

    def followup_run(self, at: datetime) -> dict[str, Any]:
        at += timedelta(seconds=self.random.random())
        sent = self.random.randrange(7) if 7 <= at.hour < 18 and at.weekday() < 5 else 0
        took = 0.5 + 2.5 * sent
        failed = self.trouble and self.random.random() < 0.15
        if self.trouble and self.random.random() < 0.1:
            took = 75 * 60.0
        return self.run("followups", at, took, failed, {"sent": sent})

    def run(
        self, script: str, at: datetime, took: float, failed: bool, counts: dict[str, int]
    ) -> dict[str, Any]:
        ended = at + timedelta(seconds=took)
        return {
            "script": script,
            "host": "elsewhere.example",
            "pid": 7,
            "started_at": at,
            "finished_at": ended if ended <= self.now else None,
            "exit_status": (1 if failed else 0) if ended <= self.now else None,
            "counts": counts,
        }


def make_day(installation: Installation, name: str, seed: int = 7, *, days: int = 30) -> Report:
    """name: empty, ordinary or bad."""
    if name != "empty":
        Days(installation, seed, trouble=name == "bad", days=days).make()
    installation.open()
    return db.read(load_report, None, lambda host, pid: False if name == "bad" else None)


def main(directory: Path) -> None:
    for name in ("empty", "ordinary", "bad"):
        file = directory / f"{name}.db"
        file.unlink(missing_ok=True)
        upgrade(f"sqlite:///{file}")
        installation = Installation(f"sqlite:///{file}", directory)
        write_page(directory / f"{name}.html", render_page(make_day(installation, name)))
        installation.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
