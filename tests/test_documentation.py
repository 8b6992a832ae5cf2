"""What the documentation names is there: links, files, commands; and both READMEs say the same."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from backend.app.config import ROOT
from backend.scripts.cli.root import command
from tests import reference

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
# Paths of the checkout, as they are named in running text.
PATH = re.compile(r"`((?:backend|docs|tests|alembic|\.ci)/[\w./-]+)`")
# One test of a file: `tests/test_db.py::test_a_transaction_...`
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
IN_ARGUMENTS = re.compile(r"ARGS=\"([^\"]*)\"")
MANAGE = re.compile(r"manage\.py ((?:[a-z-]+ ?)+)((?:--[a-z-]+)?)")
MAKE = re.compile(r"\bmake ([a-z-]+)")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), target
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_named_file_is_there(page: Path) -> None:
    for path in PATH.findall(page.read_text(encoding="utf-8")):
        made = path.startswith(("backend/data", "backend/logs"))  # by init and by cron
        assert made or (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_named_test_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path, name in TEST.findall(text):
        assert f"\ndef {name}(" in (ROOT / path).read_text(), f"{path}::{name}"
    for words in IN_ARGUMENTS.findall(text):
        for path in re.findall(r"tests/\S+", words):
            assert (ROOT / path).exists(), path


def code(page: Path) -> Iterator[str]:
    """What stands in code, in blocks and in lines; lines that go on are joined."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL):
        yield from block.splitlines()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def leaf(words: list[str]) -> click.Command | None:
    """The command that these words lead to, as far as they are commands; None for none."""
    found: click.Command = command
    for word in words:
        if not isinstance(found, click.Group):
            break
        nested = found.get_command(click.Context(found), word)
        if nested is None:
            return None if not re.fullmatch(r"[A-Z.…]+", word) else found
        found = nested
    return found


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_and_its_options_exist(page: Path) -> None:
    for line in code(page):
        for given in line.partition(" # ")[0].split("manage.py ")[1:]:
            try:
                words = shlex.split(given.partition("|")[0].partition(">")[0])
            except ValueError:
                words = given.split()
            words = [word.rstrip(",.;:)") for word in words]
            plain = [word for word in words if not word.startswith("-")]
            if not plain or not re.fullmatch(r"[a-z-]+", plain[0]):
                continue
            found = leaf(plain)
            assert found is not None, f"manage.py {given}"
            known = {name for option in found.params for name in (*option.opts, "--help")}
            for word in words:
                if word.startswith("--") and re.fullmatch(r"--[a-z-]+", word):
                    assert word in known | {"--help"}, f"manage.py {given}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in code(page):
        if line.startswith("make "):
            assert set(MAKE.findall(line.partition("#")[0])) <= targets, line


def test_make_help_tells_every_target() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z-]+):(.*)$", text, re.MULTILINE)
    assert [name for name, rest in targets if "## " not in rest] == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {name for name in pages if f"]({name})" not in index} == set()


def test_the_reference_is_what_the_code_says() -> None:
    made = reference.reference()
    assert reference.FILE.read_text(encoding="utf-8") == made, "run: python -m tests.reference"


def commands(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    lines = [line.partition(" # ")[0].split() for block in blocks for line in block.splitlines()]
    return [" ".join(line) for line in lines]


def test_both_readmes_have_the_same_sections_and_commands() -> None:
    english, french = ROOT / "README.md", ROOT / "README.fr.md"
    assert commands(french) == commands(english)
    heads = [
        re.findall(r"^(#+) ", page.read_text(encoding="utf-8"), re.MULTILINE)
        for page in (english, french)
    ]
    assert heads[0] == heads[1]
    statuses = [re.findall(r"^\| (\d+) \|", p.read_text(), re.MULTILINE) for p in (english, french)]
    assert statuses[0] == statuses[1] == [str(number) for number in reference.EXITS]


@pytest.mark.parametrize(
    ("line", "wrong"), [("manage.py staus", True), ("manage.py status --nope", True)]
)
def test_a_wrong_command_would_be_seen(tmp_path: Path, line: str, wrong: bool) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"`{line}`\n")
    with pytest.raises(AssertionError):
        test_every_command_and_its_options_exist(page)
