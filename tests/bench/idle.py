"""A minute in which nothing new came: one mailbox, and many, over TLS; many that are far away.

On loopback signing in is a matter of the processor alone, of which a loop leaves none to spare.
Most mail servers are some milliseconds away, which several visits at once wait for together.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench import measure, ours
from tests.bench.corpus import Corpus
from tests.bench.distance import relayed
from tests.bench.measure import Cost
from tests.bench.ours import Relance
from tests.bench.post_office import PostOffice, post_office
from tests.bench.table import Finding, Section, megabytes

IMPORTS = "import sqlalchemy.orm, imapclient"
LOGINS = Path(__file__).parent / "peer_scripts" / "logins.py"
FAR_SECONDS = 0.02  # one way: a round trip of 40 ms
FAR_MAILBOXES = 100
WORKERS = 10  # as many as IMAP_CONNECTIONS_PER_HOST
COLUMNS = ("", "CPU s", "wall s", "peak memory", "ratio")


def compare(directory: Path, mailboxes: int, rounds: int) -> Section:
    section = Section(f"Idle minute, 1 and {mailboxes} mailboxes, TLS", COLUMNS)
    with post_office(directory / "dovecot") as office, ours.databases(directory) as databases:
        for name, server in databases.items():
            one = directory / f"idle_one_{name}"
            with ours.fresh(one, server, office.server.ca_file) as relance:
                _add_mailboxes(relance, office, 1)
                _one(section, relance, name, rounds * 3)
            many = directory / f"idle_many_{name}"
            with ours.fresh(many, server, office.server.ca_file) as relance:
                _add_mailboxes(relance, office, mailboxes)
                _many(section, relance, office, name, mailboxes, rounds)
            _far(section, directory / f"idle_far_{name}", server, office, name, mailboxes, rounds)
    return section


def _far(
    section: Section,
    home: Path,
    server: str,
    office: PostOffice,
    name: str,
    mailboxes: int,
    rounds: int,
) -> None:
    place = office.server
    with (
        relayed(place.host, place.tls_port, FAR_SECONDS) as port,
        ours.fresh(home, server, place.ca_file) as relance,
    ):
        relance.installation.extra["SYNC_WORKERS"] = str(WORKERS)
        number = min(mailboxes, FAR_MAILBOXES)
        _add_mailboxes(relance, office, number, port)
        far = f"{name}, 40 ms away, {WORKERS} workers"
        _many(section, relance, office, far, number, rounds, port)


def _add_mailboxes(
    relance: Relance, office: PostOffice, number: int, port: int | None = None
) -> None:
    """Each with a few mails in it, all of them read."""
    tls = {"imap_port": port or office.server.tls_port, "imap_security": "tls"}
    for _ in range(number):
        relance.add_mailbox(office.fill(Corpus().mails(2)), office.server, **tls)
    relance.sync_all(2 * number)
    relance.run()


def _one(section: Section, relance: Relance, name: str, rounds: int) -> None:
    directory = relance.installation.directory

    def imports() -> Cost:
        command = [sys.executable, "-c", IMPORTS]
        return measure.run(command, {}, cwd=directory, log=directory / "imports.log")

    costs = measure.in_turns({"imports": imports, "run": relance.run}, rounds)
    run, base = measure.median(costs["run"]), measure.median(costs["imports"])
    ratio = run.cpu / base.cpu
    section.rows.append((f'python -c "{IMPORTS}"', base.cpu, base.wall, megabytes(base.peak), 1.0))
    row = (f"Relance, 1 mailbox, {name}", run.cpu, run.wall, megabytes(run.peak), ratio)
    section.rows.append(row)
    section.findings.append(Finding(f"{name}, 1 mailbox, CPU over imports", ratio, 1.6, False))


def _many(
    section: Section,
    relance: Relance,
    office: PostOffice,
    name: str,
    mailboxes: int,
    rounds: int,
    port: int | None = None,
) -> None:
    directory = relance.installation.directory
    server, installation = office.server, relance.installation
    names = [account.username for account in office.accounts[-mailboxes:]]
    (directory / "accounts").write_text(json.dumps(names))

    def logins(threads: int) -> Callable[[], Cost]:
        place = [server.host, port or server.tls_port, server.ca_file, server.password, threads]
        command = [sys.executable, LOGINS, directory / "accounts", *place]
        return lambda: measure.run(
            [str(each) for each in command],
            {"PATH": os.defpath},
            cwd=installation.directory,
            log=directory / "logins.log",
        )

    run, loop = f"Relance, {name}", "IMAPClient, one login after the other"
    contenders = {
        loop: logins(1),
        f"IMAPClient, {WORKERS} logins at once": logins(WORKERS),
        run: relance.run,
    }
    costs = {
        what: measure.median(found) for what, found in measure.in_turns(contenders, rounds).items()
    }
    for what, cost in costs.items():
        section.rows.append(
            (
                f"{what}, {mailboxes} mailboxes",
                cost.cpu,
                cost.wall,
                megabytes(cost.peak),
                costs[loop].wall / cost.wall,
            )
        )
    what = f"{name}, {mailboxes} mailboxes, times as fast as one login after the other"
    section.findings.append(Finding(what, costs[loop].wall / costs[run].wall, 4, True))
