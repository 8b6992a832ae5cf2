"""Settings from the environment and `.env`: the only reader of os.environ."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from backend.app.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]
NEW_KEY_COMMAND = "python backend/scripts/manage.py init"
TWILIO_URL = "https://api.twilio.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthClient:
    """This installation's registration with a token server (OAuth 2, RFC 6749).

    parameters: what the server wants besides when a person is asked to agree.
    """

    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    token_url: str
    authorization_url: str | None = None
    device_url: str | None = None
    scope: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an installation chooses. Every field stands in `.env.example` with its meaning.

    Durations are in seconds and sizes in bytes unless the name says otherwise.
    """

    database_url: str = field(repr=False)  # may hold a password
    credentials_keys: tuple[str, ...] = field(repr=False)
    attachments_dir: Path
    documents_dir: Path
    state_dir: Path
    sync_budget_seconds: int = 50
    sync_slice_messages: int = 500
    sync_batch_bytes: int = 4 * 1024 * 1024
    sync_lease_seconds: int = 300
    sync_history_days: int = 30
    sync_workers: int = 4
    sync_slice_bytes: int = 50_000_000
    sync_daily_bytes: int = 2_000_000_000
    sync_large_bytes: int = 25_000_000
    imap_connections_per_host: int = 10
    imap_timeout_seconds: int = 30
    smtp_timeout_seconds: int = 60
    send_limit: int = 200
    send_per_minute: int = 30
    send_lease_seconds: int = 300
    uncertain_hours: int = 24
    tls_ca_file: Path | None = None
    allow_plaintext_hosts: tuple[str, ...] = ()
    sms_timeout_seconds: int = 30
    twilio_url: str = TWILIO_URL
    oauth_clients: Mapping[str, OAuthClient] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitoring:
    """Who is told how a run went. Read apart from Settings, so that a broken one is told, too.

    ping_urls: by script. log_format: text or json.
    """

    ping_urls: Mapping[str, str] = field(default_factory=dict, repr=False)
    metrics_dir: Path | None = None
    sentry_dsn: str | None = field(default=None, repr=False)
    alert_email: str | None = None
    alert_smtp_url: str | None = field(default=None, repr=False)
    state_dir: Path = ROOT / "backend" / "data" / "state"
    log_format: str = "text"


def load_monitoring(environ: Mapping[str, str] | None = None) -> Monitoring:
    """Never raises: what cannot be read counts as not set."""
    environ = os.environ if environ is None else environ
    try:
        values = {**_env_file_values(env_file_in_use(environ)), **environ}
    except ConfigurationError:
        values = dict(environ)
    urls = {name: values.get(f"PING_URL_{name.upper()}", "") for name in ("sync", "followups")}
    return Monitoring(
        ping_urls={name: url.strip() for name, url in urls.items() if url.strip()},
        metrics_dir=_optional_path(values, "METRICS_DIR"),
        sentry_dsn=values.get("SENTRY_DSN", "").strip() or None,
        alert_email=values.get("ALERT_EMAIL", "").strip() or None,
        alert_smtp_url=values.get("ALERT_SMTP_URL", "").strip() or None,
        state_dir=_path(values, "STATE_DIR", ROOT / "backend" / "data" / "state"),
        log_format="json" if values.get("LOG_FORMAT", "").strip().lower() == "json" else "text",
    )


def load_settings(
    environ: Mapping[str, str] | None = None,
    *,
    env_file: Path | None = None,
    key_needed: bool = True,
) -> Settings:
    """Read the environment, then `.env` for what the environment does not say.

    `.env` stands at the top of the checkout, or where RELANCE_ENV_FILE says, or is env_file.
    key_needed=False: without CREDENTIALS_KEYS the rest comes all the same, for what only looks.
    Raises ConfigurationError, which names the variable and says what to do.
    """
    environ = os.environ if environ is None else environ
    env_file = env_file or env_file_in_use(environ)
    values = {**_env_file_values(env_file), **environ}
    data = ROOT / "backend" / "data"
    return Settings(
        database_url=values.get("DATABASE_URL") or f"sqlite:///{data / 'relance.db'}",
        credentials_keys=_keys(values, needed=key_needed),
        attachments_dir=_path(values, "ATTACHMENTS_DIR", data / "attachments"),
        documents_dir=_path(values, "DOCUMENTS_DIR", data / "documents"),
        state_dir=_path(values, "STATE_DIR", data / "state"),
        sync_budget_seconds=_positive(values, "SYNC_BUDGET_SECONDS", 50),
        sync_slice_messages=_positive(values, "SYNC_SLICE_MESSAGES", 500),
        sync_batch_bytes=_positive(values, "SYNC_BATCH_BYTES", 4 * 1024 * 1024),
        sync_lease_seconds=_positive(values, "SYNC_LEASE_SECONDS", 300),
        sync_workers=_positive(values, "SYNC_WORKERS", 4),
        sync_slice_bytes=_positive(values, "SYNC_SLICE_BYTES", 50_000_000),
        sync_daily_bytes=_positive(values, "SYNC_DAILY_BYTES", 2_000_000_000),
        sync_large_bytes=_positive(values, "SYNC_LARGE_BYTES", 25_000_000),
        imap_connections_per_host=_positive(values, "IMAP_CONNECTIONS_PER_HOST", 10),
        sync_history_days=_positive(values, "SYNC_HISTORY_DAYS", 30),
        imap_timeout_seconds=_positive(values, "IMAP_TIMEOUT_SECONDS", 30),
        smtp_timeout_seconds=_positive(values, "SMTP_TIMEOUT_SECONDS", 60),
        send_limit=_positive(values, "SEND_LIMIT", 200),
        send_per_minute=_positive(values, "SEND_PER_MINUTE", 30),
        send_lease_seconds=_positive(values, "SEND_LEASE_SECONDS", 300),
        uncertain_hours=_positive(values, "UNCERTAIN_HOURS", 24),
        tls_ca_file=_optional_path(values, "TLS_CA_FILE"),
        allow_plaintext_hosts=_words(values, "ALLOW_PLAINTEXT_HOSTS"),
        sms_timeout_seconds=_positive(values, "SMS_TIMEOUT_SECONDS", 30),
        twilio_url=values.get("TWILIO_URL", "").strip() or TWILIO_URL,
        oauth_clients=_oauth_clients(values),
    )


def env_file_in_use(environ: Mapping[str, str] | None = None) -> Path:
    """Where `.env` is looked for; it need not be there."""
    environ = os.environ if environ is None else environ
    return Path(environ.get("RELANCE_ENV_FILE") or ROOT / ".env")


def is_colour_unwanted() -> bool:
    """NO_COLOR (no-color.org), with any value but an empty one."""
    return bool(os.environ.get("NO_COLOR"))


def has_key_in_environment() -> bool:
    """Whether CREDENTIALS_KEYS comes from the environment itself, so that no file needs it."""
    return bool(os.environ.get("CREDENTIALS_KEYS", "").strip())


def _env_file_values(env_file: Path) -> dict[str, str]:
    try:
        return {k: v for k, v in dotenv_values(env_file).items() if v is not None}
    except OSError as error:
        raise ConfigurationError(f"{env_file} cannot be read: {error.strerror}") from error


def _keys(values: Mapping[str, str], *, needed: bool) -> tuple[str, ...]:
    keys = _words(values, "CREDENTIALS_KEYS")
    if needed and not keys:
        raise ConfigurationError(
            "CREDENTIALS_KEYS is not set, so mailbox passwords cannot be read. "
            f"Make one with:  {NEW_KEY_COMMAND}"
        )
    return keys


def _oauth_clients(values: Mapping[str, str]) -> dict[str, OAuthClient]:
    """By the names that `mailbox add --oauth` takes; only what has a client id."""
    tenant = values.get("OAUTH_MICROSOFT_TENANT") or "common"
    microsoft = f"https://login.microsoftonline.com/{tenant}/oauth2/v2.0"
    known: dict[str, dict[str, Any]] = {
        # Google lets no device code ask for mail, so that its address is brought back by hand.
        "google": {
            "token_url": "https://oauth2.googleapis.com/token",
            "authorization_url": "https://accounts.google.com/o/oauth2/v2/auth",
            "scope": "https://mail.google.com/",
            "parameters": {"access_type": "offline", "prompt": "consent"},
        },
        "microsoft": {
            "token_url": f"{microsoft}/token",
            "authorization_url": f"{microsoft}/authorize",
            "device_url": f"{microsoft}/devicecode",
            "scope": "https://outlook.office.com/IMAP.AccessAsUser.All "
            "https://outlook.office.com/SMTP.Send offline_access",
        },
        "custom": {
            "token_url": values.get("OAUTH_CUSTOM_TOKEN_URL", ""),
            "authorization_url": values.get("OAUTH_CUSTOM_AUTHORIZATION_URL") or None,
            "device_url": values.get("OAUTH_CUSTOM_DEVICE_URL") or None,
            "scope": values.get("OAUTH_CUSTOM_SCOPE", ""),
        },
    }
    clients = {}
    for name, facts in known.items():
        prefix = f"OAUTH_{name.upper()}"
        client_id = values.get(f"{prefix}_CLIENT_ID", "").strip()
        if not client_id:
            continue
        if not facts["token_url"]:
            raise ConfigurationError(f"{prefix}_TOKEN_URL is missing beside {prefix}_CLIENT_ID")
        secret = values.get(f"{prefix}_CLIENT_SECRET", "").strip() or None
        clients[name] = OAuthClient(client_id=client_id, client_secret=secret, **facts)
    return clients


def _words(values: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in values.get(name, "").split(",") if word.strip())


def _positive(values: Mapping[str, str], name: str, default: int) -> int:
    text = values.get(name, "").strip()
    if not text:
        return default
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ConfigurationError(f"{name} must be a whole number of at least 1, not {text!r}")
    return number


def _path(values: Mapping[str, str], name: str, default: Path) -> Path:
    return _optional_path(values, name) or default


def _optional_path(values: Mapping[str, str], name: str) -> Path | None:
    text = values.get(name, "").strip()
    # Cron starts in the home directory: a relative path means the checkout, wherever we run from.
    return (ROOT / Path(text).expanduser()) if text else None
