"""Run an installation: set it up, add companies and mailboxes, see how everything stands."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a path, from anywhere

from backend.scripts.requirements import check_requirements

check_requirements()

from backend.app.errors import EXIT_INTERNAL, EXIT_SOME_FAILED
from backend.scripts.cli.root import command


def main() -> None:
    # A terminal that cannot show a character gets a question mark, not a traceback.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        command(prog_name="manage.py")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            traceback.print_exc()
            raise SystemExit(EXIT_INTERNAL) from error
        where = error.filename or "where the output goes"
        # What is left in the buffer would fail once more when Python ends, which makes status 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        print(f"Error: the disk is full, {where}: make room", file=sys.stderr)
        raise SystemExit(EXIT_SOME_FAILED) from error
    except Exception as error:
        traceback.print_exc()
        raise SystemExit(EXIT_INTERNAL) from error


if __name__ == "__main__":
    main()
