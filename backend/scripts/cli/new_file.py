"""Writing a mail into a file that a command names."""

from __future__ import annotations

import os
from pathlib import Path

from backend.scripts.cli.commands import fail


def write_new(path: Path, raw: bytes) -> None:
    """A mail is private: for its owner alone, and never over another file."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(raw)
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror}")
