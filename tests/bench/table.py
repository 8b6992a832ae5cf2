"""What was measured, as a table that people read and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class Finding:
    """A figure that was promised. holds: at least, or at most, the bound."""

    what: str
    figure: float
    bound: float
    at_least: bool

    @property
    def holds(self) -> bool:
        return self.figure >= self.bound if self.at_least else self.figure <= self.bound

    def __str__(self) -> str:
        word = "at least" if self.at_least else "at most"
        verdict = "holds" if self.holds else "MISSED"
        return f"{self.what}: {self.figure:.2f}, to be {word} {self.bound:g}: {verdict}"


@dataclass(slots=True)
class Section:
    """One thing that was measured. rows: as many cells as there are columns."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[object]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        lines = [f"### {self.title}", "", _row(self.columns), _row("---" for _ in self.columns)]
        lines += [_row(_cell(value) for value in row) for row in self.rows]
        lines += [""] + [f"- {finding}" for finding in self.findings]
        lines += [f"- {note}" for note in self.notes]
        return "\n".join(lines)


def as_json(sections: Sequence[Section]) -> str:
    found = []
    for section in sections:
        findings = [{**asdict(f), "holds": f.holds} for f in section.findings]
        found.append({**asdict(section), "findings": findings})
    return json.dumps(found, indent=2)


def _row(cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"  # type: ignore[attr-defined]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 100 else f"{value:.2f}"
    return str(value)


def megabytes(size: int) -> str:
    return f"{size / 1_000_000:.0f} MB"
