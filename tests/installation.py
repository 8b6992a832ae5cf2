"""An installation of Relance for a test: a database, settings, and the rows that a company has."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app import db
from backend.app.config import ROOT, Settings, load_settings
from backend.app.credentials import Vault, new_key
from backend.app.followups.send import send_due_followups
from backend.app.inbox.sync import sync_due_mailboxes
from backend.app.mail.message import address_key
from backend.app.models import (
    Base,
    Client,
    Company,
    CompanySettings,
    Followup,
    InboxIntegration,
    MailboxState,
)
from backend.app.runtime import Report, Run, run_script

SCRIPTS = {
    "sync": "sync_emails_periodic.py",
    "followups": "send_automatic_followups.py",
    "manage": "manage.py",
}
JOBS = {"sync": sync_due_mailboxes, "followups": send_due_followups}
TEN_DAYS = timedelta(days=10)
# Most tests run at whatever hour it is, and send one client several mails: windows, holidays and
# budgets have their own tests.
ALWAYS_OPEN: dict[str, Any] = {
    "window": {
        "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
        "opens": "00:00",
        "closes": "24:00",
    },
    "holidays": {"observed": False},
    "budgets": {
        "client_gap_days": 0,
        "per_run": 100_000,
        "per_mailbox_per_day": 100_000,
        "surge_minimum": 100_000,
    },
}


@dataclass
class Installation:
    """One database with its settings. Rows are made directly, as the host application would."""

    url: str
    directory: Path
    ca_file: Path | None = None
    extra: dict[str, str] = field(default_factory=dict)
    key: str = field(default_factory=new_key)

    @property
    def environment(self) -> dict[str, str]:
        """What cron's shell would hand to a script, with nothing of this process's own."""
        return {
            "PATH": os.defpath,
            "RELANCE_ENV_FILE": str(self.directory / "no.env"),
            "DATABASE_URL": self.url,
            "CREDENTIALS_KEYS": self.key,
            "ATTACHMENTS_DIR": str(self.directory / "attachments"),
            "STATE_DIR": str(self.directory / "state"),
            "TLS_CA_FILE": str(self.ca_file or ""),
            "IMAP_TIMEOUT_SECONDS": "10",
            "SMTP_TIMEOUT_SECONDS": "10",
            "SEND_PER_MINUTE": "10000",  # no test waits for a minute to pass
            **self.extra,
        }

    @property
    def settings(self) -> Settings:
        return load_settings(self.environment)

    @property
    def vault(self) -> Vault:
        return Vault(self.settings.credentials_keys)

    # -- running ---------------------------------------------------------------------------

    def command(self, script: str, *arguments: object) -> list[str]:
        path = ROOT / "backend" / "scripts" / SCRIPTS[script]
        return [sys.executable, str(path), *map(str, arguments)]

    def script(
        self, script: str, *arguments: object, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a real script to its end, in a process of its own."""
        return subprocess.run(
            self.command(script, *arguments),
            env={**self.environment, **more},
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def start(self, script: str, *arguments: object, **more: str) -> subprocess.Popen[str]:
        """Start a real script and return at once."""
        return subprocess.Popen(
            self.command(script, *arguments),
            env={**self.environment, **more},
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def as_cron(self, script: str, *, verbose: bool = False) -> tuple[int, str]:
        """A run with all that is around it, in this process: its exit status, and its log."""
        said = io.StringIO()
        self.close()
        with pytest.MonkeyPatch.context() as environment:
            for name, value in self.environment.items():
                environment.setenv(name, value)
            handler = logging.StreamHandler(said)
            status = run_script(script, JOBS[script], verbose=verbose, log_handler=handler)
        self.close()
        return status, said.getvalue()

    def sync(self, **selection: int) -> Report:
        """The minute job in this process."""
        return self._job(sync_due_mailboxes, db.utc_now, **selection)

    def send(self, now: datetime | None = None, **selection: int) -> Report:
        """The hourly job in this process, at `now` (aware)."""
        return self._job(send_due_followups, (lambda: now) if now else db.utc_now, **selection)

    def _job(self, job: Any, now: Callable[[], datetime], **selection: int) -> Report:
        self.open()
        report = Report()
        run = Run(self.settings, self.vault, f"test:{os.getpid()}", lambda: False, now)
        job(run, report, **selection)
        return report

    def open(self) -> None:
        if str(db.SessionLocal.kw.get("bind") and db.SessionLocal.kw["bind"].url) != str(
            sa.make_url(self.url)
        ):
            db.open_database(self.settings)

    def close(self) -> None:
        engine = db.SessionLocal.kw.get("bind")
        if engine is not None:
            engine.dispose()
        db.SessionLocal.configure(bind=None)

    # -- rows ------------------------------------------------------------------------------

    def add(self, row: Base) -> int:
        self.open()
        with db.SessionLocal.begin() as session:
            session.add(row)
            session.flush()
            return int(row.id)  # type: ignore[attr-defined]

    def add_company(self, name: str = "Menuiserie Dubois", **more: Any) -> int:
        """rules: its follow-up rules beside ALWAYS_OPEN; settings: its whole document instead."""
        rules = {**ALWAYS_OPEN, **more.pop("rules", {})}
        settings = more.pop("settings", {"followups": rules})
        company_id = self.add(Company(name=name, **more))
        self.set_settings(company_id, settings)
        return company_id

    def set_settings(self, company_id: int, settings: Any) -> None:
        """The company's whole document, as the host application writes it."""
        row = CompanySettings(company_id=company_id, settings=settings)
        self.change(lambda session: session.merge(row))

    def add_mailbox(
        self, company_id: int, account: Any, imap: Any, smtp: Any = None, **more: Any
    ) -> int:
        """A mailbox on test servers: IMAP over TLS, SMTP as the server offers it."""
        values: dict[str, Any] = {
            "company_id": company_id,
            "email": account.address,
            "from_name": "Claire Dubois",
            "imap_host": imap.host,
            "imap_port": imap.tls_port,
            "imap_security": "tls",
            "username": account.username,
            "secret": self.vault.encrypt(account.password),
        }
        if smtp is not None:
            values |= {"smtp_host": smtp.host, "smtp_port": smtp.port, "smtp_security": "plain"}
            values |= {"smtp_username": ""} if not getattr(smtp, "sign_in", False) else {}
        return self.add(InboxIntegration(**(values | more)))

    def add_client(self, company_id: int, email: str | None, name: str = "Jean Petit") -> int:
        key = address_key(email) if email else None
        return self.add(Client(company_id=company_id, name=name, email=email, email_key=key))

    def add_followup(self, company_id: int, client_id: int, **more: Any) -> int:
        """An unpaid invoice, ten days overdue: its first reminder is due."""
        values: dict[str, Any] = {
            "company_id": company_id,
            "client_id": client_id,
            "type": "invoice_unpaid",
            "source_label": "Facture F-2026-012",
            "amount": Decimal("1234.50"),
            "due_date": datetime.now(UTC).date() - TEN_DAYS,
        }
        return self.add(Followup(**(values | more)))

    def make_fresh(self, mailbox_id: int, company_id: int) -> None:
        """As if the sync script had just read the mailbox completely."""
        self.open()
        with db.SessionLocal.begin() as session:
            session.merge(
                MailboxState(
                    integration_id=mailbox_id, company_id=company_id, fresh_at=datetime.now(UTC)
                )
            )

    def rows(self, model: type[Base], *conditions: Any) -> list[Any]:
        """All rows of a table, detached, by primary key."""
        self.open()
        with db.SessionLocal() as session:
            query = sa.select(model).where(*conditions)
            return list(session.scalars(query.order_by(*sa.inspect(model).primary_key)))

    def count(self, model: type[Base], *conditions: Any) -> int:
        return len(self.rows(model, *conditions))

    def change(self, fn: Callable[[Session], Any]) -> Any:
        """Do something to the rows in one transaction, as the host application might."""
        self.open()
        with db.SessionLocal.begin() as session:
            return fn(session)

    def set(self, model: type[Base], row_id: int, **values: Any) -> None:
        self.change(
            lambda s: s.execute(
                sa.update(model).where(sa.inspect(model).primary_key[0] == row_id).values(**values)
            )
        )


def mail(
    *,
    sender: str,
    to: str,
    subject: str = "Bonjour",
    text: str = "Bonjour,\r\n\r\nMerci.\r\n",
    message_id: str | None = None,
    **headers: str,
) -> bytes:
    """A plain mail. Header names are given with underscores: In_Reply_To="<...>"."""
    message_id = message_id or f"<{os.urandom(8).hex()}@client.test>"
    lines = [
        f"From: {sender}",
        f"To: {to}",
        f"Subject: {subject}",
        f"Message-ID: {message_id}",
        f"Date: {datetime.now(UTC).strftime('%a, %d %b %Y %H:%M:%S +0000')}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
    ]
    return "\r\n".join([*lines, "", text]).encode()


def today() -> date:
    return datetime.now(UTC).date()
