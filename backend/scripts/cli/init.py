"""manage.py init"""

from __future__ import annotations

from pathlib import Path

import click

from backend.app.operate.install import default_env_file, install
from backend.scripts.cli.commands import database_errors, examples
from backend.scripts.cli.terminal import say

NEXT = """\
next:
  manage.py company add 'Atelier Martin'
  manage.py mailbox add --company 1 --email contact@atelier.example --imap-host ...
  manage.py cron install, or systemd print
  manage.py doctor"""


@click.command(epilog=examples("init", "init --env-file /etc/relance.env"))
@click.option(
    "--env-file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="RELANCE_ENV_FILE",
    metavar="FILE",
    help="Where settings stand, if not in .env at the top of the checkout; "
    "give RELANCE_ENV_FILE the same path for every later command.",
)
def command(env_file: Path | None) -> None:
    """Set up this installation, or what is missing of it.

    Makes .env (for its owner alone) with a fresh key, the directories, and the tables. Nothing
    that is there is overwritten.
    """
    with database_errors():
        for line in install((env_file or default_env_file()).absolute()):
            say(line)
    click.echo(NEXT)
