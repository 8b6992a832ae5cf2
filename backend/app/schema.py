"""The schema's versions: what `alembic upgrade` does, and which one this checkout needs."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from backend.app.config import ROOT


def alembic_config(url: str) -> Any:
    """What the alembic command would read from alembic.ini, for the database at url."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(ROOT / "alembic"))
    config.attributes["url"] = url
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """What `alembic upgrade head` does, for the database at url."""
    from alembic import command

    command.upgrade(alembic_config(url), revision)


@lru_cache(maxsize=1)
def head_revision() -> str:
    """The newest migration, read from file names: alembic's own import would cost each minute."""
    files = sorted((ROOT / "alembic" / "versions").glob("[0-9]*.py"))
    return files[-1].name.split("_")[0]
