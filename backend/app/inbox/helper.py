"""A second process prepares mails while this one stores them: where many wait, on several cores.

    this process     fetch the next batch -> hand it over ... store this one, mail by mail
    the helper                               prepare ...... -> PreparedMail

Parsing is a third of a first sync's work and needs nothing of the database. The helper holds a
few mails at a time, ends with this process, however that ends, and is used for nothing that is
not done just as well without it: what is not back in time is prepared here.

A mail on which the helper dies, and dies again when it is alone with it, is quarantined by itself;
no process that stores mail ever parses it. One that does not end dies of its alarm, long before the
lease does, which nobody renews meanwhile. Where the system gives no process (no semaphores without
/dev/shm, too many open files), mails are prepared as if there was no helper.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.connection import wait

from backend.app.errors import ParserDied
from backend.app.inbox.prepare import Intake, PreparedMail, Ready, Unprepared, prepare

log = logging.getLogger("relance.sync")

AT_ONCE = 8  # mails handed over together: enough to make the handing over cheap
WITHOUT = "integration=%d no second process: %s; this one parses"
NO_PROCESS = (OSError, ImportError, NotImplementedError)  # what a pool raises where it gets none


def _cores() -> int:
    """Those that this process may use (taskset, cpuset); macOS does not say."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


SPARE_CORES = _cores() - 1

# What a killed run leaves of its pool is removed by a process of Python's own, which takes these
# over; it would say so in our log.
sys.warnoptions.append("ignore:resource_tracker:UserWarning")

_places = threading.BoundedSemaphore(max(1, SPARE_CORES))
_intake: Intake | None = None  # in the helper: what is the same for all mails


class Helper:
    """The helper of one visit. Its methods are called by one thread at a time."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._pool = _start(intake)

    def hand_over(self, mails: Sequence[Unprepared]) -> list[Ready]:
        """What gives each of them back, prepared; raises what prepare raises, or ParserDied.

        Only of the first ones where the system gives no process for the others.
        """
        ready: list[Ready] = []
        for start in range(0, len(mails), AT_ONCE):
            some = mails[start : start + AT_ONCE]
            try:
                future, handed_over = self._submit(some), time.monotonic()
            except NO_PROCESS as error:
                log.info(WITHOUT, self._intake.lease.integration_id, error)
                break
            ready += [
                partial(self._give, future, number, mail, handed_over)
                for number, mail in enumerate(some)
            ]
        return ready

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        _places.release()

    def _submit(self, mails: Sequence[Unprepared]) -> Future[list[PreparedMail | Exception]]:
        try:
            return self._pool.submit(_prepare_all, mails)
        except BrokenProcessPool:
            self._pool = _start(self._intake)
            return self._pool.submit(_prepare_all, mails)

    def _give(
        self,
        future: Future[list[PreparedMail | Exception]],
        number: int,
        mail: Unprepared,
        handed_over: float,
    ) -> PreparedMail:
        try:
            prepared = future.result()[number]
        except BrokenProcessPool:
            return prepare_alone(self._intake, mail)
        # Whoever removes an erased client's files counts on it (see files.remove_unless_wanted).
        if time.monotonic() - handed_over > self._intake.lease.seconds:
            return prepare(self._intake, mail.raw, mail.arrived_at, mail.notes)
        return _outcome(prepared)


def find_helper(intake: Intake) -> Helper | None:
    """A helper for this visit; None where no core is spare, or other visits have them all."""
    if not SPARE_CORES or not _places.acquire(blocking=False):
        return None
    try:
        return Helper(intake)
    except NO_PROCESS as error:
        _places.release()
        log.info(WITHOUT, intake.lease.integration_id, error)
        return None


def prepare_alone(intake: Intake, mail: Unprepared) -> PreparedMail:
    """In a process of its own. Raises what prepare raises, or ParserDied."""
    try:
        prepared = _alone(intake, mail)
    except NO_PROCESS as error:
        raise ParserDied(f"no other process for what one may have died of: {error}") from error
    return _outcome(prepared)


def prepare_apart(intake: Intake, mail: Unprepared) -> PreparedMail:
    """The same for a mail that is only suspected: here where the system gives no process."""
    try:
        prepared = _alone(intake, mail)
    except NO_PROCESS as error:
        log.info(WITHOUT, intake.lease.integration_id, error)
        return prepare(intake, mail.raw, mail.arrived_at, mail.notes)
    return _outcome(prepared)


def _alone(intake: Intake, mail: Unprepared) -> PreparedMail | Exception:
    try:
        with _start(intake) as pool:
            return pool.submit(_prepare_all, [mail]).result()[0]
    except BrokenProcessPool:
        limit = _most_seconds(intake)
        raise ParserDied(
            f"the process that parsed this mail died of it, or of its timeout of {limit} s"
        ) from None


def _start(intake: Intake) -> ProcessPoolExecutor:
    # Not a fork: this process has threads and database connections.
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin_work, (intake,))


def _most_seconds(intake: Intake) -> int:
    """For one mail: twice as long, and what comes around it, is still within the lease."""
    return max(1, intake.lease.seconds // 3)


def _outcome(prepared: PreparedMail | Exception) -> PreparedMail:
    if isinstance(prepared, Exception):
        raise prepared
    return prepared


# -- in the helper -----------------------------------------------------------------------------


def _begin_work(intake: Intake) -> None:
    global _intake
    _intake = intake
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the run ends it when it has ended
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed run closes nothing: without this its helper would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _prepare_all(mails: Sequence[Unprepared]) -> list[PreparedMail | Exception]:
    return [_prepare_one(mail) for mail in mails]


def _prepare_one(mail: Unprepared) -> PreparedMail | Exception:
    assert _intake is not None  # noqa: S101 (_begin_work came first)
    signal.alarm(_most_seconds(_intake))  # no handler: it ends the process, whatever that is in
    try:
        return prepare(_intake, mail.raw, mail.arrived_at, mail.notes)
    except Exception as error:  # noqa: BLE001 (raised where the mail is stored)
        return error
    finally:
        signal.alarm(0)
