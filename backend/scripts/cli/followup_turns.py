"""manage.py followup restart, promise"""

from __future__ import annotations

import click

from backend.scripts.cli.commands import by_option, company_option, examples, id_argument
from backend.scripts.cli.terminal import say


@click.command("restart", epilog=examples("followup restart 12", "followup restart 12 --by Léa"))
@id_argument("followup_id")
@company_option()
@by_option()
def restart(followup_id: int, company_id: int | None, by: str) -> None:
    """Open a stopped follow-up again, from the step after the last one that went out.

    For a client who answered, and has not settled it. What was written so far counts as read; a
    further answer stops the reminders again. The next run decides on it.
    """
    from backend.app import db
    from backend.app.operate.followup_actions import restart_followup
    from backend.scripts.cli.installation import opened

    with opened():
        db.write(restart_followup, company_id, followup_id, db.utc_now(), by)
    say(f"follow-up {followup_id} is active; the next run looks at it")


@click.command("promise", epilog=examples("followup promise 12 --until 2026-12-15"))
@id_argument("followup_id")
@click.option("--until", required=True, help="The day promised: 2026-12-15, 15/12/2026")
@company_option()
@by_option()
def promise(followup_id: int, until: str, company_id: int | None, by: str) -> None:
    """Note that the client has promised to settle it by a day; no reminder until it is over."""
    from backend.app import db
    from backend.app.operate.fields import parse_day_to_come
    from backend.app.operate.followup_actions import promise_followup
    from backend.scripts.cli.installation import opened

    day = parse_day_to_come(until, db.utc_now())
    with opened():
        row = db.write(promise_followup, company_id, followup_id, day, db.utc_now(), by)
    say(f"follow-up {followup_id} sends nothing until {day.isoformat()} is over")
    if row.auto_state == "held":
        say(f"it stays held: {row.auto_reason}")
