"""manage.py followup explain"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import click

from backend.scripts.cli.commands import company_option, examples, id_argument, json_option
from backend.scripts.cli.terminal import local_time, say, say_wrapped, show_json

if TYPE_CHECKING:
    from backend.app.operate.explain import Explanation, Verdict
    from backend.app.store.admin_records import FollowupRow

# Facts that are true of nearly every follow-up, so that only their absence says something.
USUALLY = {
    "auto_enabled",
    "auto_stop_on_response",
    "auto_stop_on_paid",
    "auto_stop_on_refused",
    "has_address",
}
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")


@click.command("explain", epilog=examples("followup explain 12", "followup explain 12 --json"))
@id_argument("followup_id")
@company_option()
@json_option
def explain(followup_id: int, company_id: int | None, as_json: bool) -> None:
    """Say where a follow-up stands, why, and what happens next. Times are the company's."""
    from backend.app import db
    from backend.app.operate.explain import explain_followup
    from backend.scripts.cli.installation import opened

    with opened() as installation:
        documents = installation.settings.documents_dir
        explanation = db.read(explain_followup, company_id, followup_id, db.utc_now(), documents)
    if as_json:
        show_json(explanation)
    else:
        _say_explanation(explanation)


def _say_explanation(found: Explanation) -> None:
    row, zone = found.followup, found.time_zone
    say(f"follow-up {row.id}: {row.type} {row.source_label}, due {row.due_date or 'never'}")
    say(f"  client    {client_of(row)}" + (f" <{row.client_email}>" if row.client_name else ""))
    reason = f": {row.auto_reason} ({found.reason_meaning})" if row.auto_reason else ""
    say(f"  state     {row.auto_state}{reason}; status {row.status}")
    last = f", the last on {local_time(row.last_step_at, zone)}" if row.last_step_at else ""
    say(f"  steps     {row.steps_sent} sent{last}")
    if found.verdict is not None:
        if row.auto_state == "active":
            say(f"  next look {local_time(row.next_action_at, zone)}")
        say(f"  now       {_verdict(found.verdict, zone, held=row.auto_state == 'held')}")
    for name, value in found.facts.items():
        say(f"  {name:<9} {_shown(value, zone)}")
    if found.outbox:
        say("outbox")
        for mail in found.outbox:
            error = f": {mail.error}" if mail.error else ""
            carrier = f" in the mail of {mail.carried_by}" if mail.carried_by else ""
            say(
                f"  {mail.id}  step {mail.step} to {mail.recipient} is {mail.state}{carrier}{error}"
            )
    if found.history:
        say("history")
        for line in found.history:
            step = f"step {line.step} " if line.step else ""  # none had gone out
            words = f"  {local_time(line.sent_at, zone)}  {step}{line.status}"
            by = f" by {line.sent_by_name}" if line.sent_by_name else ""
            say(words + (f": {line.reason}" if line.reason else "") + by)
            if line.facts:
                say_wrapped(_facts(line.facts, zone), before="      on: ")


def _facts(facts: Mapping[str, object], zone: str) -> str:
    """Without what is so for nearly every follow-up; --json shows all."""
    return ", ".join(
        f"{name} {_fact(value, zone)}"
        for name, value in facts.items()
        if not (name in USUALLY and value is True)
    )


def _fact(value: object, zone: str) -> str:
    """Instants are kept as text in UTC (facts.snapshot), and shown as all others here."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) and INSTANT.fullmatch(value):
        return local_time(datetime.fromisoformat(value), zone)
    return str(value)


def _shown(value: object, zone: str) -> str:
    return local_time(value, zone) if isinstance(value, datetime) else str(value)


def _verdict(verdict: Verdict, zone: str, *, held: bool) -> str:
    after = "once released, " if held else ""
    if verdict.decision == "send":
        others = ", ".join(map(str, verdict.with_followups))
        beside = f", in one mail with follow-up {others}" if others else ""
        return f"{after}a run would send step {verdict.step}{beside}"
    until = f" until {local_time(verdict.until, zone)}" if verdict.until else ""
    detail = f", {verdict.detail}" if verdict.detail else ""
    why = f"{verdict.reason} ({verdict.meaning}{detail})"
    return f"{after}a run would {verdict.decision}{until}: {why}"


def client_of(row: FollowupRow) -> str:
    return row.client_name or row.client_email or f"client {row.client_id}"
