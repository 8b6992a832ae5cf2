"""`manage.py init`: what an installation needs before its first run. Safe to run again.

Nothing that is there is overwritten: not a key, not another line of `.env`, not a table.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from dotenv import dotenv_values
from sqlalchemy.engine import make_url

from backend.app import db
from backend.app.config import ROOT, Settings, has_key_in_environment, load_settings
from backend.app.credentials import Vault, new_key
from backend.app.errors import ConfigurationError
from backend.app.schema import head_revision, upgrade

KEYS = "CREDENTIALS_KEYS"
LOGS = ROOT / "backend" / "logs"
ENV_FILE_HEAD = """\
# Settings of this installation; .env.example says what each one means.
# Whoever has this key can read the mailbox passwords in the database; without it they are lost.
"""


def default_env_file() -> Path:
    """Where settings are looked for when nothing says otherwise."""
    return ROOT / ".env"


def install(env_file: Path) -> Iterator[str]:
    """Do what is missing, and say each thing as it is done or found.

    Raises ConfigurationError (a file or directory that cannot be made, a bad setting) and
    DatabaseUnreachable.
    """
    yield make_key(env_file)
    settings = load_settings(env_file=env_file)
    Vault(settings.credentials_keys)
    for directory in directories(settings):
        yield make_directory(directory)
    yield make_schema(settings)


def make_key(env_file: Path) -> str:
    """Put a fresh key into env_file unless there is one there or in the environment.

    The file is made for its owner alone; one that had no key yet becomes so. Returns what was
    done. Raises ConfigurationError.
    """
    try:
        if has_key_in_environment():
            return f"key: {KEYS} comes from the environment"
        if not env_file.exists():
            _create(env_file, f"{ENV_FILE_HEAD}{KEYS}={new_key()}\n")
            return f"key: made a fresh one, in {env_file} (keep a copy elsewhere)"
        if (dotenv_values(env_file).get(KEYS) or "").strip():
            return f"key: there already, in {env_file}{_exposure(env_file)}"
        _append(env_file, f"{KEYS}={new_key()}\n")
        return f"key: added a fresh one to {env_file} (keep a copy elsewhere)"
    except OSError as error:
        raise ConfigurationError(f"{env_file} cannot be written: {error.strerror}") from error


def _create(env_file: Path, text: str) -> None:
    # The mode is there before the content is, and an existing file is an error.
    descriptor = os.open(env_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _append(env_file: Path, line: str) -> None:
    """The last line of a name counts, so an empty `CREDENTIALS_KEYS=` above does no harm."""
    env_file.chmod(0o600)
    before = env_file.read_text(encoding="utf-8")
    with env_file.open("a", encoding="utf-8") as file:
        file.write(("" if before.endswith("\n") or not before else "\n") + line)


def _exposure(env_file: Path) -> str:
    open_to_others = stat.S_IMODE(env_file.stat().st_mode) & 0o077
    return f"; others can read it, so run:  chmod 600 {env_file}" if open_to_others else ""


def directories(settings: Settings) -> tuple[Path, ...]:
    """Where files are written: SQLite's, the attachments', this host's mark's, the logs'."""
    url = make_url(settings.database_url)
    data = (Path(url.database).parent,) if _is_sqlite_file(settings) and url.database else ()
    return (*data, settings.attachments_dir, settings.state_dir, LOGS)


def _is_sqlite_file(settings: Settings) -> bool:
    url = make_url(settings.database_url)
    return url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")


def make_directory(directory: Path) -> str:
    """Raises ConfigurationError when it cannot be made, or files cannot be written there."""
    there = directory.is_dir()
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o750)
    except OSError as error:
        raise ConfigurationError(f"{directory} cannot be made: {error.strerror}") from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise ConfigurationError(f"{directory} cannot be written to by this user")
    return f"directory: {directory} {'is there' if there else 'made'}"


def make_schema(settings: Settings) -> str:
    """Bring the database to this version. Raises DatabaseUnreachable and ConfigurationError."""
    try:
        db.open_database(settings).dispose()
        return f"database: is at this version ({head_revision()})"
    except ConfigurationError:  # a migration is missing; a wrong URL is told again below
        _migrate(settings.database_url)
    db.open_database(settings).dispose()
    return f"database: brought to this version ({head_revision()})"


def _migrate(url: str) -> None:
    from alembic.util import CommandError

    try:
        upgrade(url)
    except CommandError as error:
        raise ConfigurationError(
            f"the schema cannot be brought to this version: {error}"
        ) from error
