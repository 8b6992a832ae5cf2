"""Settings, the key's vault, and the form of log lines."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from backend.app.config import ROOT, load_settings
from backend.app.credentials import Vault, new_key
from backend.app.errors import ConfigurationError, CredentialsUnreadable
from backend.app.runtime import LogFormatter, summary

NO_FILE = {"RELANCE_ENV_FILE": "/nonexistent/.env"}


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "my.env"
    file.write_text("CREDENTIALS_KEYS=from-file\nSEND_LIMIT=7\n")
    settings = load_settings({"RELANCE_ENV_FILE": str(file), "SEND_LIMIT": "9"})
    assert (settings.credentials_keys, settings.send_limit) == (("from-file",), 9)


def test_without_a_key_nothing_starts_and_the_message_gives_the_command() -> None:
    with pytest.raises(ConfigurationError, match=r"Make one with:  python .*manage.py init"):
        load_settings(NO_FILE)


def test_a_relative_path_means_the_checkout_wherever_we_run_from() -> None:
    settings = load_settings({**NO_FILE, "CREDENTIALS_KEYS": "k", "ATTACHMENTS_DIR": "files"})
    assert settings.attachments_dir == ROOT / "files"


@pytest.mark.parametrize("value", ["0", "-1", "soon", "1.5"])
def test_a_number_that_is_none_is_named(value: str) -> None:
    with pytest.raises(ConfigurationError, match="IMAP_TIMEOUT_SECONDS must be a whole number"):
        load_settings({**NO_FILE, "CREDENTIALS_KEYS": "k", "IMAP_TIMEOUT_SECONDS": value})


def test_no_secret_shows_in_the_settings_text() -> None:
    environment = {
        **NO_FILE,
        "CREDENTIALS_KEYS": "the-key",
        "DATABASE_URL": "postgresql://u:pw@h/d",
    }
    text = repr(load_settings(environment))
    assert "the-key" not in text
    assert "pw" not in text


def test_a_password_comes_back_and_its_token_does_not_show_it() -> None:
    vault = Vault((new_key(),))
    token = vault.encrypt("pässwörd")
    assert vault.decrypt(token) == "pässwörd"
    assert "pässwörd" not in token


def test_keys_rotate_the_first_encrypts_and_all_decrypt() -> None:
    old, new = new_key(), new_key()
    token = Vault((old,)).encrypt("secret")
    both = Vault((new, old))
    assert both.decrypt(token) == "secret"
    rotated = both.rotate(token)
    assert Vault((new,)).decrypt(rotated) == "secret"
    with pytest.raises(CredentialsUnreadable):
        Vault((old,)).decrypt(rotated)


@pytest.mark.parametrize("token", ["", "nonsense", "gAAAAA"])
def test_what_no_key_opens_is_named_without_showing_it(token: str) -> None:
    with pytest.raises(CredentialsUnreadable, match="fits none of CREDENTIALS_KEYS"):
        Vault((new_key(),)).decrypt(token)


def test_a_key_that_is_none_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Vault(("my-secret-passphrase",))
    assert "my-secret-passphrase" not in str(caught.value)


def log_line(message: str, *arguments: object) -> str:
    record = logging.LogRecord("relance.sync", logging.INFO, "", 0, message, arguments, None)
    return LogFormatter().format(record)


def test_a_server_cannot_forge_a_log_line() -> None:
    line = log_line("error=%s", "no\r\n2026-01-01T00:00:00+00:00 INFO sync done\x1b[2J\x00")
    assert "\n" not in line
    assert "\r" not in line
    assert "\x1b" not in line
    assert "\x00" not in line


def test_a_traceback_is_one_line() -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        import sys

        record = logging.LogRecord(
            "relance.sync", logging.CRITICAL, "", 0, "internal error", (), sys.exc_info()
        )
    line = LogFormatter().format(record)
    assert len(line.splitlines()) == 1
    assert "ValueError: first | second" in line


def test_the_summary_says_something_even_when_nothing_was_done() -> None:
    assert summary({}) == "nothing to do"
    assert summary({"stored": 3, "duplicate": 1}) == "stored=3 duplicate=1"
