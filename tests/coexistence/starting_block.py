"""Runs a script as cron would, but not before the word is given.

    python starting_block.py SCRIPT ARGUMENTS...

It imports what the script imports, says `ready` on standard output and waits for a line on
standard input. Interpreters take differently long to start; from here to the script's first
transaction it is milliseconds, so two scripts told at once do run at once.
"""

from __future__ import annotations

import runpy
import sys
from importlib import import_module
from pathlib import Path

import sqlalchemy as sa


def main() -> None:
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    import_module("backend.app.inbox.sync")
    import_module("backend.app.followups.send")
    settings = import_module("backend.app.config").load_settings()
    sa.make_url(settings.database_url).get_dialect().import_dbapi()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
