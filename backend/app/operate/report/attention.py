"""What waits for a person, or should worry one: the first thing that the page says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from backend.app.operate.report.tables import CompanyLine, Lines, MailboxLine

if TYPE_CHECKING:
    from backend.app.operate.report.figures import RunSpan

# Longer than this since the last run began: cron is not running it.
LATE = {"sync": timedelta(minutes=5), "followups": timedelta(hours=2)}


@dataclass(frozen=True, slots=True)
class Attention:
    """One finding in words, and the command that says more."""

    text: str
    command: str


def find_attention(
    now: datetime,
    runs: Mapping[str, Sequence[RunSpan]],
    companies: Lines[CompanyLine],
    mailboxes: Lines[MailboxLine],
) -> list[Attention]:
    """Pure. The most urgent first."""
    found = [*_cron(now, runs)]
    counts = (
        (companies.all["failing"], "{} cannot be read", "mailbox", "status"),
        (mailboxes.all["missing"], "{} at a server and not here", "mail lies", "status"),
        (companies.all["quarantine"], "{} in quarantine", "mail lies", "quarantine list"),
        (
            companies.all["uncertain"],
            "{} gone out or not: say which",
            "reminder may have",
            "outbox list --state uncertain",
        ),
        (
            companies.all["held"],
            "{} for somebody’s word",
            "follow-up waits",
            "followup list --state held",
        ),
    )
    found += [
        Attention(text.format(f"{number} {_plural(noun, number)}"), f"manage.py {command}")
        for number, text, noun, command in counts
        if number
    ]
    if any(not line.balanced and not line.missing for line in mailboxes.shown):
        found.append(Attention("The ledger of a mailbox does not add up", "manage.py status"))
    return found


def _cron(now: datetime, runs: Mapping[str, Sequence[RunSpan]]) -> list[Attention]:
    found = []
    for script, spans in runs.items():
        if not spans or now - spans[-1].since > LATE[script]:
            when = f"for {_ago(now - spans[-1].since)}" if spans else "for a day or longer"
            found.append(Attention(f"Cron has not run “{script}” {when}", "manage.py cron show"))
        killed = sum(span.fate == "killed" for span in spans)
        if killed:
            runs_of = "run" if killed == 1 else "runs"
            text = f"{killed} {runs_of} of “{script}” did not come to an end"
            found.append(Attention(text, "manage.py status"))
    return found


def _ago(passed: timedelta) -> str:
    minutes = int(passed.total_seconds() // 60)
    return f"{minutes} minutes" if minutes < 120 else f"{minutes // 60} hours"


_PLURALS = {
    "mailbox": "mailboxes",
    "mail lies": "mails lie",
    "reminder may have": "reminders may have",
    "follow-up waits": "follow-ups wait",
}


def _plural(noun: str, number: int) -> str:
    return noun if number == 1 else _PLURALS[noun]
