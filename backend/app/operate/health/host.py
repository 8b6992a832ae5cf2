"""This host: settings, the key, the directories and the room on their disks. Never writes."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from backend.app.config import Settings, env_file_in_use, load_settings
from backend.app.credentials import Vault
from backend.app.errors import ConfigurationError
from backend.app.operate.health.finding import Finding, Level
from backend.app.operate.install import LOGS, directories

FAULT_FREE_BYTES = 100_000_000
WARNING_FREE_BYTES = 1_000_000_000
LARGE_LOG_BYTES = 500_000_000
INIT = "manage.py init"


def check_settings() -> tuple[Settings | None, Vault | None, list[Finding]]:
    """What could be read. Without a usable key the settings come all the same, with no vault."""
    findings = list(_check_env_file())
    try:
        settings = load_settings(key_needed=False)
    except ConfigurationError as error:
        fix = f"correct it in {env_file_in_use()}"
        return None, None, [*findings, Finding("settings", Level.FAULT, str(error), fix)]
    findings.append(Finding("settings", Level.OK, "the environment and .env can be read"))
    vault, key = _check_key(settings)
    return settings, vault, [*findings, key]


def _check_key(settings: Settings) -> tuple[Vault | None, Finding]:
    if not settings.credentials_keys:
        words = "CREDENTIALS_KEYS is not set: no mailbox password can be read, and nothing starts"
        fix = f"put it back into {env_file_in_use()}; a new installation: {INIT}"
        return None, Finding("key", Level.FAULT, words, fix)
    try:
        vault = Vault(settings.credentials_keys)
    except ConfigurationError:
        words = "CREDENTIALS_KEYS holds something that is not a key"
        fix = f"put the key back into {env_file_in_use()}; a fresh one: manage.py key new"
        return None, Finding("key", Level.FAULT, words, fix)
    return vault, Finding("key", Level.OK, f"keys in use: {len(settings.credentials_keys)}")


def _check_env_file() -> Iterator[Finding]:
    file = env_file_in_use()
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
    except OSError:
        return  # the environment alone may hold all settings
    if mode & 0o077:
        yield Finding(
            "env_file",
            Level.WARNING,
            f"others on this host can read {file}, which holds the key",
            f"chmod 600 {file}",
            str(file),
        )


def check_directories(settings: Settings) -> Iterator[Finding]:
    """That each is there and can be written to, and how much room its disk has."""
    disks: set[int] = set()
    for directory in directories(settings):
        try:
            yield _check_directory(directory)
            nearest = next(each for each in (directory, *directory.parents) if each.exists())
            if (device := nearest.stat().st_dev) not in disks:
                disks.add(device)
                yield check_disk(nearest)
        except OSError as error:  # a directory above it is closed to this user
            words = f"{directory} cannot be looked at: {error.strerror}"
            yield Finding("directory", Level.FAULT, words, _own(directory), str(directory))
    yield from _check_logs(LOGS)


def _own(directory: Path) -> str:
    return f"chown -R THE_CRONTABS_USER {directory}"


def _check_directory(directory: Path) -> Finding:
    if not directory.is_dir():
        what = "is no directory" if directory.exists() else "is not there"
        return Finding("directory", Level.FAULT, f"{directory} {what}", INIT, str(directory))
    if not os.access(directory, os.W_OK | os.X_OK):
        words = f"{directory} cannot be written to by this user"
        return Finding("directory", Level.FAULT, words, _own(directory), str(directory))
    return Finding("directory", Level.OK, f"{directory} can be written to", subject=str(directory))


def check_disk(directory: Path) -> Finding:
    usage = shutil.disk_usage(directory)
    free = usage.free
    words = f"{free // 1_000_000:,} MB are free on the disk of {directory}"
    level = Level.OK
    if free < WARNING_FREE_BYTES:
        level = Level.WARNING
    if free < FAULT_FREE_BYTES:
        level = Level.FAULT
    fix = "" if level is Level.OK else f"make room: du -xh {directory} | sort -h | tail"
    return Finding("disk", level, words, fix, str(directory))


def _check_logs(logs: Path) -> Iterator[Finding]:
    for file in sorted(logs.glob("*.log")):
        size = file.stat().st_size
        if size > LARGE_LOG_BYTES:
            yield Finding(
                "log_size",
                Level.NOTICE,
                f"{file} has grown to {size // 1_000_000:,} MB",
                "manage.py logrotate print > /etc/logrotate.d/relance",
                str(file),
            )
