"""The installation that a command works on: its settings, its keys, its database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click

from backend.app import db
from backend.app.config import Settings, load_settings
from backend.app.credentials import Vault
from backend.app.store.admin_tenants import load_company_row
from backend.scripts.cli.commands import database_errors


@dataclass(frozen=True, slots=True)
class Installation:
    settings: Settings
    vault: Vault


@contextmanager
def opened() -> Iterator[Installation]:
    """For the command at hand. Raises Refused when its `--company` names nobody.

    Raises ConfigurationError and DatabaseUnreachable, also when it goes away inside.
    """
    settings = load_settings()
    vault = Vault(settings.credentials_keys)
    with database_errors():
        engine = db.open_database(settings)
        try:
            _look_up_company()
            yield Installation(settings, vault)
        finally:
            engine.dispose()


def _look_up_company() -> None:
    """An empty list for a company that is not there would pass for good news."""
    company_id = click.get_current_context().params.get("company_id")
    if company_id is not None:
        db.read(load_company_row, company_id)
