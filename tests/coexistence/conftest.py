"""What the tests of coexistence share with nobody else."""

from __future__ import annotations

import tempfile
from multiprocessing import forkserver

import pytest

from tests.conftest import DIRECTORY


@pytest.fixture(scope="session")
def clean_processes(request: pytest.FixtureRequest) -> None:
    """The process of which crash.py makes its children.

    A pytest-xdist worker leaves without tidying up after itself: there its socket lies in the
    session's directory, which is removed at the end.
    """
    config = request.config
    is_worker = hasattr(config, "workerinput")
    with pytest.MonkeyPatch.context() as patch:
        if is_worker:
            patch.setattr(tempfile, "tempdir", str(config.stash[DIRECTORY]))
        forkserver.ensure_running()
