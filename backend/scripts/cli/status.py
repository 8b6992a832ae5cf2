"""manage.py status"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import click

from backend.scripts.cli.commands import company_option, examples, json_option
from backend.scripts.cli.doctor import say_findings
from backend.scripts.cli.processes import is_alive
from backend.scripts.cli.terminal import (
    age,
    clean,
    local_time,
    say,
    say_wrapped,
    show_json,
    show_table,
    since,
)

if TYPE_CHECKING:
    from backend.app.operate.status import MailboxStatus, RunStatus, Status
    from backend.app.store.admin_records import MailboxRow


@click.command(epilog=examples("status", "status --company 1 --json", "status --watch 5"))
@company_option()
@click.option(
    "--watch",
    "seconds",
    type=click.FloatRange(1, 3600),
    metavar="SECONDS",
    help="Show it anew every so many seconds, until Ctrl-C.",
)
@json_option
def command(company_id: int | None, seconds: float | None, as_json: bool) -> None:
    """Say how everything stands, and what waits for a person.

    It reads the database alone, so it answers at once; `doctor` tries the mail servers too.
    """
    from backend.scripts.cli.installation import opened

    with opened():
        show(company_id, as_json)
        while seconds is not None:
            try:
                time.sleep(seconds)
            except KeyboardInterrupt:
                return
            click.clear()  # does nothing where there is no terminal
            show(company_id, as_json)


def show(company_id: int | None, as_json: bool) -> None:
    from backend.app import db
    from backend.app.operate.health.standing import standing_findings
    from backend.app.operate.status import load_status
    from backend.app.store import admin_tenants
    from backend.scripts.cli.terminal import plain

    if company_id is not None:
        db.read(admin_tenants.load_company_row, company_id)
    found = db.read(load_status, company_id, is_alive)
    to_do = standing_findings(found)
    if as_json:
        show_json({**plain(found), "findings": to_do})
        return
    say_status(found)
    _heading("What to do")
    say_findings(to_do)
    if not to_do:
        say("  nothing")


def say_status(found: Status) -> None:
    of = "all companies" if found.company_id is None else f"company {found.company_id}"
    say(f"{found.at.astimezone():%Y-%m-%d %H:%M %Z}, {of}")
    _heading("Mailboxes")
    _say_mailboxes(found.mailboxes, found.at)
    _heading("Runs (of the whole installation)")
    for run in found.runs:
        _say_run(run, found.at)
    if not found.runs:
        say("  none yet; see: manage.py cron install (or crontab.example)")
    _heading("Mails met")
    total = sum(found.ledger.values())
    say(f"  {total} = {_counts(found.ledger, ' + ', every=True)}")
    if found.left:
        say(f"  {found.left} older ones stay on the servers; see: manage.py mailbox set --help")
    if found.quarantine:
        say(f"  {found.quarantine} in quarantine now; see: manage.py quarantine list")
    for storm in found.storms:
        when = local_time(storm.hour)
        say(f"  storm: {storm.mails} mails of {clean(storm.sender)} in the hour from {when}")
    _heading("Follow-ups")
    say(f"  {_counts(found.followups)}")
    for held in found.held:
        say_wrapped(f"{held.count} {held.reason} ({held.meaning})", before="  held: ")
    if found.held:
        say("  see: manage.py followup list --state held; then followup release ID, or stop ID")
    _heading("Outbox")
    say(f"  {_counts(found.outbox)}")
    _say_uncertain(found)


def _heading(text: str) -> None:
    click.echo()
    click.secho(text, bold=True)


def _counts(counts: Mapping[str, int], joint: str = ", ", *, every: bool = False) -> str:
    words = [f"{number} {name}" for name, number in counts.items() if number or every]
    return joint.join(words) or "none"


def _say_mailboxes(mailboxes: list[MailboxStatus], now: datetime) -> None:
    if not mailboxes:
        say("  none yet; see: manage.py mailbox add --help")
        return
    show_table(
        ("ID", "ADDRESS", "STATE", "LAG", "NEWEST", "AGAIN IN", "AUDIT", "LEASE"),
        [
            (
                each.mailbox.id,
                each.mailbox.email,
                each.health,
                age(each.lag_seconds),
                since(each.newest_mail_at, now),
                _again_in(each.mailbox, now),
                _audit(each.mailbox, now),
                each.mailbox.lease_owner or "-",
            )
            for each in mailboxes
        ],
    )
    for each in mailboxes:
        row = each.mailbox
        if row.error is not None:
            say_wrapped(
                f"{row.error_kind} for {since(row.error_since, now)}, {row.failures} failures, "
                f"again at {local_time(row.next_sync_at)}: {row.error}",
                before=f"  {row.id}: ",
                colour="red",
            )


def _again_in(row: MailboxRow, now: datetime) -> str:
    """The rest of a back-off."""
    if not row.is_active or not row.failures or row.next_sync_at is None or row.next_sync_at < now:
        return "-"
    return age((row.next_sync_at - now).total_seconds())


def _audit(row: MailboxRow, now: datetime) -> str:
    if row.audit is None:
        return "-"
    return f"{row.audit.get('missing', 0)} missing, {since(row.audited_at, now)}"


def _say_run(status: RunStatus, now: datetime) -> None:
    run, words = status.run, status.state.replace("_", " ")
    if run.finished_at is not None:
        words += f", exit status {run.exit_status}"
    colour = "red" if run.exit_status or status.state == "never_finished" else "green"
    counts = " ".join(f"{name}={number}" for name, number in run.counts.items())
    where = f" (host {run.host}, pid {run.pid})" if run.finished_at is None else ""
    say_wrapped(
        f"started {since(run.started_at, now)} ago, {words}{where}  {counts}",
        before=f"  {run.script:<10} ",
        colour=colour,
    )


def _say_uncertain(found: Status) -> None:
    if not found.uncertain:
        return
    say("  These may have gone out, or not; they are never sent again by themselves:")
    for each in found.uncertain:
        mail = each.outbox
        word = "no proof came" if mail.needs_person else "a proof may still come"
        more = f" and {len(each.with_followups)} more" if each.with_followups else ""
        ago = since(mail.sending_at, found.at)
        say_wrapped(
            f"step {mail.step}{more} to {mail.recipient}, {ago} ago; {word}",
            before=f"  {mail.id}: ",
        )
        say(f"     it arrived: {each.if_it_arrived}   it did not: {each.if_it_did_not}")
