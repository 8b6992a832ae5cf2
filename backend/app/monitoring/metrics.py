"""A file for node_exporter's textfile collector: how the last run went, and what waits.

One file for each script, written beside its place and renamed over it, so that nobody reads a half.
Names end in their unit (seconds, a timestamp), counts of this very run in `_items`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backend.app.store.gauges import Gauges

HELP = {
    "relance_run_start_timestamp_seconds": "When the last run of a script began.",
    "relance_run_duration_seconds": "How long it took.",
    "relance_run_exit_status": "How it ended: 0 done, 1 some failed, 70 and more not at all.",
    "relance_run_items": "What it did, by the names of its summary line.",
    "relance_mailboxes": "Active mailboxes, all and failing.",
    "relance_mailbox_lag_seconds": "How far the mailbox that is furthest behind is behind.",
    "relance_quarantined_mails": "Mails in quarantine.",
    "relance_followups_held": "Follow-ups that wait for a person.",
    "relance_outbox": "Reminders that may have gone out, and those that wait.",
    "relance_restored": "1 when the database is a copy that was brought back.",
}


@dataclass(frozen=True, slots=True)
class RunFacts:
    """started_at: seconds since the epoch. counts: of the summary line."""

    script: str
    started_at: float
    seconds: float
    exit_status: int
    counts: Mapping[str, int]


def render(run: RunFacts, gauges: Gauges | None) -> str:
    """The exposition format, version 0.0.4. gauges: None when the database does not answer."""
    script = {"script": run.script}
    samples: list[tuple[str, Mapping[str, str], float]] = [
        ("relance_run_start_timestamp_seconds", script, run.started_at),
        ("relance_run_duration_seconds", script, run.seconds),
        ("relance_run_exit_status", script, run.exit_status),
        *(
            ("relance_run_items", {**script, "item": name}, number)
            for name, number in sorted(run.counts.items())
        ),
    ]
    # The installation's own gauges once, or node_exporter finds the same sample in two files.
    if gauges is not None and run.script == "sync":
        samples += [
            ("relance_mailboxes", {"state": "active"}, gauges.mailboxes),
            ("relance_mailboxes", {"state": "failing"}, gauges.failing),
            ("relance_mailbox_lag_seconds", {}, gauges.lag_seconds),
            ("relance_quarantined_mails", {}, gauges.quarantined),
            ("relance_followups_held", {}, gauges.held),
            ("relance_outbox", {"state": "uncertain"}, gauges.uncertain),
            ("relance_restored", {}, gauges.restored),
        ]
    return _text(samples)


def _text(samples: list[tuple[str, Mapping[str, str], float]]) -> str:
    lines: list[str] = []
    for number, (name, labels, value) in enumerate(samples):
        if number == 0 or samples[number - 1][0] != name:
            lines += [f"# HELP {name} {HELP[name]}", f"# TYPE {name} gauge"]
        shown = ",".join(f'{key}="{_escaped(word)}"' for key, word in labels.items())
        lines.append(f"{name}{{{shown}}} {value:.15g}" if shown else f"{name} {value:.15g}")
    return "\n".join(lines) + "\n"


def _escaped(word: str) -> str:
    return word.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def write(directory: Path, script: str, text: str) -> None:
    """Raises OSError."""
    file = directory / f"relance_{script}.prom"
    fresh = directory / f".relance_{script}.{os.getpid()}"
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.chmod(0o644)  # node_exporter is another user
        fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)
