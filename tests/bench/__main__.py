"""Relance measured against the programs that do a part of its work, side by side on one machine.

    make bench                                         everything, about an hour
    make bench ARGS='--quick'                          everything small, a few minutes
    make bench ARGS='first-sync --mails 1000 --rounds 1'

Prints tables in Markdown; --json and --markdown write files. Ratios count: absolute figures are
those of the machine. Needs Dovecot (as root) and Postfix's smtp-sink; peers that are not installed
are named. The exit status is 1 when a figure misses its bound.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench import first_sync, growth, idle, memory, sending
from tests.bench.table import Section, as_json
from tests.servers.shared import ServerMissing

QUICK = {
    "mails": 500,
    "slow_mails": 200,
    "mailboxes": 20,
    "reminders": 200,
    "rows": [1_000, 10_000],
    "mailbox_mails": [100, 1_000],
    "rounds": 1,
}
MEASURES: dict[str, Callable[[argparse.Namespace, Path], Section]] = {
    "first-sync": lambda given, at: first_sync.compare(
        at, given.mails, given.slow_mails, given.rounds
    ),
    "idle": lambda given, at: idle.compare(at, given.mailboxes, given.rounds),
    "growth": lambda given, at: growth.compare(
        at, tuple(given.rows), tuple(given.mailbox_mails), given.rounds
    ),
    "sending": lambda given, at: sending.compare(at, given.reminders, given.rounds),
    "memory": lambda given, at: memory.compare(at, given.mails),
}


def read_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    number = {"type": int, "metavar": "N"}
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=", ".join(MEASURES))
    parser.add_argument("--quick", action="store_true", help="small sizes, one round")
    parser.add_argument("--mails", default=5_000, **number)
    parser.add_argument("--slow-mails", default=1_000, help="for the slow peers", **number)
    parser.add_argument("--mailboxes", default=500, **number)
    parser.add_argument("--reminders", default=2_000, **number)
    parser.add_argument("--rows", nargs=2, default=[10_000, 1_000_000], help="stored", **number)
    parser.add_argument("--mailbox-mails", nargs=2, default=[100, 50_000], **number)
    parser.add_argument("--rounds", default=3, **number)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    given = parser.parse_args(argv)
    unknown = set(given.measures) - set(MEASURES)
    if unknown:
        parser.error(f"no such measure: {', '.join(sorted(unknown))}")
    if given.quick:
        for name, value in QUICK.items():
            setattr(given, name, value)
    return given


def measured(given: argparse.Namespace) -> Iterator[Section]:
    for name in given.measures or MEASURES:
        print(f"{name} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="relance-bench-") as directory:
            Path(directory).chmod(0o755)  # Dovecot and PostgreSQL run as users of their own
            try:
                yield MEASURES[name](given, Path(directory))
            except ServerMissing as missing:
                print(f"{name} left out: {missing}", file=sys.stderr)


def main() -> int:
    given = read_arguments()
    machine = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    texts = [f"Measured on {machine}; medians of {given.rounds}."]
    print(texts[0])
    sections = []
    for section in measured(given):
        sections.append(section)
        texts.append(section.markdown())
        print("\n" + texts[-1], flush=True)
    if given.markdown:
        given.markdown.write_text("\n\n".join(texts) + "\n")
    if given.json:
        given.json.write_text(as_json(sections) + "\n")
    findings = [finding for section in sections for finding in section.findings]
    return 0 if all(finding.holds for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
