"""A URL that is asked when a run starts, succeeds or fails: `URL/start`, `URL`, `URL/fail`.

The convention of healthchecks.io, which others follow; whoever watches it says that cron has
stopped when nobody asks any more. The URL is a secret: whoever knows it can report health. It is
asked in a thread of its own, and a run waits a moment for it at its very end, when all is done.
"""

from __future__ import annotations

import logging
import threading
import urllib.request
from http.client import HTTPException
from urllib.error import URLError

log = logging.getLogger("relance.monitoring")

SECONDS = 5.0
SUFFIXES = {"start": "/start", "success": "", "failure": "/fail"}


class Ping:
    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._threads: list[threading.Thread] = []

    def tell(self, event: str) -> None:
        """event: a key of SUFFIXES. Returns at once."""
        url = self._url + SUFFIXES[event]
        thread = threading.Thread(target=_ask, args=(url, event), daemon=True)
        thread.start()
        self._threads.append(thread)

    def finish(self) -> None:
        """Wait for what is on its way, a few seconds at most."""
        for thread in self._threads:
            thread.join(SECONDS)


def _ask(url: str, event: str) -> None:
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "relance"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 (http, https)
            answer.read(1000)
    except (OSError, ValueError, HTTPException) as error:
        # Never the URL itself, which urllib puts into some of its errors.
        why = error.reason if isinstance(error, URLError) else type(error).__name__
        log.warning("ping event=%s failed: %s", event, type(why).__name__)
