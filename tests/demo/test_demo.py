"""`make demo`: it tells its story to the end, checks what it shows, and leaves the rest alone."""

from __future__ import annotations

import io
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from backend.app.config import ROOT
from backend.demo import story
from backend.demo.__main__ import conclude, main
from backend.demo.paper import WIDTH, Paper
from backend.demo.workplace import FOLLOWUPS, StoryBroken, Workplace, emptied
from backend.scripts import send_automatic_followups, sync_emails_periodic
from backend.scripts.cli.root import command as manage

DEMO = """
import sys
from pathlib import Path
from backend.demo.__main__ import main
sys.exit(main(Path(sys.argv[1])))
"""
SECONDS = 300


def demo(directory: Path) -> list[str]:
    return [sys.executable, "-c", DEMO, str(directory)]


def half_a_demo(directory: Path, outside: Path) -> None:
    """What a killed one leaves, and a link to somebody else's files."""
    (directory / "attachments" / "1").mkdir(parents=True)
    (directory / "attachments" / "1" / "left").write_text("left")
    (directory / "relance.db").write_text("half a database")
    (directory / "email_sync.log").write_text("timeout of an earlier demo")
    (directory / "link").symlink_to(outside)


def test_the_story_comes_out_as_told_after_a_killed_demo(tmp_path: Path) -> None:
    directory, outside = tmp_path / "run with a space", tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.txt").write_text("kept")
    half_a_demo(directory, outside)
    done = subprocess.run(
        demo(directory), cwd=ROOT, capture_output=True, encoding="utf-8", timeout=SECONDS
    )
    assert done.stderr == ""
    assert done.returncode == 0, done.stdout
    assert_readable(done.stdout.replace(str(directory), ""))
    assert_told(" ".join(done.stdout.split()))
    assert not (directory / "link").is_symlink()
    assert not (directory / "attachments" / "1" / "left").exists()
    assert "earlier demo" not in (directory / "email_sync.log").read_text()
    assert (directory / ".env").stat().st_mode & 0o077 == 0  # it holds the key
    assert (outside / "kept.txt").read_text() == "kept"


def assert_readable(text: str) -> None:
    assert [line for line in text.splitlines() if len(line) > WIDTH] == []
    assert all(char.isprintable() or char == "\n" for char in text)
    assert "Traceback" not in text


def assert_told(text: str) -> None:
    for words in (
        "ok Paul Marchand gets no more reminders: he has answered",
        "ok Garage Benali is not bothered: it is paid",
        "ok Cabinet Roche is not bothered: not due yet",
        "ok Sophie Nguyen: an absence notice is not taken for an answer",
        "ok Imprimerie Caron: a returned mail is not taken for an answer",
        "ok Hôtel des Glycines has 2 reminders in the mailbox",
        "Toutes mes excuses, cette facture m'avait échappé.",
        "croquis bibliothèque.png",
        "claims hold",
    ):
        assert words in text


def test_a_second_demo_refuses_while_one_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sigterm: None
) -> None:
    with emptied(tmp_path):
        assert main(tmp_path) == 1
    assert "another demo is running" in capsys.readouterr().out


def test_a_stopped_demo_ends_quietly_and_the_next_one_can_start(tmp_path: Path) -> None:
    with subprocess.Popen(
        demo(tmp_path), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()  # it tells: its signal handler is in place
        process.send_signal(signal.SIGTERM)
        text, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert errors == ""
    assert text.endswith("Stopped.\n")
    with emptied(tmp_path) as place:
        assert sorted(os.listdir(place.directory)) == [".env", ".lock"]


@pytest.fixture
def sigterm() -> object:
    """Whatever main() does to this process's SIGTERM is undone."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_claim_that_fails_is_told_and_fails_the_demo(tmp_path: Path) -> None:
    stream = io.StringIO()
    paper = Paper(stream)
    paper.check(True, "Paul Marchand has exactly 1 reminder in the mailbox")
    assert conclude(paper, tmp_path, 1.0) == 0
    paper.check(False, "Garage Benali has no reminder in the mailbox", 1)
    assert conclude(paper, tmp_path, 1.0) == 1
    assert "- Garage Benali has no reminder in the mailbox (found: 1)" in stream.getvalue()


def test_a_script_that_fails_breaks_the_story_with_the_end_of_its_log(tmp_path: Path) -> None:
    with emptied(tmp_path) as place, pytest.raises(StoryBroken) as broken:
        place.run_cron(FOLLOWUPS)
    assert "exit status 78" in str(broken.value)
    assert "CREDENTIALS_KEYS is not set" in str(broken.value)


def test_a_command_that_fails_breaks_the_story_with_its_words(tmp_path: Path) -> None:
    with emptied(tmp_path) as place, pytest.raises(StoryBroken, match="CREDENTIALS_KEYS"):
        place.manage("company", "list")


def test_scripts_get_nothing_of_this_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://production.example/relance")
    environment = Workplace(tmp_path).environment
    assert sorted(environment) == ["HOME", "PATH", "RELANCE_ENV_FILE"]


def test_the_operators_grep_finds_what_is_there(tmp_path: Path) -> None:
    with emptied(tmp_path) as place:
        (tmp_path / "email_sync.log").write_text("all is well\n")
        (tmp_path / "followups_auto.log").write_text("WARNING conflict='Deadlock'\n")
        assert place.lock_trouble() == ["followups_auto.log:WARNING conflict='Deadlock'"]


@pytest.mark.parametrize("text", ["\x1b[2Jgone", "a\rb", "\u202etxt.exe"])
def test_a_mail_cannot_command_the_terminal(text: str) -> None:
    stream = io.StringIO()
    paper = Paper(stream)
    paper.letter(text)
    paper.command(f"manage.py {text}", text)
    paper.table(("A", "B"), [(text, text)])
    paper.check(False, text, text)
    paper.heading(text)
    assert all(char.isprintable() or char == "\n" for char in stream.getvalue())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({"NO_COLOR": "1"}, False)],
)
def test_colour_is_for_terminals_that_want_it(
    variables: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    terminal, pipe = Terminal(), io.StringIO()
    Paper(terminal).heading("Clients react")
    Paper(pipe).heading("Clients react")
    assert ("\x1b[" in terminal.getvalue()) is coloured
    assert pipe.getvalue() == "Clients react\n"


def own_mailbox_commands() -> list[list[str]]:
    text = story.OWN_MAILBOX.replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.startswith("python ")]
    return [shlex.split(line)[1:] for line in lines]


@pytest.mark.parametrize("words", own_mailbox_commands(), ids=lambda words: " ".join(words[:3]))
def test_the_commands_for_ones_own_mailbox_are_understood(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, arguments = words[0], words[1:]
    assert (ROOT / script).is_file()
    monkeypatch.chdir(tmp_path)
    (tmp_path / story.CSV_FILE).touch()
    if script.endswith("manage.py"):
        parse_as_manage_does(arguments)
    elif script.endswith("sync_emails_periodic.py"):
        sync_emails_periodic.read_arguments(arguments)
    else:
        send_automatic_followups.read_arguments(arguments)


def parse_as_manage_does(arguments: list[str]) -> None:
    """Raises click.UsageError for a command or an option that is not there."""
    command: click.Command = manage
    while isinstance(command, click.Group):
        name = arguments.pop(0)
        found = command.get_command(click.Context(command), name)
        assert found is not None, name
        command = found
    with command.make_context("manage.py", arguments):
        pass
