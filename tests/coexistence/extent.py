"""How much is tried: a short form in every run of the tests, all of it in `make test-coexistence`.

COEXISTENCE=long        the long form
COEXISTENCE=everything  the same, and every single interleaving: hours
COEXISTENCE_SEED=7      the moments of the kills, and what the short form picks out
COEXISTENCE_SECONDS=600 how long each database is under the hammer
"""

from __future__ import annotations

import os

import pytest

EVERYTHING = os.environ.get("COEXISTENCE") == "everything"
LONG = EVERYTHING or os.environ.get("COEXISTENCE") == "long"
SEED = int(os.environ.get("COEXISTENCE_SEED", "1"))
ROUNDS = 12 if LONG else 2  # of each simultaneous start
KILLS = 20 if LONG else 2  # at random moments, of each script
HAMMER_SECONDS = float(os.environ.get("COEXISTENCE_SECONDS", "60" if LONG else "4"))

# For a whole file of tests: pytestmark = EVERY_DATABASE
EVERY_DATABASE = pytest.mark.parametrize(
    "database", ["sqlite", "postgresql", *(["pgbouncer"] if LONG else [])], indirect=True
)
