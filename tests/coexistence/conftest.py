"""What the tests of coexistence share with nobody else."""

from __future__ import annotations

import tempfile
from multiprocessing import forkserver

import pytest

from tests.conftest import DIRECTORY


@pytest.fixture(scope="session")
def clean_processes(request: pytest.FixtureRequest) -> None:
    """The process of which crash.py makes its children.

    Its socket lies in the session's directory, which is removed at the end: a pytest-xdist worker
    leaves without tidying up after itself.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(request.config.stash[DIRECTORY]))
        forkserver.ensure_running()
