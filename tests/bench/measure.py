"""What a command costs: wall time, CPU time of its processes, and its largest process's memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launch.py")


@dataclass(frozen=True, slots=True)
class Cost:
    """wall, cpu: seconds; cpu is user and system time of the command and all that it waited for.

    peak: bytes of the largest single process. What servers spend is in none of them.
    """

    wall: float
    cpu: float
    peak: int


class Failed(Exception):
    """A command that was measured ended with an error. The text holds its last words."""


def run(command: Sequence[str | Path], env: Mapping[str, str], *, cwd: Path, log: Path) -> Cost:
    """Run a command to its end. Raises Failed. log: what it prints goes there."""
    figures = log.with_name(log.name + ".cost")
    launcher = [sys.executable, "-S", "-E", LAUNCHER, figures]
    with log.open("ab") as output:
        done = subprocess.run(
            [str(each) for each in (*launcher, *command)],
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        raise Failed(f"{command[0]} ended with {done.returncode}: {last_words(log)}")
    return Cost(**json.loads(figures.read_text()))


def last_words(log: Path) -> str:
    return " | ".join(log.read_text(errors="replace").strip().splitlines()[-3:])


def total(costs: Sequence[Cost]) -> Cost:
    """Of commands that ran one after the other."""
    return Cost(sum(c.wall for c in costs), sum(c.cpu for c in costs), max(c.peak for c in costs))


def median(costs: Sequence[Cost]) -> Cost:
    """Of several runs of the same thing, figure by figure."""
    return Cost(
        statistics.median(c.wall for c in costs),
        statistics.median(c.cpu for c in costs),
        int(statistics.median(c.peak for c in costs)),
    )


def in_turns(contenders: Mapping[str, Callable[[], Cost]], rounds: int) -> dict[str, list[Cost]]:
    """Each contender once, then each again: what slows the machine down slows them all down.

    One that fails is named, and has no part in what follows.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    running = dict(contenders)
    for number in range(rounds):
        for name, once in list(running.items()):
            print(f"  round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            try:
                costs[name].append(once())
            except Failed as failure:
                print(f"  {name} left out: {failure}", file=sys.stderr)
                del running[name], costs[name]
    return costs
