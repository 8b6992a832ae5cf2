"""SIGKILL at random moments, then a run to the end: every mail once, every reminder once.

The moments come from COEXISTENCE_SEED and are spread over the length of an
undisturbed run, from its first transaction on.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.app.models import (
    Client,
    Followup,
    InboxMessage,
    OutboxMail,
    OutboxState,
)
from tests.coexistence.aftermath import (
    end_leases,
    settle_by_the_copies_in_sent,
    unproven_after_a_day,
)
from tests.coexistence.books import delivery_faults, imbalances, unaccounted
from tests.coexistence.extent import EVERY_DATABASE, KILLS, SEED
from tests.coexistence.figures import Figures
from tests.coexistence.launch import run_and_kill, run_together, seconds_of
from tests.coexistence.scenes import (
    Mailbox,
    due_reminders,
    fill,
    grouped_reminders,
    new_mailbox,
    threads,
)
from tests.installation import Installation
from tests.servers.faulty_smtp import AcceptedMail, FaultySmtpServer

pytestmark = EVERY_DATABASE

CLIENTS, REPLIES = 6, 1
REMINDERS = 6
IN_ONE_MAIL = 3
KILLED = -9


class UnhurriedSmtpServer(FaultySmtpServer):
    """Needs a moment between the mail and its answer, as real ones do: kills meet it there."""

    def accept(self, mail: AcceptedMail) -> None:
        super().accept(mail)
        time.sleep(0.01)


@pytest.fixture
def unhurried_smtp(tmp_path: Path) -> Iterator[UnhurriedSmtpServer]:
    with UnhurriedSmtpServer(tmp_path / "accepted.jsonl") as server:
        yield server


def test_killed_syncs_leave_every_mail_once(
    installation: Installation, embedded_imap: Any, figures: Figures
) -> None:
    box = new_mailbox(installation, embedded_imap)
    appended = append_mails(embedded_imap, box)
    usual = seconds_of(installation, ["sync"])

    moments, killed = random.Random(SEED), 0
    for _ in range(KILLS):
        appended += append_mails(embedded_imap, box)
        killed += run_and_kill(installation, ["sync"], moments.uniform(0, usual)).status == KILLED
        end_leases(installation)
    (last,) = run_together(installation, ["sync"])

    assert killed, "no kill met a run"
    assert (last.status, last.conflicts) == (0, [])
    assert imbalances(installation) == []
    assert unaccounted(installation, embedded_imap, box.id, box.account) == []
    assert installation.count(InboxMessage) == appended
    assert installation.count(Client) == CLIENTS * (KILLS + 1)
    figures.add("random kills of sync", kills=killed, mails=appended)


def append_mails(imap: Any, box: Mailbox) -> int:
    return fill(imap, box.account, threads(box.account.address, CLIENTS, REPLIES))


def test_killed_senders_leave_every_reminder_once_or_uncertain(
    installation: Installation,
    embedded_imap: Any,
    unhurried_smtp: UnhurriedSmtpServer,
    figures: Figures,
) -> None:
    box = new_mailbox(installation, embedded_imap, unhurried_smtp)
    killed = kill_senders(installation, box)
    (last,) = run_together(installation, ["followups"])

    accepted = unhurried_smtp.accepted()
    states = Counter(row.state for row in installation.rows(OutboxMail))
    assert killed, "no kill met a run"
    assert (last.status, last.conflicts) == (0, [])
    assert imbalances(installation) == []
    assert delivery_faults(installation, accepted) == []
    assert installation.count(OutboxMail) == installation.count(Followup)
    assert states.keys() <= {OutboxState.SENT.value, OutboxState.UNCERTAIN.value}

    arrived = settle_by_the_copies_in_sent(installation, embedded_imap, box, accepted)
    assert imbalances(installation) == []
    sent = (OutboxMail.state == "sent", OutboxMail.carried_by.is_(None))
    assert installation.count(OutboxMail, *sent) == arrived
    assert unproven_after_a_day(installation) == []
    uncertain = states[OutboxState.UNCERTAIN.value]
    figures.add(
        "random kills of the sender", kills=killed, accepted=len(accepted), uncertain=uncertain
    )


def kill_senders(installation: Installation, box: Mailbox) -> int:
    """Returns how many runs a kill met."""
    due_reminders(installation, box, REMINDERS)
    usual = seconds_of(installation, ["followups"])
    moments, killed = random.Random(SEED), 0
    for _ in range(KILLS):
        due_reminders(installation, box, REMINDERS)
        grouped_reminders(installation, box, IN_ONE_MAIL)
        ended = run_and_kill(installation, ["followups"], moments.uniform(0, usual))
        killed += ended.status == KILLED
        end_leases(installation)
    installation.make_fresh(box.id, box.company_id)
    return killed
