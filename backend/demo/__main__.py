"""`make demo`: a small French company, two mail servers and both cron scripts, for a week.

Everything lies in backend/demo/run/, which each demo empties first and nothing else reads.
Exit status: 0 when the story came out as told, 1 when it did not, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import imaplib
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from backend.app.errors import RelanceError
from backend.demo import chapters, rows, set_up, story
from backend.demo.paper import Paper
from backend.demo.servers import MailServers
from backend.demo.stage import Stage
from backend.demo.workplace import StoryBroken, emptied

RUN = Path(__file__).resolve().parent / "run"
CHAPTERS = (
    set_up.tell_company,
    chapters.tell_first_run,
    chapters.tell_answers,
    chapters.tell_next_hour,
    chapters.tell_next_week,
    chapters.tell_balance,
)
# What servers, files and databases say when they fail; OSError holds SMTP's errors and time-outs.
FAULTS = (
    StoryBroken,
    RelanceError,
    OSError,
    imaplib.IMAP4.error,
    SQLAlchemyError,
    subprocess.SubprocessError,
)


def tell(paper: Paper, directory: Path) -> None:
    """The whole story. Raises FAULTS when it cannot be told to its end."""
    with emptied(directory) as place, MailServers() as servers:
        stage = Stage(place, servers, paper)
        set_up.tell_installation(stage)
        with rows.opened(place):
            for chapter in CHAPTERS:
                chapter(stage)


def conclude(paper: Paper, directory: Path, seconds: float) -> int:
    """The verdict, and the way to one's own mailbox. Returns the exit status."""
    paper.gap()
    if paper.failures:
        paper.alarm(f"The story did not come out as told. {len(paper.failures)} claims failed:")
        paper.alarm("\n".join(f"  - {claim}" for claim in paper.failures))
        paper.alarm(f"Logs and database: {directory}")
        return 1
    paper.heading(f"All {paper.checks} claims hold, after {seconds:.0f} seconds.")
    paper.prose(f"Logs, database and files: {directory}", indent="", hanging="  ")
    paper.chapter("Your own mailbox")
    paper.say("From the top of the checkout:")
    paper.gap()
    paper.verbatim(story.OWN_MAILBOX)
    return 0


def run(paper: Paper, directory: Path) -> int:
    """Tell the story and give the verdict. Returns the exit status."""
    start = time.monotonic()
    try:
        tell(paper, directory)
    except FAULTS as error:
        paper.alarm(f"\nThe demo could not go on: {error}\nLogs and database: {directory}")
        return 1
    except KeyboardInterrupt:
        paper.alarm("\nStopped.")
        return 130
    return conclude(paper, directory, time.monotonic() - start)


def main(directory: Path = RUN) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without é still gets its story
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the scripts end with the demo
    try:
        return run(Paper(sys.stdout), directory)
    except BrokenPipeError:  # the reader has seen enough: `make demo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m backend.demo", description=__doc__).parse_args()
    sys.exit(main())
