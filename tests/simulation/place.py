"""An empty database in a temporary directory, for scripts that run outside pytest."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.servers.postgresql import private_postgresql


@contextlib.contextmanager
def fresh_database(*, postgresql: bool) -> Iterator[tuple[str, Path]]:
    """Its URL, and the directory. Without any table yet."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)  # PostgreSQL may have to run as another user
        if not postgresql:
            yield f"sqlite:///{directory}/relance.db", directory
            return
        home = directory / "postgresql"
        home.mkdir()
        with private_postgresql(home) as url:
            yield url, directory
