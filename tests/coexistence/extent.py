"""How much is tried: a short form in every run of the tests, all of it in `make test-coexistence`.

COEXISTENCE=long        the long form
COEXISTENCE=everything  the same, every interleaving, freeze and crash of a group: hours
COEXISTENCE_SEED=7      the moments of the kills, and what the short form picks out
COEXISTENCE_SECONDS=600 how long each database is under the hammer
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

EVERYTHING = os.environ.get("COEXISTENCE") == "everything"
LONG = EVERYTHING or os.environ.get("COEXISTENCE") == "long"
SEED = int(os.environ.get("COEXISTENCE_SEED", "1"))
ROUNDS = 3 if LONG else 1  # of each simultaneous start
KILLS = 20 if LONG else 2  # at random moments, of each script
HAMMER_SECONDS = float(os.environ.get("COEXISTENCE_SECONDS", "90" if LONG else "3"))

# For a whole file of tests: pytestmark = EVERY_DATABASE
EVERY_DATABASE = pytest.mark.parametrize(
    "database", ["sqlite", "postgresql", *(["pgbouncer"] if LONG else [])], indirect=True
)


def one_in(number: int) -> int:
    """A step for what the long form takes every `number`th of; 1 where everything is tried."""
    return 1 if EVERYTHING else number


def each_with_a_database(short: int, long: Sequence[int], proxy_every: int) -> pytest.MarkDecorator:
    """For a test of `database` and `first`: first points, batches, or the like.

    The short form takes one of them. Through PgBouncer, where PostgreSQL does the same work, the
    long form takes one in proxy_every.
    """
    taken = {
        "sqlite": long,
        "postgresql": long,
        "pgbouncer": long[:: one_in(proxy_every)],
    }
    if not LONG:
        taken = {"sqlite": [short], "postgresql": [short]}
    pairs = [(database, first) for database, firsts in taken.items() for first in firsts]
    return pytest.mark.parametrize(("database", "first"), pairs, indirect=["database"])
