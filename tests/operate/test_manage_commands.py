"""What holds for every command: help with examples, and a start that imports little."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import click
import pytest
from click.testing import CliRunner

from backend.app.config import ROOT
from backend.scripts.cli import terminal
from backend.scripts.cli.root import COMMANDS, command
from tests.operate.conftest import Manage

LISTING = {"list", "show", "explain", "status", "check", "import"}


def all_commands(
    group: click.Group = command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        yield (*path, name), found
        if isinstance(found, click.Group):
            yield from all_commands(found, (*path, name))


EVERY = list(all_commands())


def test_every_command_is_there() -> None:
    leaves = {" ".join(path) for path, found in EVERY if not isinstance(found, click.Group)}
    assert leaves == {
        "init",
        "key new",
        "key rotate",
        "company add",
        "company list",
        "mailbox add",
        "mailbox list",
        "mailbox set",
        "mailbox authorize",
        "mailbox check",
        "client add",
        "client erase",
        "client export",
        "client list",
        "client set",
        "sms add",
        "sms list",
        "sms set",
        "sms check",
        "followup add",
        "followup list",
        "followup import",
        "followup explain",
        "followup release",
        "followup stop",
        "followup preview",
        "followup postpone",
        "followup forecast",
        "followup promise",
        "followup restart",
        "settings show",
        "settings set",
        "settings check",
        "outbox list",
        "outbox show",
        "outbox sent",
        "outbox resend",
        "conversation list",
        "conversation show",
        "conversation fetch",
        "quarantine list",
        "quarantine show",
        "quarantine retry",
        "quarantine drop",
        "mail show",
        "cron show",
        "cron install",
        "cron remove",
        "systemd print",
        "systemd write",
        "logrotate print",
        "restored",
        "doctor",
        "report",
        "status",
    }


@pytest.mark.parametrize("path", [path for path, _ in EVERY], ids=" ".join)
def test_every_help_has_an_example_of_that_very_command_and_fits_80_columns(
    path: tuple[str, ...],
) -> None:
    text = CliRunner().invoke(command, [*path, "--help"]).stdout
    examples = text.partition("Examples:\n")[2]
    assert f"manage.py {' '.join(path)}" in examples
    assert max(len(line) for line in text.splitlines()) <= 80


@pytest.mark.parametrize("path", [path for path, _ in EVERY], ids=" ".join)
def test_no_example_lacks_what_its_command_asks_for(path: tuple[str, ...]) -> None:
    text = CliRunner().invoke(command, [*path, "--help"]).stdout
    lines = text.partition("Examples:\n")[2].partition("\n\n")[0].replace("\\\n", "")
    examples = [shlex.split(re.split("[<>]", line)[0])[1:] for line in lines.splitlines()]
    assert examples
    for words in examples:
        found: click.Command = command
        while isinstance(found, click.Group):
            within = found.get_command(click.Context(found), words.pop(0))
            assert within is not None, text
            found = within
        try:
            found.make_context("manage.py", words)
        except (click.MissingParameter, click.NoSuchOption) as error:
            pytest.fail(f"{' '.join(path)}: {error.format_message()}")
        except click.BadParameter:
            pass  # a file that is not here


def test_an_id_is_told_apart_without_its_bounds() -> None:
    for wrong in ("abc", "0", str(2**63)):
        told = CliRunner().invoke(command, ["followup", "explain", wrong])
        assert (told.exit_code, f"'{wrong}' is not an id" in told.stderr) == (2, True), told.stderr
    assert (
        "<=x<="
        not in CliRunner()
        .invoke(command, ["followup", "list", "--help"])
        .stdout.partition("--limit")[0]
    )


@pytest.mark.parametrize("found", [found for path, found in EVERY if path[-1] in LISTING])
def test_whatever_lists_or_shows_has_json(found: click.Command) -> None:
    assert "--json" in {option for each in found.params for option in each.opts}


def test_no_command_takes_a_password_as_an_argument() -> None:
    for _, found in EVERY:
        for each in found.params:
            if "password" in (each.name or ""):
                assert isinstance(each, click.Option)
                assert each.is_flag
            assert each.envvar in (None, "RELANCE_ENV_FILE")


def test_help_starts_without_the_heavy_libraries() -> None:
    heavy = ["sqlalchemy", "alembic", "babel", "cryptography", "imapclient", "pydantic", "lxml"]
    code = (
        "import sys; from backend.scripts import manage\n"
        "try: manage.command(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_mistake_of_ours_is_told_apart_from_a_refusal() -> None:
    code = (
        "from backend.scripts import manage\n"
        "def broken(**_): raise ZeroDivisionError('ours')\n"
        "manage.command = broken\n"
        "manage.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, "ZeroDivisionError: ours" in done.stderr) == (70, True)


def test_the_table_of_commands_names_modules_that_are_there() -> None:
    for module, words in COMMANDS.values():
        assert (ROOT / "backend" / "scripts" / "cli" / f"{module}.py").is_file()
        assert words.endswith(".")


# -- text for a terminal -------------------------------------------------------------------------


def test_a_table_is_cut_to_the_terminal_and_wide_characters_count_twice(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    terminal.show_table(("ID", "SUBJECT"), [(1, "x" * 100), (22, "見積書" * 30), (3, "a\x1b[0m\n")])
    header, long, wide, hostile = capsys.readouterr().out.splitlines()
    assert header == "ID  SUBJECT"
    assert long == "1   " + "x" * 35 + "…"
    assert terminal.text_width(wide) <= 40
    assert hostile == "3   a [0m"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "-"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 d")],
)
def test_an_age_is_told_in_one_unit(seconds: float | None, words: str) -> None:
    assert terminal.age(seconds) == words


def test_json_keeps_amounts_exact_and_instants_aware() -> None:
    moment = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
    assert terminal.plain({"amount": Decimal("1234.50"), "at": (moment,)}) == {
        "amount": "1234.50",
        "at": ["2026-11-23T14:00:00+00:00"],
    }


def test_local_time_is_the_zones_own() -> None:
    moment = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
    assert terminal.local_time(moment, "Europe/Paris") == "2026-07-01 14:00"
    assert terminal.local_time(moment, "No/Where") == "2026-07-01 12:00 UTC"
    assert terminal.local_time(None) == "-"


def test_a_block_of_text_is_wrapped_and_loses_its_runs_of_empty_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "22")
    text = "\na\n\n\n\nb\x1b[0m and twenty columns more \n\n"
    assert terminal.clean_block(text, "| ") == "| a\n|\n| b [0m and twenty\n| columns more"


LISTS = [
    path
    for path, found in EVERY
    if path[-1] in {"list", "status", "report", "check"}
    and any(each.name == "company_id" for each in found.params)
    and not any(each.required for each in found.params)
]


def test_there_are_such_lists() -> None:
    assert {("client", "list"), ("followup", "list"), ("status",), ("outbox", "list")} <= set(LISTS)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_list_of_a_company_that_is_not_there_is_no_empty_list(manage: Manage) -> None:
    for path in LISTS:
        said = manage(*path, "--company", 99, status=1).stderr
        assert said == "Error: there is no company 99; see: manage.py company list\n", path
