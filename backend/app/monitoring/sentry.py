"""Tracebacks and errors to Sentry, where SENTRY_DSN is set and its package installed.

Values of local variables stay here: they hold mails and passwords.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any

log = logging.getLogger("relance.monitoring")

FLUSH_SECONDS = 3.0


def start(dsn: str, script: str) -> Any | None:
    """The package, once it listens to our log; None where it is not installed, which is said."""
    try:
        # Optional: requirements-sentry.txt. By name, since most installations have no such package.
        sdk: Any = importlib.import_module("sentry_sdk")
    except ImportError:
        log.warning("SENTRY_DSN is set, sentry-sdk is not installed: requirements-sentry.txt")
        return None
    sdk.init(
        dsn=dsn,
        send_default_pii=False,
        include_local_variables=False,
        max_breadcrumbs=20,
        auto_enabling_integrations=False,  # SQLAlchemy's would send statements
        traces_sample_rate=0.0,
    )
    sdk.set_tag("script", script)
    return sdk


def finish(sdk: Any) -> None:
    sdk.flush(timeout=FLUSH_SECONDS)
