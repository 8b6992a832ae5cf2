"""A whole script in this process, as cron would call it, for tests that watch it from within."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from unittest import mock

from backend.app import db
from backend.app.runtime import LOGGER
from backend.scripts import send_automatic_followups, sync_emails_periodic
from tests.installation import Installation

SCRIPTS: Mapping[str, Callable[[list[str]], int]] = {
    "sync": sync_emails_periodic.main,
    "followups": send_automatic_followups.main,
}


def run_inside(installation: Installation, script: str, *arguments: str) -> int:
    """Returns the exit status. Log lines go to standard error."""
    with (
        mock.patch.dict(os.environ, installation.environment, clear=True),
        _logging_as_before(),
        _sessions_as_before(),
    ):
        return SCRIPTS[script](list(arguments))


@contextmanager
def _logging_as_before() -> Iterator[None]:
    logger = logging.getLogger(LOGGER)
    handlers, level, propagate = logger.handlers[:], logger.level, logger.propagate
    try:
        yield
    finally:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


@contextmanager
def _sessions_as_before() -> Iterator[None]:
    before = db.SessionLocal.kw["bind"]
    try:
        yield
    finally:
        db.SessionLocal.kw["bind"].dispose()
        db.SessionLocal.configure(bind=before)
