"""manage.py systemd"""

from __future__ import annotations

from pathlib import Path

import click

from backend.app.errors import ConfigurationError
from backend.scripts.cli.commands import examples, login_name
from backend.scripts.cli.cron import here
from backend.scripts.cli.terminal import say

START = "systemctl daemon-reload; systemctl enable --now relance-sync.timer relance-followups.timer"
user_option = click.option(
    "--user", default=login_name, metavar="NAME", help="Who runs them.  [default: your login]"
)


@click.group(epilog=examples("systemd print", "systemd write /etc/systemd/system --user relance"))
def command() -> None:
    """systemd services and timers, instead of the crontab: print, write."""


@command.command("print", epilog=examples("systemd print", "systemd print --user relance"))
@user_option
def print_(user: str) -> None:
    """Print the four units. Changes nothing."""
    for name, text in made(user).items():
        click.echo(f"# ----- {name}\n{text}")


@command.command("write", epilog=examples("systemd write /etc/systemd/system --user relance"))
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@user_option
def write(directory: Path, user: str) -> None:
    """Write the four units into a directory, over earlier ones, and say how to start them."""
    for name, text in made(user).items():
        try:
            (directory / name).write_text(text)
        except OSError as error:
            raise ConfigurationError(f"{directory / name}: {error.strerror}") from error
        say(str(directory / name))
    say(f"next:  {START}")


def made(user: str) -> dict[str, str]:
    from backend.app.config import load_monitoring, load_settings
    from backend.app.operate.install import directories
    from backend.app.operate.units import units

    metrics = load_monitoring().metrics_dir
    writable = [str(each) for each in directories(load_settings(key_needed=False))]
    # "-": the scripts run without it (systemd.exec(5), ReadWritePaths).
    return units(here(), user, [*writable, *([f"-{metrics}"] if metrics else [])])
