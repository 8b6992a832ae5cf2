"""manage.py followup"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from backend.scripts.cli.commands import (
    ROW_ID,
    by_option,
    company_option,
    examples,
    fail,
    id_argument,
    json_option,
    limit_option,
    tell_if_cut,
)
from backend.scripts.cli.followup_explain import client_of, explain
from backend.scripts.cli.followup_forecast import forecast
from backend.scripts.cli.followup_import import import_
from backend.scripts.cli.followup_preview import preview
from backend.scripts.cli.followup_turns import promise, restart
from backend.scripts.cli.terminal import say, show_json, show_table

STATES = ("active", "held", "stopped", "completed")


@click.group(epilog=examples("followup list --state held", "followup explain 12"))
def command() -> None:
    """Follow-ups: what clients are reminded of."""


command.add_command(import_)
command.add_command(preview)
command.add_command(explain)
command.add_command(forecast)
command.add_command(promise)
command.add_command(restart)


@command.command(
    "add",
    epilog=examples(
        "followup add --company 1 --client claire@example.fr \\\n"
        "    --type invoice_unpaid --label 'Facture F-2026-012' \\\n"
        "    --amount '1 234,50' --due-date 2026-11-23"
    ),
)
@company_option(required=True)
@click.option(
    "--client",
    required=True,
    metavar="ID|ADDRESS",
    help="The client; one whose address is not there yet is made.",
)
@click.option("--type", "type_", required=True, help="quote_unanswered, invoice_unpaid, ...")
@click.option("--label", default="", help="What it is about, as the client will read it.")
@click.option("--amount", help="1234.50 or 1 234,50")
@click.option("--currency", default="EUR", show_default=True)
@click.option("--due-date", required=True, help="2026-11-23 or 23/11/2026")
@click.option("--source-type", default="", help="With --source-id: what it is in your software.")
@click.option("--source-id", default="")
@json_option
def add(
    company_id: int,
    client: str,
    type_: str,
    label: str,
    amount: str | None,
    currency: str,
    due_date: str,
    source_type: str,
    source_id: str,
    as_json: bool,
) -> None:
    """Add a follow-up. Its reminders go out by themselves when they are due."""
    from backend.app import db
    from backend.app.mail.message import Address
    from backend.app.operate.csv_file import parse_followup
    from backend.app.operate.followup_actions import add_followup
    from backend.app.store import admin_followups
    from backend.scripts.cli.installation import opened

    new = parse_followup(
        {
            "type": type_,
            "label": label,
            "amount": amount or "",
            "currency": currency,
            "due_date": due_date,
            "source_type": source_type,
            "source_id": source_id,
        }
    )
    named = _client(client)
    who = Address(named) if isinstance(named, str) else named
    with opened() as installation:
        followup_id = db.write(add_followup, company_id, who, new, db.utc_now())
        row = db.read(admin_followups.load_followup_row, company_id, followup_id)
        lacking = _lacking(followup_id, installation.settings.documents_dir)
    if as_json:
        show_json(row)
    else:
        words = " ".join(filter(None, (row.type, row.source_label)))
        say(f"follow-up {row.id} added: {words} for {client_of(row)}")
    if lacking:
        say(f"note: {lacking}", err=True)


def _lacking(followup_id: int, documents: Path) -> str | None:
    """What would keep its first reminder from being made, as things stand."""
    from backend.app import db
    from backend.app.errors import Refused, SettingsInvalid
    from backend.app.operate.preview import preview_step

    try:
        db.read(preview_step, None, followup_id, None, db.utc_now(), documents)
    except (Refused, SettingsInvalid) as error:
        return str(error)
    return None


def _client(text: str) -> str | int:
    """An address, or a client's number. Raises BadInput and BadParameter."""
    from backend.app.operate.fields import parse_email

    if "@" in text:
        return parse_email(text)
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise click.BadParameter("give the client's number or address", param_hint="--client")
    return int(text)


@command.command(
    "list",
    epilog=examples(
        "followup list --company 1 --state held", "followup list --client claire@example.fr --json"
    ),
)
@company_option()
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@click.option("--client", metavar="ID|ADDRESS", help="Only this client's.")
@limit_option()
@json_option
def list_(
    company_id: int | None, state: str | None, client: str | None, limit: int, as_json: bool
) -> None:
    """List follow-ups."""
    from backend.app import db
    from backend.app.store import admin_followups
    from backend.scripts.cli.installation import opened

    who = None if client is None else _client(client)
    with opened():
        rows = db.read(admin_followups.list_followups, company_id, state, limit, who)
    if as_json:
        show_json(rows)
    else:
        show_table(
            ("ID", "STATE", "STEPS", "DUE", "TYPE", "LABEL", "CLIENT", "REASON"),
            [
                (
                    row.id,
                    row.auto_state,
                    row.steps_sent,
                    row.due_date or "-",
                    row.type,
                    row.source_label,
                    client_of(row),
                    row.auto_reason,
                )
                for row in rows
            ],
            whole=("REASON",),
        )
    tell_if_cut(len(rows), limit)


@command.command(
    "release",
    epilog=examples(
        "followup release 12",
        "followup release 12 14 --by Léa",
        "followup release --company 1 --reason too_old",
        "followup release --company 1 --reason too_old \\\n    --type invoice_unpaid",
    ),
)
@click.argument("followup_ids", metavar="[ID]...", type=ROW_ID, nargs=-1)
@company_option()
@click.option("--reason", metavar="CODE", help="All of the company's that are held for this.")
@click.option("--type", "kind", metavar="TYPE", help="With --reason: of this type alone.")
@by_option()
def release(
    followup_ids: tuple[int, ...],
    company_id: int | None,
    reason: str | None,
    kind: str | None,
    by: str,
) -> None:
    """Set held follow-ups going again; the next run decides anew.

    --reason too_old is your word on those too that the next run would hold for it, as `followup
    forecast` counts them.

    Your word lets the next step go out although it is old, or one of too many, or came back before.
    Anything else that still holds it holds it again. See `followup explain ID`.
    """
    from backend.app import db
    from backend.app.errors import BadInput
    from backend.app.followups.reasons import ReasonCode
    from backend.app.operate.fields import parse_type
    from backend.app.operate.followup_actions import approve_ahead, release_followup
    from backend.app.operate.forecast import list_too_old
    from backend.app.store import admin_followups
    from backend.scripts.cli.installation import opened

    if bool(followup_ids) == bool(reason):
        raise click.UsageError("give either IDs or --reason")
    if reason is None and kind:
        raise click.UsageError("--type needs --reason")
    kind = parse_type(kind) if kind else None
    with opened() as installation:
        if reason is None:
            _let_go(release_followup, followup_ids, company_id, by)
            return
        if company_id is None:
            raise click.UsageError("--reason needs --company")
        held = db.read(admin_followups.list_held_for, company_id, reason, kind)
        ahead: list[int] = []
        if reason == "too_old":
            documents = installation.settings.documents_dir
            ahead = list(list_too_old(company_id, db.utc_now(), documents, kind))
        if not held and not ahead:
            if reason not in {code.value for code in ReasonCode}:
                raise BadInput(
                    f"{reason!r} is no reason code; see the last column of: "
                    f"manage.py followup list --company {company_id} --state held"
                )
            say(f"no follow-up of company {company_id} is held for {reason}")
        _let_go(release_followup, held, company_id, by)
        _let_go(approve_ahead, ahead, company_id, by)


def _let_go(
    action: Callable[..., None], chosen: Sequence[int], company_id: int | None, by: str
) -> None:
    """One transaction each; what is refused stops no other."""
    from backend.app import db
    from backend.app.errors import Refused

    refused = 0
    for followup_id in chosen:
        try:
            db.write(action, company_id, followup_id, db.utc_now(), by)
        except Refused as refusal:
            refused += 1
            say(str(refusal), err=True)
        else:
            say(f"follow-up {followup_id} is active; the next run looks at it")
    if refused:
        fail(f"{refused} of {len(chosen)} follow-ups could not be released")


@command.command("postpone", epilog=examples("followup postpone 12 --until 2026-12-15"))
@id_argument("followup_id")
@click.option("--until", required=True, help="No reminder before this day: 2026-12-15, 15/12/2026")
@company_option()
@by_option()
def postpone(followup_id: int, until: str, company_id: int | None, by: str) -> None:
    """Send nothing before a day. A held follow-up is released, to go on then."""
    from backend.app import db
    from backend.app.operate.fields import parse_day_to_come
    from backend.app.operate.followup_actions import postpone_followup
    from backend.scripts.cli.installation import opened

    day = parse_day_to_come(until, db.utc_now())
    with opened():
        db.write(postpone_followup, company_id, followup_id, day, db.utc_now(), by)
    say(f"follow-up {followup_id} sends nothing before {day.isoformat()}")


@command.command("stop", epilog=examples("followup stop 12"))
@id_argument("followup_id")
@company_option()
@by_option()
def stop(followup_id: int, company_id: int | None, by: str) -> None:
    """Send no further reminder of a follow-up."""
    from backend.app import db
    from backend.app.operate.followup_actions import stop_followup
    from backend.scripts.cli.installation import opened

    with opened():
        going_out = db.write(stop_followup, company_id, followup_id, db.utc_now(), by)
    say(f"follow-up {followup_id} is stopped")
    if going_out is not None:
        say(f"step {going_out} is going out at this moment and cannot be called back")
