"""Send the reminders that are due. Run by cron every hour.

Any number of runs, on any number of hosts, may overlap: each reminder goes out at most once.
"""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a path, from anywhere

from backend.scripts.loading import nothing_is_garbage
from backend.scripts.requirements import check_requirements

check_requirements()

with nothing_is_garbage():
    from backend.app.followups.preview import show_due_followups
    from backend.app.followups.send import send_due_followups
    from backend.app.runtime import run_script
    from backend.scripts.cli.naming import look_up_of

EPILOG = """\
examples:
  python backend/scripts/send_automatic_followups.py
  python backend/scripts/send_automatic_followups.py --company 1 --dry-run
  python backend/scripts/send_automatic_followups.py --followup 42 -v

exit status:
  0 done (also when other runs hold everything)
  1 some reminders could not be sent, or there is no such follow-up or company
  2 wrong flags   70 internal error   75 database not reachable   78 bad configuration
"""


def read_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="send_automatic_followups.py",
        description="Send the reminders that are due, each at most once.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--company", type=int, metavar="ID", help="only this company's follow-ups")
    parser.add_argument(
        "--followup", type=int, metavar="ID", help="only this one; the rules hold all the same"
    )
    parser.add_argument("--limit", type=_at_least_one, metavar="N", help="send at most N reminders")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would go out and why; write nothing"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show each step")
    return parser.parse_args(argv)


def _at_least_one(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}") from None
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def main(argv: list[str] | None = None) -> int:
    arguments = read_arguments(argv)
    job = show_due_followups if arguments.dry_run else send_due_followups
    named = {"company_id": arguments.company, "followup_id": arguments.followup}
    return run_script(
        "followups",
        functools.partial(job, **named, limit=arguments.limit),
        look_up=look_up_of(named),
        verbose=arguments.verbose,
        dry_run=arguments.dry_run,
    )


if __name__ == "__main__":
    sys.exit(main())
