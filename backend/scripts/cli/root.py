"""The table of commands."""

from __future__ import annotations

import click

from backend.app.config import is_colour_unwanted
from backend.scripts.cli.commands import LazyGroup, examples

COMMANDS = {
    "init": ("init", "Set up: .env with a fresh key, directories, database. Safe to run again."),
    "key": ("key", "Keys that encrypt the mailbox passwords: new, rotate."),
    "company": ("company", "Companies: add, list."),
    "settings": ("settings", "A company's rules: show, set, check."),
    "mailbox": ("mailbox", "Mailboxes: add, list, set, authorize, check."),
    "sms": ("sms", "The account for a company's text messages: add, list, set, check."),
    "client": ("client", "Clients: add, list, set, export, erase."),
    "followup": ("followup", "Follow-ups: add, import, list, forecast, explain, release and more."),
    "outbox": ("outbox", "Reminders on their way out: list, sent, resend."),
    "conversation": ("conversation", "Conversations: list, show, fetch."),
    "quarantine": ("quarantine", "Mails that could not be handled: list, show, retry, drop."),
    "mail": ("mail", "What is made of one mail in a file: show."),
    "cron": ("cron", "The two entries in your crontab: show, install, remove."),
    "systemd": ("systemd", "systemd services and timers, instead of cron: print, write."),
    "logrotate": ("logrotate", "A file that keeps the logs short: print."),
    "restored": ("restored", "After a restore: what may have gone out is held."),
    "doctor": ("doctor", "What is wrong, and what to type to mend it."),
    "report": ("report", "One HTML page: the last day and month, for looking rather than reading."),
    "status": ("status", "How everything stands, and what waits for a person."),
}


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog=examples("init", "company add 'Atelier Martin'", "status")
    + "\n\n\b\nExit status:\n"
    + "  0 done   1 refused or failed   2 wrong usage   70 internal error\n"
    + "  75 database not reachable      78 bad configuration",
)
@click.pass_context
def command(context: click.Context) -> None:
    """Relance: run an installation.

    Started as `python backend/scripts/manage.py`, from any directory; the examples say
    `manage.py` for short. Every command has --help, and --json where it lists or shows.
    """
    if is_colour_unwanted():  # without a terminal click leaves colours out by itself
        context.color = False
