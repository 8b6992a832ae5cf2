"""manage.py outbox"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

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
from backend.scripts.cli.new_file import write_new
from backend.scripts.cli.terminal import clean_block, local_time, say, show_json, show_table

if TYPE_CHECKING:
    from backend.app.store.admin_records import OutboxRow

STATES = ("planned", "claimed", "sending", "sent", "failed", "cancelled", "uncertain")


@click.group(epilog=examples("outbox list --state uncertain", "outbox show 12", "outbox sent 12"))
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


@command.command("show", epilog=examples("outbox show 12", "outbox show 12 --eml mail.eml"))
@id_argument("outbox_id")
@company_option()
@click.option(
    "--eml",
    "eml_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the mail as the server gets it into a new file.",
)
@json_option
def show(outbox_id: int, company_id: int | None, eml_file: Path | None, as_json: bool) -> None:
    """Show a reminder: how far it came, what the server said, and its text.

    Times are this host's.
    """
    from backend.app import db
    from backend.app.store import admin_followups
    from backend.scripts.cli.installation import opened

    with opened():
        row = db.read(admin_followups.load_outbox_row, company_id, outbox_id)
        text, raw = db.read(admin_followups.load_outbox_mail, row)
        carried = db.read(admin_followups.list_carried, row.carried_by or row.id)
    if eml_file is not None:
        write_new(eml_file, raw)
    if as_json:
        show_json({**dataclasses.asdict(row), "content": text, "carried": carried})
        return
    _say_row(row, carried)
    say()
    click.echo(clean_block(text, indent="  "))
    if row.state == "uncertain":
        say()
        say(f"if it arrived:  manage.py outbox sent {row.id}")
        say(f"if it did not:  manage.py outbox resend {row.id}")
    if eml_file is not None:
        say(f"written to {eml_file}; see: manage.py mail show {eml_file}")


def _say_row(row: OutboxRow, carried: Sequence[OutboxRow]) -> None:
    say(f"outbox row {row.id}: step {row.step} of follow-up {row.followup_id}, {row.state}")
    facts = (
        ("to", f"{row.recipient} by {'text message' if row.channel == 'sms' else 'e-mail'}"),
        ("from", f"mailbox {row.integration_id} (company {row.company_id})"),
        ("subject", row.subject),
        ("message-id", row.message_id if row.channel == "email" else row.provider_id),
        ("attempts", row.attempts),
        ("again at", row.next_attempt_at and local_time(row.next_attempt_at)),
        ("body begun", row.sending_at and local_time(row.sending_at)),
        ("sent", row.sent_at and local_time(row.sent_at)),
        ("error", row.error),
        ("in mail of", row.carried_by and f"outbox row {row.carried_by}"),
    )
    for name, value in facts:
        if value:
            say(f"  {name:<11}{value}")
    for each in carried:
        say(f"  {'carries':<11}step {each.step} of follow-up {each.followup_id}, {each.state}")


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
