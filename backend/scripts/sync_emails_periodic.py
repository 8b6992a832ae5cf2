"""Bring every company's mailboxes into the shared inbox. Run by cron every minute.

Any number of runs, on any number of hosts, may overlap: the database arbitrates.
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
    from backend.app.inbox.sync import show_due_mailboxes, sync_due_mailboxes
    from backend.app.runtime import run_script
    from backend.scripts.cli.naming import look_up_of
    from backend.scripts.cli.progress import shown_progress

EPILOG = """\
examples:
  python backend/scripts/sync_emails_periodic.py
  python backend/scripts/sync_emails_periodic.py --mailbox 3 -v
  python backend/scripts/sync_emails_periodic.py --company 1 --dry-run

exit status:
  0 done (also when other runs hold every mailbox)
  1 some mailboxes or mails failed, or there is no such mailbox or company
  2 wrong flags   70 internal error   75 database not reachable   78 bad configuration
"""


def read_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="sync_emails_periodic.py",
        description="Bring every company's IMAP mailboxes into the shared inbox.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--company", type=int, metavar="ID", help="only this company's mailboxes")
    parser.add_argument(
        "--mailbox", type=int, metavar="ID", help="only this one, even while it backs off"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be fetched; write nothing"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show each step")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    arguments = read_arguments(argv)
    job = show_due_mailboxes if arguments.dry_run else sync_due_mailboxes
    named = {"company_id": arguments.company, "mailbox_id": arguments.mailbox}
    with shown_progress() as (progress, handler):
        return run_script(
            "sync",
            functools.partial(job, **named),
            look_up=look_up_of(named),
            verbose=arguments.verbose,
            durable=False,  # mail can be fetched again; its checkpoint is in the same commit
            dry_run=arguments.dry_run,
            progress=progress,
            log_handler=handler,
        )


if __name__ == "__main__":
    sys.exit(main())
