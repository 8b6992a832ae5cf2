"""manage.py cron"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click

from backend.app.config import ROOT, env_file_in_use, load_settings
from backend.app.errors import ConfigurationError, Refused
from backend.app.operate import crontab
from backend.scripts.cli.commands import examples, json_option
from backend.scripts.cli.terminal import say, show_json


@click.group(epilog=examples("cron show", "cron install", "cron remove"))
def command() -> None:
    """The two entries in your crontab: show, install, remove."""


STANDING = {
    "installed": "these lines are in your crontab",
    "other": "your crontab has other lines of this checkout; renew them: manage.py cron install",
    "absent": "your crontab does not have them yet: manage.py cron install",
    "no_crontab": "there is no crontab command here; see: manage.py systemd print",
}


@command.command("show", epilog=examples("cron show", "cron show --json"))
@json_option
def show(as_json: bool) -> None:
    """Print the lines, and say whether they are in your crontab. Changes nothing."""
    place = here()
    standing = how_it_stands(place)
    if as_json:
        show_json({"lines": crontab.entries(place), "standing": standing})
        return
    click.echo(crontab.block(place), nl=False)
    say(STANDING[standing], err=True)


def how_it_stands(place: crontab.Place) -> str:
    """A key of STANDING."""
    if shutil.which("crontab") is None:
        return "no_crontab"
    found = read_crontab()
    if crontab.is_installed(found, place):
        return "installed"
    return "other" if crontab.holds_block(found, place.checkout) else "absent"


@command.command("install", epilog=examples("cron install", "cron install --yes"))
@click.option("--yes", is_flag=True, help="Do not ask.")
def install(yes: bool) -> None:
    """Put the two entries into your crontab; all other lines stay as they are.

    The lines are shown first. Safe to run again: lines of this checkout are replaced.
    """
    place = here()
    require_settings_in_file()
    before = read_crontab()
    click.echo(crontab.block(place), nl=False)
    if crontab.is_installed(before, place):
        say("your crontab has these lines already")
        return
    if not yes:
        click.confirm("Put these lines into your crontab?", abort=True)
    place.logs.mkdir(parents=True, exist_ok=True)
    write_crontab(crontab.with_block(before, place))
    say("installed; within a minute: tail -f backend/logs/email_sync.log")


@command.command("remove", epilog=examples("cron remove"))
def remove() -> None:
    """Take the two entries out of your crontab again; all other lines stay as they are."""
    before = read_crontab()
    after = crontab.without_block(before, ROOT)
    if after == before:
        say("your crontab has no lines of this checkout")
        return
    write_crontab(after)
    say("removed; a run that goes on now ends by itself")


def here() -> crontab.Place:
    """This checkout, and the Python that runs this command."""
    env_file = env_file_in_use()
    own = None if env_file == ROOT / ".env" else env_file.absolute()
    # Not resolved: .venv/bin/python is a link, and only by that name it finds its packages.
    return crontab.Place(ROOT, Path(sys.executable).absolute(), own)


def require_settings_in_file() -> None:
    """Cron hands none of this shell's variables on. Raises ConfigurationError."""
    load_settings()  # what is wrong here too is told in its own words
    try:
        load_settings({}, env_file=env_file_in_use())
    except ConfigurationError as error:
        raise ConfigurationError(
            f"cron does not see this shell's environment, and without it: {error}"
        ) from error


def read_crontab() -> str:
    """The user's crontab, '' without one. Raises Refused."""
    done = _crontab("-l")
    if done.returncode == 0:
        return os.fsdecode(done.stdout)
    if b"no crontab for" in done.stderr:
        return ""
    raise Refused(f"crontab -l: {_said(done)}")


def write_crontab(text: str) -> None:
    """Raises Refused."""
    done = _crontab("-", text) if text else _crontab("-r")
    if done.returncode:
        raise Refused(f"crontab: {_said(done)}")


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    return done.stderr.decode("utf-8", "replace").strip()


def _crontab(argument: str, text: str = "") -> subprocess.CompletedProcess[bytes]:
    """In bytes: a crontab need be no UTF-8, and its line ends are not ours to change."""
    program = shutil.which("crontab")
    if program is None:
        raise Refused("there is no crontab command here: apt install cron, or systemd print")
    return subprocess.run(  # noqa: S603 (a fixed argument to what PATH calls crontab)
        [program, argument], input=os.fsencode(text), capture_output=True, check=False
    )
