"""How much is tried. The defaults are for every run of the tests; the environment asks for more.

    RELANCE_ROUNDS=50             rounds of each simultaneous start
    RELANCE_KILLS=20              kills of each script
    RELANCE_ALL_CRASH_POINTS=1    every crash point instead of every few
    RELANCE_SEED=7                the moments of the kills

Each test prints its figures: `pytest -rP tests/coexistence` shows them.
"""

from __future__ import annotations

import os

ROUNDS = int(os.environ.get("RELANCE_ROUNDS", "2"))
KILLS = int(os.environ.get("RELANCE_KILLS", "2"))
ALL_CRASH_POINTS = os.environ.get("RELANCE_ALL_CRASH_POINTS") == "1"
SEED = int(os.environ.get("RELANCE_SEED", "1"))


def tell(what: str, **figures: object) -> None:
    """Print what a test has tried and found."""
    print(what, *(f"{name}={value}" for name, value in figures.items()))
