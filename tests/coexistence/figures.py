"""What was tried and what came of it, added up over all processes of the test session.

A test adds its numbers, once its books have balanced, to a part of the proof; the end of the
session prints one Markdown table, in the form in which a document can hold it:

    figures.add("crash points of sync", points=1, killed=1)

    | part | database | figures |
    | crash points of sync | postgresql | points 143, killed 142 |
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

FILE = "coexistence-figures.jsonl"


@dataclass(frozen=True)
class Figures:
    """The figures of one test. database: what it ran on, as the table shall call it."""

    directory: Path
    database: str

    def add(self, part: str, **numbers: int) -> None:
        """Add numbers to those that other tests gave to the same part on the same database."""
        _append(self.directory, {"part": part, "database": self.database, "numbers": numbers})

    def caught(self, fault: str, check: str, message: str) -> None:
        """A planted fault, the check that caught it, and what that check said."""
        _append(self.directory, {"fault": fault, "check": check, "message": message})


def _append(directory: Path, line: dict[str, object]) -> None:
    # One write to a file that is opened for appending: lines of several processes do not mix.
    handle = os.open(directory / FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, (json.dumps(line) + "\n").encode())
    finally:
        os.close(handle)


def tables(directory: Path) -> str:
    """Everything that was added, as Markdown; '' for nothing."""
    file = directory / FILE
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    counted = [line for line in lines if "part" in line]
    faults = [line for line in lines if "fault" in line]
    return "\n".join(_figures_table(counted) + _faults_table(faults))


def _figures_table(lines: list[dict[str, object]]) -> list[str]:
    sums: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for line in lines:
        numbers = line["numbers"]
        assert isinstance(numbers, dict)
        for name, number in numbers.items():
            sums[str(line["part"]), str(line["database"])][name] += number
    rows = [
        f"| {part} | {database} | {_spoken(numbers)} |"
        for (part, database), numbers in sorted(sums.items())
    ]
    return ["", "| part | database | figures |", "|---|---|---|", *rows] if rows else []


def _spoken(numbers: dict[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in numbers.items())


def _faults_table(lines: list[dict[str, object]]) -> list[str]:
    rows = sorted(f"| {line['fault']} | `{line['check']}` | {_cell(line)} |" for line in lines)
    head = ["", "| planted fault | caught by | what it said |", "|---|---|---|"]
    return [*head, *rows] if rows else []


def _cell(line: dict[str, object]) -> str:
    return str(line["message"]).replace("|", "\\|")
