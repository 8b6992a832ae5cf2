"""Due reminders to a local SMTP server, beside a queue for Django and bare loops."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from backend.app.models import Client, Followup, OutboxMail
from tests.bench import measure, ours
from tests.bench.measure import Cost, Failed
from tests.bench.ours import Relance
from tests.bench.peers import BUILD, FROM_PYPI, PYTHON, SCRIPTS
from tests.bench.table import Finding, Section, megabytes
from tests.followups.office import NoImap
from tests.servers.accounts import new_account
from tests.servers.shared import HOST, ServerMissing, find_program, free_ports, listens, wait_until

COLUMNS = ("", "mails", "mails/s", "CPU ms/mail", "peak memory", "x django-mailer", "x bare loop")


@contextmanager
def smtp_sink() -> Iterator[int]:
    """The port of Postfix's smtp-sink, which takes every mail and throws it away."""
    program = find_program("smtp-sink")
    if program is None:
        raise ServerMissing("smtp-sink: apt-get install postfix")
    (port,) = free_ports(1)
    user = ["-u", "nobody"]
    process = subprocess.Popen([program, *user, f"inet:{HOST}:{port}", "100"])
    try:
        wait_until(lambda: listens(port), "smtp-sink listens")
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def compare(directory: Path, reminders: int, rounds: int) -> Section:
    section = Section(f"Sending {reminders} due reminders", COLUMNS)
    names = (directory / f"send{number}" for number in itertools.count())
    with smtp_sink() as port, ours.databases(directory) as databases:
        contenders: dict[str, Callable[[], Cost]] = {
            f"Relance, {name}": _ours(server, names, port, reminders)
            for name, server in databases.items()
        }
        if (BUILD / "bin" / "django-admin").exists():
            django = _script("django_mailer_peer.py", PYTHON, names, port, reminders)
            contenders["django-mailer"] = django
        else:
            section.notes.append(f"django-mailer is not installed: {FROM_PYPI}")
        own = Path(sys.executable)
        for name, server in databases.items():
            url = server.replace("+psycopg2", "")
            least = _script("commits_loop.py", own, names, port, reminders, url)
            contenders[f"three commits a mail, {name}"] = least
        loop = _script("smtplib_loop.py", own, names, port, reminders)
        contenders["bare smtplib loop"] = loop
        costs = measure.in_turns(contenders, rounds)
    _report(section, {name: measure.median(found) for name, found in costs.items()}, reminders)
    return section


def _ours(server: str, names: Iterator[Path], port: int, reminders: int) -> Callable[[], Cost]:
    def once() -> Cost:
        with ours.fresh(next(names), server) as relance:
            _make_due(relance, port, reminders)
            cost = relance.run("followups")
            sent = relance.installation.change(_count_sent)
            if sent != reminders:
                last = measure.last_words(relance.log)
                raise Failed(f"{sent} of {reminders} reminders went out: {last}")
            return cost

    return once


def _make_due(relance: Relance, port: int, reminders: int) -> None:
    """So many clients, each with an unpaid invoice whose first reminder is due."""
    installation, company = relance.installation, relance.company
    smtp = {"smtp_host": HOST, "smtp_port": port, "smtp_security": "plain", "smtp_username": ""}
    mailbox = installation.add_mailbox(company, new_account("secret"), NoImap(), **smtp)
    installation.make_fresh(mailbox, company)
    names = [f"client{number}@client.example" for number in range(reminders)]
    clients = [
        {"company_id": company, "name": "Jean Petit", "email": each, "email_key": each}
        for each in names
    ]
    due = datetime.now(UTC).date() - timedelta(days=10)
    invoice = {"company_id": company, "type": "invoice_unpaid", "due_date": due}

    def fill(session: Any) -> None:
        session.execute(sa.insert(Client), clients)
        ids = session.scalars(sa.select(Client.id)).all()
        session.execute(sa.insert(Followup), [invoice | _particulars(each) for each in ids])

    installation.change(fill)


def _particulars(client: int) -> dict[str, object]:
    """No two invoices say the same."""
    label = f"Facture F-2026-{client:04}"
    return {"client_id": client, "source_label": label, "amount": Decimal("1234.50") + client}


def _count_sent(session: Any) -> int:
    sent = sa.select(sa.func.count()).where(OutboxMail.state == "sent")
    return int(session.scalar(sent))


def _script(
    name: str, python: Path, names: Iterator[Path], port: int, mails: int, *more: str
) -> Callable[[], Cost]:
    """A script that is run twice: `prepare`, which is not measured, and `send`."""

    def once() -> Cost:
        directory = next(names)
        directory.mkdir()
        command = [python, SCRIPTS / name, HOST, str(port), str(mails)]
        place: Any = {"env": {}, "cwd": directory, "log": directory / "log"}
        measure.run([*command, "prepare", *more], **place)
        return measure.run([*command, "send", *more], **place)

    return once


def _report(section: Section, costs: dict[str, Cost], mails: int) -> None:
    rates = {name: mails / cost.wall for name, cost in costs.items()}
    django, loop = rates.get("django-mailer"), rates.get("bare smtplib loop")
    for name, cost in costs.items():
        section.rows.append(
            (
                name,
                mails,
                rates[name],
                1000 * cost.cpu / mails,
                megabytes(cost.peak),
                rates[name] / django if django else "-",
                rates[name] / loop if loop else "-",
            )
        )
        if not name.startswith("Relance"):
            continue
        for other, rate, least in (("django-mailer", django, 3), ("a bare loop", loop, 0.4)):
            if rate:
                finding = Finding(f"{name}, times {other}", rates[name] / rate, least, True)
                section.findings.append(finding)
