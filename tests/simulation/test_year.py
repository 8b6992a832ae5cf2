"""The simulated year in a short form: a few weeks across each clock change. See year.py."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.installation import Installation
from tests.simulation.year import simulate, violations


@pytest.mark.parametrize(
    ("start", "seed", "database"),
    [
        (datetime(2027, 3, 8, tzinfo=UTC), 7, "postgresql"),
        (datetime(2027, 10, 11, tzinfo=UTC), 11, "sqlite"),
    ],
    ids=["spring", "autumn"],
    indirect=["database"],
)
def test_weeks_of_mishaps_across_a_clock_change_break_no_invariant(
    installation: Installation, start: datetime, seed: int
) -> None:
    world = simulate(installation, followups=16, days=35, seed=seed, start=start)
    assert violations(world) == []
    assert len(world.deliveries) > 10
    for mishap in ("double start", "killed", "uncertain", "carried"):
        assert world.counts.get(mishap), f"no {mishap}: nothing was proven"
