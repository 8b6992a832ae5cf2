"""SIGKILL at a crash point, and once more at one of the run that comes after it.

The pairs are drawn by COEXISTENCE_SEED from all that there are; the long form draws many.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.coexistence.aftermath import end_leases
from tests.coexistence.crash import Crashed, run_until
from tests.coexistence.extent import LONG, SEED, each_with_a_database
from tests.coexistence.figures import Figures
from tests.coexistence.scenes import Mailbox
from tests.coexistence.test_crash_points import (
    ENDS,
    check_mails,
    check_reminders,
    mails_of_every_kind,
    reminders_of_every_kind,
)
from tests.installation import Installation
from tests.servers.faulty_smtp import FaultySmtpServer

pytestmark = pytest.mark.usefixtures("clean_processes")

# Batches, each of which has a database for itself.
EVERY_BATCH = each_with_a_database(0, range(10), 4)
PAIRS_OF_A_BATCH = 4 if LONG else 1
NOWHERE = -1


def pairs_of_crashes(
    installation: Installation, script: str, batch: int, prepare: Callable[[], Mailbox]
) -> Iterator[tuple[Mailbox, Crashed]]:
    """Runs in mailboxes of their own, each after another one that was killed, and killed too."""

    def run(box: Mailbox, point: int) -> Crashed:
        end_leases(installation)
        return run_until(installation, script, box.company_id, point)

    points = run(prepare(), NOWHERE).passed
    assert points
    picks = random.Random(f"{SEED} {batch}")
    for _ in range(PAIRS_OF_A_BATCH):
        box = prepare()
        first = run(box, picks.randrange(points))
        second = run(box, picks.randrange(points))  # which has less to do, and may come to its end
        assert second.label or second.status in ENDS, second.log
        yield box, replace(second, label=f"{first.label}, then {second.label or 'the end'}")


def told(met: Counter[str]) -> dict[str, int]:
    """Every second run was killed, or had nothing left to do at its point."""
    return {"pairs": met.pop("trials"), **{name: n for name, n in met.items() if name != "killed"}}


@EVERY_BATCH
def test_two_killed_senders_leave_every_reminder_once_or_uncertain(
    installation: Installation,
    embedded_imap: Any,
    faulty_smtp: FaultySmtpServer,
    figures: Figures,
    first: int,
) -> None:
    trials = pairs_of_crashes(
        installation,
        "followups",
        first,
        lambda: reminders_of_every_kind(installation, embedded_imap, faulty_smtp),
    )
    met: Counter[str] = Counter()
    for box, crashed in trials:
        met += check_reminders(installation, embedded_imap, faulty_smtp, box, crashed)
    figures.add("pairs of crashes of the sender", **told(met))


@EVERY_BATCH
def test_two_killed_syncs_leave_every_mail_once(
    installation: Installation,
    embedded_imap: Any,
    faulty_smtp: FaultySmtpServer,
    figures: Figures,
    first: int,
) -> None:
    trials = pairs_of_crashes(
        installation,
        "sync",
        first,
        lambda: mails_of_every_kind(installation, embedded_imap, faulty_smtp),
    )
    met: Counter[str] = Counter()
    for box, crashed in trials:
        met += check_mails(installation, embedded_imap, box, crashed)
    figures.add("pairs of crashes of sync", **told(met))
