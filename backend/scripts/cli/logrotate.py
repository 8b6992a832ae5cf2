"""manage.py logrotate"""

from __future__ import annotations

import grp
import os

import click

from backend.scripts.cli.commands import examples, login_name
from backend.scripts.cli.cron import here


@click.group(epilog=examples("logrotate print"))
def command() -> None:
    """The logs kept short: print."""


@command.command("print", epilog=examples("logrotate print > /etc/logrotate.d/relance"))
@click.option(
    "--user", default=login_name, metavar="NAME", help="Whose logs.  [default: your login]"
)
@click.option("--group", default=None, metavar="NAME", help="[default: your group]")
def print_(user: str, group: str | None) -> None:
    """Print a file for /etc/logrotate.d: weekly, twelve weeks, compressed. Changes nothing."""
    from backend.app.operate.units import logrotate

    click.echo(logrotate(here(), user, group or grp.getgrgid(os.getgid()).gr_name), nl=False)
