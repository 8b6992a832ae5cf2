"""This host's mark: how far the database's counter was, remembered outside of the database.

A backup that is brought back knows nothing of the reminders that went out since it was made, and
would send them again. The counter grows with every run and with every reminder, in the commit that
says that it may be out; the mark is on disk before the reminder's body goes. So a database whose
counter is not above the mark is an older copy, whichever backup it came from and on whichever host
it is met first. The file holds one number; it must not be restored together with the database.
"""

from __future__ import annotations

import logging
import os
from hashlib import sha256
from pathlib import Path

from backend.app import db
from backend.app.store import installation
from backend.app.store.installation import Count

log = logging.getLogger("relance.mark")


class Mark:
    """The file of one host. A directory that cannot be written to is told once, and no more."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.usable = True

    def begin_run(self) -> bool:
        """Count this run. True when the database turns out to be an older copy.

        The mark is read before the count: what another run has remembered by then was counted
        before, so in a database that was not restored this run's count is higher.
        """
        seen = self._read(db.read(installation.load_secret))
        counted = db.write(installation.count_run)
        restored = None
        if seen is not None and seen >= counted.counter:
            restored = db.write(installation.record_restored, seen)
        if restored is not None:
            log.error(
                "the database is an older copy: its counter is %d, this host has seen %d. "
                "Reminders of before are held; see: manage.py restored --help",
                counted.counter,
                seen,
            )
        self.remember(restored or counted)
        return restored is not None

    def remember(self, counted: Count) -> None:
        """Durable when it returns: whatever went out afterwards is newer than no mark."""
        file = self._file(counted.secret)
        try:
            self._write(file, counted.counter)
        except OSError as error:
            if self.usable:
                log.error("STATE_DIR %s: %s; a restored copy may go unnoticed", file, error)
            self.usable = False

    def _write(self, file: Path, counter: int) -> None:
        """In place, and always as long: a new file each time costs ten times as much, and one short
        line is written whole or not at all.
        """
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o640)
        try:
            if _number(os.pread(descriptor, 100, 0)) < counter:  # else another run was further
                os.pwrite(descriptor, b"%020d\n" % counter, 0)
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _read(self, secret: str) -> int | None:
        try:
            return _number(self._file(secret).read_bytes()) or None
        except OSError:
            return None  # the first run on this host

    def _file(self, secret: str) -> Path:
        return self._directory / sha256(secret.encode()).hexdigest()[:16]


def _number(content: bytes) -> int:
    """0 where there is none."""
    line = content.partition(b"\n")[0].strip()
    return int(line) if line.isdigit() else 0
