"""The installation that a command works on: its settings, its keys, its database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from backend.app import db
from backend.app.config import Settings, load_settings
from backend.app.credentials import Vault
from backend.scripts.cli.commands import database_errors


@dataclass(frozen=True, slots=True)
class Installation:
    settings: Settings
    vault: Vault


@contextmanager
def opened() -> Iterator[Installation]:
    """Raises ConfigurationError and DatabaseUnreachable, also when it goes away inside."""
    settings = load_settings()
    vault = Vault(settings.credentials_keys)
    with database_errors():
        engine = db.open_database(settings)
        try:
            yield Installation(settings, vault)
        finally:
            engine.dispose()
