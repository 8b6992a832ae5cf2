"""docs/reference.md, made from the code, so that it cannot say anything else.

python -m tests.reference           write it
python -m tests.reference --check   exit status 1 when it is not what the code says
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from enum import StrEnum

import click
import sqlalchemy as sa

from backend.app import errors, models
from backend.app.config import ROOT
from backend.app.followups.reasons import ReasonCode
from backend.app.models import Base
from backend.app.operate.report.figures import RunFate
from backend.app.operate.report.funnel import Outcome
from backend.app.operate.status import MailboxHealth, RunState
from backend.scripts.cli.root import command

FILE = ROOT / "docs" / "reference.md"
HEAD = """\
# Reference

Made from the code by `python -m tests.reference`; a test fails when the two differ. How a company's
own rules are written stands in [settings.md](settings.md).

[Commands](#commands) · [Exit statuses](#exit-statuses) · [Settings](#settings) ·
[Reason codes](#reason-codes) · [States](#states) · [Tables](#tables)
"""
# Of whole runs: what a script's exit status says (errors.py has the numbers).
EXITS = {
    errors.EXIT_DONE: "done; also when other runs hold everything",
    errors.EXIT_SOME_FAILED: "some mailboxes, mails or reminders failed; "
    "a flag names what is not there; manage.py: refused",
    2: "wrong flags or values",
    errors.EXIT_INTERNAL: "internal error; the log holds the traceback",
    errors.EXIT_DATABASE_UNREACHABLE: "the database does not answer",
    errors.EXIT_CONFIGURATION: "bad configuration: a setting, the key, a missing migration",
}


def reference() -> str:
    parts = (HEAD, commands(), exits(), settings(), reasons(), states(), tables())
    return "\n".join(parts)


def commands() -> str:
    rows = [
        (f"`manage.py {name}`", _first_line(each.help), _options(each))
        for name, each in _leaves(command, ())
    ]
    return f"## Commands\n\n{_table(('command', 'what it does', 'options'), rows)}"


def _leaves(group: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(group, click.Group):
        yield " ".join(path), group
        return
    with click.Context(group) as context:
        for name in group.list_commands(context):
            found = group.get_command(context, name)
            assert found is not None
            yield from _leaves(found, (*path, name))


def _options(leaf: click.Command) -> str:
    names = [
        each.opts[0] if isinstance(each, click.Option) else each.make_metavar(click.Context(leaf))
        for each in leaf.params
    ]
    return " ".join(f"`{name}`" for name in names)


def exits() -> str:
    rows = [(str(number), words) for number, words in EXITS.items()]
    return f"## Exit statuses\n\n{_table(('status', 'of both scripts, and of manage.py'), rows)}"


def settings() -> str:
    """Each paragraph of .env.example that ends in a setting."""
    rows = []
    words: list[str] = []
    for line in (ROOT / ".env.example").read_text().splitlines():
        if found := re.match(r"#?([A-Z][A-Z0-9_]+)=(.*)", line):
            name, default = found.groups()
            rows.append((f"`{name}`", f"`{default}`" if default else "", " ".join(words)))
            continue
        if not line or line.startswith("# ---"):
            words = []
        else:
            words.append(line.removeprefix("#").strip())
    words_of = "From the environment, then from `.env`; see `.env.example`.\n\n"
    return f"## Settings\n\n{words_of}{_table(('setting', 'default', 'meaning'), rows)}"


def reasons() -> str:
    rows = [(f"`{each.value}`", each.meaning) for each in ReasonCode]
    words = (
        "Why a reminder goes, waits, is held or stops; `manage.py followup explain ID` says it.\n"
    )
    return f"## Reason codes\n\n{words}\n{_table(('code', 'meaning'), rows)}"


def states() -> str:
    kinds = [each for each in vars(models).values() if _is_enumeration(each)]
    kinds += [MailboxHealth, RunState, RunFate, Outcome]
    sections = []
    for kind in kinds:
        rows = [(f"`{value}`", words) for value, words in _members(kind)]
        words = _first_line(kind.__doc__)
        sections.append(f"**{kind.__name__}**: {words}\n\n{_table(('value', 'meaning'), rows)}")
    return "## States\n\n" + "\n".join(sections)


def _is_enumeration(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, StrEnum) and value is not StrEnum


def _members(kind: type[StrEnum]) -> Iterator[tuple[str, str]]:
    """Values with the words that stand behind them in the source."""
    source = inspect.getsource(kind)
    for member in kind:
        found = re.search(rf"^\s+{member.name} = .*?(?:#\s*(.*))?$", source, re.MULTILINE)
        yield member.value, (found and found.group(1)) or ""


def tables() -> str:
    sections = []
    mappers = sorted(Base.registry.mappers, key=lambda each: each.local_table.name)
    for mapper in mappers:
        table = mapper.local_table
        words = inspect.cleandoc(mapper.class_.__doc__ or "").strip()
        rows = [(f"`{each.name}`", _type(each), _key(each)) for each in table.columns]
        text = f"```\n{words}\n```\n\n" if "\n" in words else f"{words}\n\n"
        listed = _table(("column", "type", "key"), rows)
        sections.append(f"### {table.name}\n\n{text}{listed}")
    return "## Tables\n\n" + "\n".join(sections)


def _type(column: sa.Column[object]) -> str:
    if type(column.type).__name__ == "UtcDateTime":
        words = "instant (UTC)"
    else:
        words = str(column.type.compile()).lower()
    return words + (", or NULL" if column.nullable else "")


def _key(column: sa.Column[object]) -> str:
    words = ["primary"] if column.primary_key else []
    words += sorted({f"→ {each.column.table.name}" for each in column.foreign_keys})
    return ", ".join(words)


def _first_line(text: str | None) -> str:
    """The first paragraph, in one line."""
    paragraph = inspect.cleandoc(text or "").split("\n\n")[0]
    return " ".join(paragraph.split())


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "".join(f"| {' | '.join(_cell(each) for each in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").strip()


def main(arguments: list[str]) -> int:
    made = reference()
    if "--check" in arguments:
        return int(FILE.read_text(encoding="utf-8") != made)
    FILE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
