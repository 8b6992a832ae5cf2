"""Text for a terminal: lines, tables, ages and JSON.

Much of it comes from mails and servers, so nothing that a terminal would obey is let through:
control, escape and direction-changing characters become blanks, in JSON `\\u` escapes.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import textwrap
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

GAP = "  "
NARROWEST = 10  # a column is not cut below this, even if a line wraps


def say(text: str = "", *, err: bool = False) -> None:
    """One line."""
    click.echo(clean(text), err=err)


def say_wrapped(text: str, *, before: str = "", colour: str | None = None) -> None:
    """One thing on as many lines as it needs, each below its own beginning; `before` is coloured.

    A command to be typed may be longer than a line: it is never broken inside a word.
    """
    lines = textwrap.wrap(
        clean(text),
        max(NARROWEST, screen_width() - len(before)),
        break_long_words=False,
        break_on_hyphens=False,
    )
    head = click.style(before, fg=colour) if colour else before
    for number, line in enumerate(lines or [""]):
        click.echo((head if number == 0 else " " * len(before)) + line)


def clean(text: str) -> str:
    """One line that a terminal obeys in nothing."""
    return "".join(char if char.isprintable() else " " for char in text)


def clean_block(text: str, indent: str = "") -> str:
    """Many lines, each cleaned, indented and wrapped; runs of empty ones become one."""
    width = max(NARROWEST, screen_width() - len(indent))
    lines: list[str] = []
    for line in text.strip().splitlines():
        wrapped = textwrap.wrap(clean(line), width, break_on_hyphens=False)
        if wrapped or (lines and lines[-1]):
            lines.extend(wrapped or [""])
    return "\n".join((indent + line).rstrip() for line in lines)


def screen_width() -> int:
    """Columns of the terminal; 80 where there is none. COLUMNS goes first."""
    return shutil.get_terminal_size((80, 24)).columns


def show_json(value: object) -> None:
    """Indented, keys as the records name them; ASCII, so that hostile text stays harmless."""
    click.echo(json.dumps(plain(value), indent=2))


def plain(value: object) -> Any:
    """Records to objects, instants to ISO 8601 in UTC, amounts to text, so that none is rounded."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


def show_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, whole: Collection[str] = ()
) -> None:
    """Columns as wide as their cells, the widest ones cut until a line fits the terminal.

    whole: columns that are never cut, since they are typed or looked up as they stand.
    """
    cells = [[clean("" if cell is None else str(cell)) for cell in row] for row in rows]
    widths = [
        max(text_width(line[index]) for line in [list(columns), *cells])
        for index in range(len(columns))
    ]
    screen = screen_width() - len(GAP) * (len(widths) - 1)
    cut = [index for index, name in enumerate(columns) if name not in whole]
    while sum(widths) > screen and max((widths[at] for at in cut), default=0) > NARROWEST:
        widths[max(cut, key=widths.__getitem__)] -= 1
    click.secho(_row(columns, widths), bold=True)
    for row in cells:
        click.echo(_row(row, widths))


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    return GAP.join(fit(cell, width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def fit(text: str, width: int) -> str:
    """Exactly `width` columns: padded, or cut with an ellipsis."""
    if text_width(text) <= width:
        return text + " " * (width - text_width(text))
    while text_width(text) > width - 1:
        text = text[:-1]
    return text + "…" + " " * (width - 1 - text_width(text))


def text_width(text: str) -> int:
    """Columns on a terminal: a CJK character takes two, a combining one none."""
    if text.isascii():
        return len(text)
    return sum(_char_width(char) for char in text)


def _char_width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def local_time(moment: datetime | None, zone: str | None = None) -> str:
    """`2026-11-23 14:00`, in an IANA zone or this host's; '-' for None."""
    if moment is None:
        return "-"
    try:
        local = moment.astimezone(ZoneInfo(zone) if zone else None)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a directory, such as Europe
        return f"{moment:%Y-%m-%d %H:%M} UTC"
    return f"{local:%Y-%m-%d %H:%M}"


def age(seconds: float | None) -> str:
    """`42 s`, `3 min`, `5 h`, `12 d`; '-' for None. Never more than is past."""
    if seconds is None:
        return "-"
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{int(seconds // unit)} {name}"
    return f"{int(seconds)} s"


def since(moment: datetime | None, now: datetime) -> str:
    """How long ago."""
    return "-" if moment is None else age((now - moment).total_seconds())
