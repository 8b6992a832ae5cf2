"""What the demo prints: 80 columns, colour on a terminal alone, and a verdict on what it shows."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Sequence
from typing import TextIO

from backend.scripts.cli.terminal import clean, fit, text_width

WIDTH = 80
GAP = "  "
BOLD, DIM, RED, GREEN = "1", "2", "31", "32"


def wants_colour(stream: TextIO) -> bool:
    """A terminal that has not been asked to stay plain (no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not plain


class Paper:
    """Writes the story to a stream, and remembers what did not come out as told.

    Much of the text comes from mails: whatever a terminal would obey is made a blank.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._colour = wants_colour(stream)
        self._chapters = 0
        self.checks = 0
        self.failures: list[str] = []

    def title(self, text: str) -> None:
        self._line(text, BOLD)
        self._line("=" * text_width(text), BOLD)

    def chapter(self, text: str) -> None:
        self._chapters += 1
        heading = f"{self._chapters}. {text}"
        self._line()
        self._line(heading, BOLD)
        self._line("-" * text_width(heading), BOLD)

    def say(self, text: str) -> None:
        """A paragraph, with an empty line before it."""
        self._line()
        self.prose(text, indent="")

    def command(self, line: str, output: str = "") -> None:
        """A command as it would be typed, and what it answered."""
        self._line()
        for each in _wrapped_command(line):
            self._line(each, BOLD)
        for each in output.splitlines():
            self.prose(each, indent="  ", hanging="      ")

    def log(self, lines: Iterable[str]) -> None:
        """Log lines, wrapped where they are too long for the screen."""
        for each in lines:
            self.prose(each, indent="  ", hanging="      ", style=DIM)

    def prose(self, text: str, *, indent: str, hanging: str | None = None, style: str = "") -> None:
        """One paragraph under an indent; hanging: the indent of its further lines."""
        wrapped = textwrap.wrap(
            text,
            WIDTH,
            initial_indent=indent,
            subsequent_indent=indent if hanging is None else hanging,
            break_on_hyphens=False,
        )
        for line in wrapped or [indent.rstrip()]:
            self._line(line, style)

    def letter(self, text: str, *, indent: str = "  | ") -> None:
        """A mail's text, paragraph by paragraph."""
        for paragraph in text.rstrip().splitlines():
            self.prose(paragraph, indent=indent)

    def heading(self, text: str) -> None:
        """One line, cut where it is too long."""
        self._line(fit(text, WIDTH).rstrip(), BOLD)

    def verbatim(self, text: str) -> None:
        """Lines as they are: for commands to be copied."""
        for line in text.splitlines():
            self._line(f"  {line}".rstrip())

    def gap(self) -> None:
        self._line()

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Columns as wide as their cells; the last one is wrapped within what is left."""
        firsts = [row[:-1] for row in [columns, *rows]]
        widths = [max(map(text_width, cells)) for cells in zip(*firsts, strict=True)]
        left = WIDTH - sum(widths) - len(GAP) * len(widths)
        self._line()
        for number, row in enumerate([columns, *rows]):
            style = "" if number else BOLD
            cells = [fit(cell, width) for cell, width in zip(row[:-1], widths, strict=True)]
            for part in textwrap.wrap(row[-1], left) or [""]:
                self._line(GAP.join([*cells, part]).rstrip(), style)
                cells = [" " * width for width in widths]

    def check(self, holds: bool, claim: str, found: object = None) -> None:
        """Say whether the claim holds; found: what is there instead, shown where it does not."""
        self.checks += 1
        if not holds:
            claim = claim if found is None else f"{claim} (found: {found})"
            self.failures.append(claim)
        word, style = (" ok ", GREEN) if holds else ("FAIL", RED)
        first, *rest = textwrap.wrap(claim, WIDTH - 7)
        self._stream.write(f" {self._styled(word, style)} ")
        for line in [f" {first}", *(f"{' ' * 7}{line}" for line in rest)]:
            self._line(line)

    def alarm(self, text: str) -> None:
        for line in text.splitlines():
            self._line(line, RED)

    def _line(self, text: str = "", style: str = "") -> None:
        self._stream.write(self._styled(clean(text), style) + "\n")
        self._stream.flush()

    def _styled(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if style and text and self._colour else text


def _wrapped_command(line: str) -> list[str]:
    """A command on as many lines as it needs, in the shell's own way."""
    lines = textwrap.wrap(
        line,
        WIDTH - 2,
        initial_indent="$ ",
        subsequent_indent="      ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [f"{each} \\" for each in lines[:-1]] + lines[-1:]
