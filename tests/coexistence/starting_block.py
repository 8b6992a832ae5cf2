"""Runs a script as cron would, but not before the word is given.

    python starting_block.py SCRIPT ARGUMENTS...

It imports what the script imports, says `ready` on standard output and waits for a line on
standard input. Interpreters take differently long to start; from here to the script's first
transaction it is milliseconds, so two scripts told at once do run at once.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

import sqlalchemy as sa

import backend.app.followups.send
import backend.app.inbox.sync
from backend.app.config import load_settings

if __name__ == "__main__":
    sa.make_url(load_settings().database_url).get_dialect()().import_dbapi()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
