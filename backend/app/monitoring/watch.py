"""Everything that watches a run from outside. Its own faults are logged and go no further."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from backend.app import db
from backend.app.config import Monitoring

if TYPE_CHECKING:
    from backend.app.store.gauges import Gauges

log = logging.getLogger("relance.monitoring")

MOST_LINES = 20
ALERT_SECONDS = 30.0


class LastWords(logging.Handler):
    """The last lines of a run that were a warning or worse."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__(logging.WARNING)
        self.setFormatter(formatter)
        self.lines: deque[str] = deque(maxlen=MOST_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


class Watch:
    """One run, watched from its first line to its exit status."""

    def __init__(self, script: str, chosen: Monitoring, words: LastWords) -> None:
        self._script = script
        self._chosen = chosen
        self._words = words
        self._began, self._clock = time.time(), time.monotonic()
        # What nobody has asked for is not even imported: the sync script starts each minute.
        self._ping = self._sentry = None
        if script in chosen.ping_urls:
            from backend.app.monitoring.ping import Ping

            self._ping = Ping(chosen.ping_urls[script])
            self._unharmed(lambda: self._tell("start"))
        if chosen.sentry_dsn:
            self._unharmed(self._start_sentry)

    def _start_sentry(self) -> None:
        from backend.app.monitoring import sentry

        self._sentry = sentry.start(self._chosen.sentry_dsn or "", self._script)

    def end(self, exit_status: int, counts: Mapping[str, int]) -> None:
        """Never raises Exception."""
        self._unharmed(lambda: self._write_metrics(exit_status, counts))
        self._unharmed(lambda: self._tell("failure" if exit_status else "success"))
        if self._chosen.alert_email:
            self._alert_within(ALERT_SECONDS, exit_status)
        if self._ping is not None:
            self._unharmed(self._ping.finish)
        if self._sentry is not None:
            self._unharmed(self._sentry_finish)

    def _tell(self, event: str) -> None:
        if self._ping is not None:
            self._ping.tell(event)

    def _alert_within(self, seconds: float, exit_status: int) -> None:
        """A mail server may dribble on for ever, and a resolver knows no bound at all."""
        step = partial(self._unharmed, lambda: self._alert(exit_status))
        thread = threading.Thread(target=step, daemon=True)
        self._unharmed(thread.start)
        if thread.ident is not None:
            thread.join(seconds)
        if thread.is_alive():
            log.warning("monitoring failed: timeout: the alert, after %.0f s", seconds)

    def _sentry_finish(self) -> None:
        from backend.app.monitoring import sentry

        sentry.finish(self._sentry)

    def _unharmed(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001 (the run itself is over, and went as it went)
            log.warning("monitoring failed: %s", type(error).__name__)

    def _write_metrics(self, exit_status: int, counts: Mapping[str, int]) -> None:
        if self._chosen.metrics_dir is None:
            return
        from backend.app.monitoring import metrics

        seconds = time.monotonic() - self._clock
        run = metrics.RunFacts(self._script, self._began, seconds, exit_status, counts)
        metrics.write(
            self._chosen.metrics_dir, self._script, metrics.render(run, _gauges(exit_status))
        )

    def _alert(self, exit_status: int) -> None:
        chosen = self._chosen
        if not chosen.alert_email or not chosen.alert_smtp_url:
            return
        from backend.app.monitoring import alert

        file = chosen.state_dir / f"alert-{self._script}"
        before = alert.load(file)
        standing, news = alert.judge(before, exit_status, datetime.now(UTC))
        if news is not None:
            subject, text = alert.compose(
                news, self._script, exit_status, standing.since or before.since, self._words.lines
            )
            # Sent before it counts as told: one that could not go out is tried by the next run.
            alert.send(chosen.alert_smtp_url, chosen.alert_email, subject, text)
            log.info("alert %s sent", news)
        if standing != before:
            alert.save(file, standing)


def _gauges(exit_status: int) -> Gauges | None:
    if exit_status > 1:
        return None  # the database may be what is gone
    from backend.app.store.gauges import load_gauges

    try:
        return db.read(load_gauges)
    except SQLAlchemyError:
        return None
