"""What choosing the due follow-ups costs, in a small table and in a big one.

    python -m tests.bench.selection [--small 10000] [--big 1000000] [--due 1000] [--postgresql]

The cost of a run must be that of what is due: with as many due, the ratio of the two is to be at
most 1.5. On SQLite in a temporary directory, or with --postgresql on a server of its own there.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from backend.app import db
from backend.app.engines import create_engine
from backend.app.models import Followup
from backend.app.schema import upgrade
from backend.app.store import followups, unsettled
from tests.installation import Installation
from tests.simulation.place import fresh_database

NOW = datetime(2027, 6, 1, 9, tzinfo=UTC)
BATCH = 20_000
ROUNDS = 41
LARGEST_RATIO = 1.5


def fill(installation: Installation, company: int, client: int, start: int, end: int) -> None:
    """Rows `start` to `end`: most are to be looked at some day, every fifth has ended."""
    for first in range(start, end, BATCH):
        rows = [
            {
                "company_id": company,
                "client_id": client,
                "type": "invoice_unpaid",
                "auto_state": "stopped" if number % 5 == 0 else "active",
                "next_action_at": NOW + timedelta(hours=1 + number % 9000),
            }
            for number in range(first, min(first + BATCH, end))
        ]
        installation.change(lambda session, rows=rows: session.execute(sa.insert(Followup), rows))


def make_due(installation: Installation, number: int) -> None:
    f = Followup
    chosen = sa.select(f.id).where(f.auto_state == "active").order_by(f.id).limit(number)
    when = {"next_action_at": NOW - timedelta(hours=1)}
    installation.change(lambda s: s.execute(sa.update(f).where(f.id.in_(chosen)).values(**when)))


def cost(due: int) -> float:
    """Median seconds of a run's selection: what is due, and what earlier runs left."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        found = db.read(followups.list_due, NOW, 20_000, company_id=None, followup_id=None)
        db.read(unsettled.list_uncertain)
        times.append(time.perf_counter() - began)
        assert len(found) == due, len(found)
    return statistics.median(times)


def analyse(url: str) -> None:
    engine = create_engine(url)
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        sqlite = engine.dialect.name == "sqlite"
        connection.exec_driver_sql("ANALYZE" if sqlite else "VACUUM ANALYZE")
    engine.dispose()


def measure(url: str, directory: Path, small: int, big: int, due: int) -> float:
    """Fill to `small`, measure, fill to `big`, measure. Returns the ratio of the two costs."""
    upgrade(url)
    installation = Installation(url, directory)
    company = installation.add_company()
    client = installation.add_client(company, "jean@client.test")
    costs = []
    for start, end in ((0, small), (small, big)):
        fill(installation, company, client, start, end)
        if start == 0:
            make_due(installation, due)
        analyse(url)
        costs.append(cost(due))
        print(f"{end:>9} follow-ups, {due} due: {costs[-1] * 1000:.2f} ms")
    installation.close()
    return costs[1] / costs[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--big", type=int, default=1_000_000)
    parser.add_argument("--due", type=int, default=1_000)
    parser.add_argument("--postgresql", action="store_true")
    arguments = parser.parse_args()
    with fresh_database(postgresql=arguments.postgresql) as (url, directory):
        ratio = measure(url, directory, arguments.small, arguments.big, arguments.due)
    print(f"ratio {ratio:.2f}, to be at most {LARGEST_RATIO}")
    return 0 if ratio <= LARGEST_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
