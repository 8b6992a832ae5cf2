"""Several mailboxes at once: threads, which wait for mail servers most of the time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace

from backend.app.runtime import Run


def run_workers(run: Run, count: int, work: Callable[[Run], None]) -> None:
    """Do `work` in `count` threads, and return when all have ended; in this thread for one.

    An error of one lets the others finish the item at hand, and is raised then. Signals reach the
    main thread, which waits here; the workers see them through run.stopping.
    """
    if count <= 1:
        work(run)
        return
    broken = threading.Event()
    shared = replace(run, stopping=lambda: broken.is_set() or run.stopping())
    with ThreadPoolExecutor(count, thread_name_prefix="sync") as pool:
        try:
            for ended in as_completed([pool.submit(work, shared) for _ in range(count)]):
                ended.result()
        except BaseException:
            broken.set()
            raise
