"""manage.py outbox"""

from __future__ import annotations

import click

from backend.scripts.cli.commands import (
    by_option,
    company_option,
    examples,
    id_argument,
    json_option,
    limit_option,
    tell_if_cut,
)
from backend.scripts.cli.terminal import say, show_json, show_table

STATES = ("planned", "claimed", "sending", "sent", "failed", "cancelled", "uncertain")


@click.group(epilog=examples("outbox list --state uncertain", "outbox sent 12"))
def command() -> None:
    """Reminders on their way out.

    An uncertain one may have gone out: a connection broke when nobody could know. It is never
    sent again by itself; where no proof comes, look at the Sent folder or ask the client, then say
    `outbox sent` or `outbox resend`.

    Where a company groups its reminders, one mail carries the steps of several follow-ups: IN MAIL
    names the row whose mail it is, and a word on any of them holds for all.
    """


@command.command("list", epilog=examples("outbox list --state uncertain", "outbox list --json"))
@company_option()
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@limit_option()
@json_option
def list_(company_id: int | None, state: str | None, limit: int, as_json: bool) -> None:
    """List the reminders that went out, or are to."""
    from backend.app import db
    from backend.app.store import admin_followups
    from backend.scripts.cli.installation import opened

    with opened():
        rows = db.read(admin_followups.list_outbox, company_id=company_id, state=state, limit=limit)
    if as_json:
        show_json(rows)
    else:
        show_table(
            ("ID", "FOLLOW-UP", "STEP", "STATE", "TO", "SUBJECT", "IN MAIL", "ERROR"),
            [
                (
                    row.id,
                    row.followup_id,
                    row.step,
                    f"{row.state} !" if row.needs_person else row.state,
                    row.recipient,
                    row.subject,
                    row.carried_by or "",
                    row.error if row.state not in ("sent", "claimed") else "",
                )
                for row in rows
            ],
        )
    tell_if_cut(len(rows), limit)


@command.command("sent", epilog=examples("outbox sent 12"))
@id_argument("outbox_id")
@company_option()
@by_option()
def sent(outbox_id: int, company_id: int | None, by: str) -> None:
    """Say that an uncertain reminder did arrive: the next step comes when it is due."""
    from backend.app import db
    from backend.app.operate.settlement import accept_as_sent
    from backend.scripts.cli.installation import opened

    with opened():
        conversation = db.write(accept_as_sent, company_id, outbox_id, db.utc_now(), by)
    say(f"outbox row {outbox_id} counts as sent, in conversation {conversation}")


@command.command("resend", epilog=examples("outbox resend 12"))
@id_argument("outbox_id")
@company_option()
@by_option()
def resend(outbox_id: int, company_id: int | None, by: str) -> None:
    """Say that an uncertain reminder did not arrive: the next run may send it again."""
    from backend.app import db
    from backend.app.operate.settlement import send_again
    from backend.scripts.cli.installation import opened

    with opened():
        row = db.write(send_again, company_id, outbox_id, db.utc_now(), by)
    if row.auto_state == "active" and row.auto_enabled:
        say(f"outbox row {outbox_id} is planned again; the next run decides on it")
        return
    why = f"{row.auto_state}: {row.auto_reason}" if row.auto_enabled else "switched off"
    say(f"outbox row {outbox_id} is no longer uncertain, and nothing is sent:")
    say(f"follow-up {row.id} is {why}")
    if row.auto_state == "stopped":
        say(f"to open it again: manage.py followup restart {row.id}")
