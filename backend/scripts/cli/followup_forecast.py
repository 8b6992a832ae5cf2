"""manage.py followup forecast"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from backend.scripts.cli.commands import company_option, examples, json_option
from backend.scripts.cli.terminal import local_time, say, show_json, show_table

if TYPE_CHECKING:
    from backend.app.operate.forecast import Forecast, Outlook


@click.command(
    "forecast",
    epilog=examples("followup forecast --company 1", "followup forecast --company 1 --json"),
)
@company_option(required=True)
@json_option
def forecast(company_id: int, as_json: bool) -> None:
    """Say what a company's next run would send, and what it would hold. Nothing is sent.

    For the day on which reminders are switched on: old follow-ups are held as too_old until you say
    that they still should go. As if the mailboxes had just been read, at the next hour at which the
    company writes. What goes out in one mail (`group`) is counted as if one went and the rest
    waited.
    """
    from backend.app import db
    from backend.app.operate import forecast as operate
    from backend.scripts.cli.installation import opened

    with opened() as installation:
        documents = installation.settings.documents_dir
        found = operate.forecast(company_id, db.utc_now(), documents)
    if as_json:
        show_json(found)
    else:
        _say(found)


def _say(found: Forecast) -> None:
    say(f"company {found.company_id}, the run of {local_time(found.at, found.time_zone)}")
    rows = [_row(each.type, each) for each in found.types]
    if len(rows) > 1:
        rows.append(_row("all", _total(found.types)))
    show_table(("TYPE", "GO OUT", "TOO OLD", "HELD", "WAIT", "END"), rows)
    total = _total(found.types)
    for word, reasons in (("held", total.held), ("wait", total.waiting), ("end", total.stopped)):
        if reasons:
            parts = ", ".join(f"{reason} {number}" for reason, number in reasons.most_common())
            say(f"{word}: {parts}")
    if found.more:
        say("there are more; these are the ones that wait longest")
    if total.too_old:
        say("let the old ones go all the same, all or one type of them, or stop them one by one:")
        command = f"  manage.py followup release --company {found.company_id} --reason too_old"
        say(command)
        for each in found.types:
            if each.too_old:
                say(f"{command} --type {each.type}")
        say("  manage.py followup stop ID")


def _row(name: str, outlook: Outlook) -> tuple[object, ...]:
    parts = (outlook.held, outlook.waiting, outlook.stopped)
    return (name, outlook.send, outlook.too_old, *(each.total() for each in parts))


def _total(outlooks: list[Outlook]) -> Outlook:
    from backend.app.operate.forecast import Outlook

    total = Outlook("all")
    for each in outlooks:
        total.send += each.send
        total.too_old += each.too_old
        for name in ("held", "waiting", "stopped"):
            counter: Counter[str] = getattr(total, name)
            counter.update(getattr(each, name))
    return total
