"""Runs a script as if on a host of that name.

python on_a_host.py NAME IDLE_SECONDS SCRIPT
"""

from __future__ import annotations

import runpy
import socket
import sys
from importlib import import_module
from pathlib import Path


def main() -> None:
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    _, name, idle_seconds, script = sys.argv
    socket.gethostname = lambda: name
    database = import_module("backend.app.db")
    database.IDLE_IN_TRANSACTION_SECONDS = float(idle_seconds)
    sys.argv = [script]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
