"""manage.py quarantine"""

from __future__ import annotations

from pathlib import Path

import click

from backend.scripts.cli.commands import (
    ROW_ID,
    by_option,
    company_option,
    examples,
    id_argument,
    json_option,
    limit_option,
    tell_if_cut,
)
from backend.scripts.cli.new_file import write_new
from backend.scripts.cli.terminal import local_time, say, show_json, show_table


@click.group(
    epilog=examples("quarantine list", "quarantine show 3 --raw mail.eml", "quarantine retry 3")
)
def command() -> None:
    """Mails that could not be handled, kept as they came.

    The sync script tries each of them again a few times by itself. As long as one is here, no
    reminder goes to whoever sent it: it may be the answer.
    """


@command.command("list", epilog=examples("quarantine list --company 1", "quarantine list --json"))
@company_option()
@limit_option()
@json_option
def list_(company_id: int | None, limit: int, as_json: bool) -> None:
    """List the quarantined mails. Times are this host's."""
    from backend.app import db
    from backend.app.store import admin_inbox
    from backend.scripts.cli.installation import opened

    with opened():
        rows = db.read(admin_inbox.list_quarantined, company_id, limit)
    if as_json:
        show_json(rows)
    else:
        show_table(
            ("ID", "MAILBOX", "UID", "ARRIVED", "TRIES", "BYTES", "FROM", "ERROR"),
            [
                (
                    row.id,
                    row.integration_id,
                    row.uid,
                    local_time(row.arrived_at),
                    row.attempts,
                    row.size,
                    row.sender_key or "-",
                    row.error,
                )
                for row in rows
            ],
        )
    tell_if_cut(len(rows), limit)


@command.command("show", epilog=examples("quarantine show 3", "quarantine show 3 --raw mail.eml"))
@id_argument("quarantine_id")
@company_option()
@click.option(
    "--raw",
    "raw_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the mail as it came into a new file.",
)
@json_option
def show(quarantine_id: int, company_id: int | None, raw_file: Path | None, as_json: bool) -> None:
    """Show where a quarantined mail lay, and why it is here."""
    from backend.app import db
    from backend.app.store import admin_inbox
    from backend.scripts.cli.installation import opened

    with opened():
        row, raw = db.read(admin_inbox.load_quarantined, company_id, quarantine_id)
    if raw_file is not None:
        write_new(raw_file, raw)
    if as_json:
        show_json(row)
        return
    say(f"quarantined mail {row.id} of mailbox {row.integration_id} (company {row.company_id})")
    say(f"  where    {row.folder}, UID {row.uid} (UIDVALIDITY {row.uidvalidity})")
    say(f"  from     {row.sender_key or 'unknown'}, {row.size} bytes")
    say(f"  arrived  {local_time(row.arrived_at)}")
    say(f"  error    {row.error}")
    again = f"again at {local_time(row.next_attempt_at)}" if row.next_attempt_at else "no more"
    say(f"  attempts {row.attempts}, {again}")
    if raw_file is not None:
        say(f"  written to {raw_file}; see: manage.py mail show {raw_file}")


@command.command("retry", epilog=examples("quarantine retry 3", "quarantine retry 3 4 5"))
@click.argument("quarantine_ids", type=ROW_ID, nargs=-1, required=True, metavar="ID...")
@company_option()
def retry(quarantine_ids: tuple[int, ...], company_id: int | None) -> None:
    """Let the next run of the sync script try them again."""
    from backend.app import db
    from backend.app.operate import quarantine
    from backend.scripts.cli.installation import opened

    with opened():
        for each in quarantine_ids:
            row = db.write(quarantine.retry, company_id, each)
            say(f"mail {each} of mailbox {row.integration_id} is tried again by the next run")


@command.command("drop", epilog=examples("quarantine drop 3"))
@id_argument("quarantine_id")
@company_option()
@by_option()
def drop(quarantine_id: int, company_id: int | None, by: str) -> None:
    """Delete what is kept of a mail that nobody needs here, and do not fetch it again.

    The mail server's own copy stays as it is. Reminders to its sender may go out again.
    """
    from backend.app import db
    from backend.app.operate import quarantine
    from backend.scripts.cli.installation import opened

    with opened():
        row = db.write(quarantine.drop, company_id, quarantine_id, by)
    say(f"mail {quarantine_id} of mailbox {row.integration_id} is dropped: {row.error}")
