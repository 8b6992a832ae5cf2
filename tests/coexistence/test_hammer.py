"""Everything at once: both scripts in eight processes that are killed at any moment, mail that
keeps coming, an SMTP server with faults, the company's own edits; then the books are balanced.

Its random choices come from COEXISTENCE_SEED; which process meets which is the machine's affair.
"""

from __future__ import annotations

import functools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app import db
from backend.app.models import (
    AutoState,
    Followup,
    LedgerEntry,
    MailboxState,
    OutboxMail,
    OutboxState,
    QuarantinedMail,
)
from tests.coexistence.aftermath import UNCERTAIN, end_leases, unproven_after_a_day
from tests.coexistence.books import delivery_faults, imbalances, unaccounted
from tests.coexistence.correspondents import Correspondents, misplaced
from tests.coexistence.crowd import Crowd
from tests.coexistence.extent import HAMMER_SECONDS, SEED
from tests.coexistence.figures import Figures
from tests.coexistence.host_application import HostApplication
from tests.coexistence.launch import OWNERS_GREP
from tests.coexistence.scenes import Mailbox, new_mailbox
from tests.coexistence.witness import Witness, reminders_in_vain
from tests.installation import Installation
from tests.servers.databases import Database
from tests.servers.faulty_smtp import AcceptedMail, FaultySmtpServer

pytestmark = [
    pytest.mark.usefixtures("clean_processes"),
    pytest.mark.parametrize("imap_server", ["dovecot"], indirect=True),
    pytest.mark.parametrize("database", ["sqlite", "postgresql", "pgbouncer"], indirect=True),
]

SCRIPTS = ("sync", "followups") * 4
BETWEEN_KILLS = (0.2, 0.6)  # seconds
BREATH = 0.05  # seconds between two mails, or two edits: the processors are for the scripts
GREETINGS = (None, None, None, None, "421", "drop")  # an SMTP server that is now and then away
MOST_RUNS = 30
# What an installation of everyday size has in minutes, here in seconds.
SHORT_LEASES = {
    "SYNC_LEASE_SECONDS": "2",
    "SEND_LEASE_SECONDS": "2",
    "SYNC_WORKERS": "2",
    "SYNC_BUDGET_SECONDS": "5",
    "IMAP_TIMEOUT_SECONDS": "30",
    "SMTP_TIMEOUT_SECONDS": "30",
    "SEND_PER_MINUTE": "1000000",
    "IMAP_CONNECTIONS_PER_HOST": "100",
}


class SlowSmtpServer(FaultySmtpServer):
    """Thinks about each mail that it has taken before it says so: many a kill comes in between."""

    thinks_for = 0.25

    def accept(self, mail: AcceptedMail) -> None:
        super().accept(mail)
        time.sleep(self.thinks_for)


@pytest.fixture
def slow_smtp(tmp_path: Path) -> Iterator[SlowSmtpServer]:
    with SlowSmtpServer(tmp_path / "accepted.jsonl") as server:
        yield server


def test_nothing_is_lost_doubled_or_misplaced_under_the_hammer(
    installation: Installation,
    database: Database,
    imap_server: Any,
    slow_smtp: SlowSmtpServer,
    figures: Figures,
) -> None:
    installation.extra.update(SHORT_LEASES)
    installation.ca_file = imap_server.ca_file
    boxes = four_mailboxes(installation, imap_server, slow_smtp)
    companies = sorted({box.company_id for box in boxes})
    dice = random.Random(SEED)
    with (
        closing(HostApplication(installation.url, companies, dice_of(dice))) as host,
        closing(Witness(installation.url)) as witness,
    ):
        people = Correspondents(imap_server, slow_smtp, boxes, dice_of(dice), host.reminded)
        for _ in range(40):
            host.add_followup()
        with no_place_for_files(installation, companies[0]):
            crowd = hammer(installation, dice, people, host, witness, slow_smtp)
        slow_smtp.thinks_for = 0
        quarantined = installation.count(QuarantinedMail)
        accepted = aftermath(installation, imap_server, slow_smtp, boxes, host)

    assert crowd.kills, "no kill met a run"
    assert imbalances(installation) == []
    assert misplaced(installation, people.letters) == []
    assert delivery_faults(installation, slow_smtp.accepted()) == []
    assert reminders_in_vain(installation, witness.seen, host.ended) == []
    assert stuck(installation) == []
    assert unproven_after_a_day(installation) == []
    for box in boxes:
        assert unaccounted(installation, imap_server, box.id, box.account) == []
    assert set(crowd.papers.exit_statuses) <= {f"{s} {n}" for s in SCRIPTS for n in (0, 1)}
    assert conflicts_told(crowd, database) == []

    counted = {
        state: installation.count(LedgerEntry, LedgerEntry.state == state)
        for state in ("stored", "duplicate", "ignored", "quarantined")
    }
    log = crowd.papers.lines(crowd.papers.log)
    states = Counter(row.state for row in installation.rows(OutboxMail))
    assert states["sent"] == accepted
    figures.add(
        "hammer",
        seconds=round(HAMMER_SECONDS),
        kills=crowd.kills,
        runs=crowd.papers.exit_statuses.total(),
        mails_in=sum(counted.values()),
        **counted,
        quarantined_meanwhile=quarantined,
        killed_while_sending=sum("recovered as=uncertain" in line for line in log),
        reminders_out=accepted,
        uncertain=states["uncertain"],
        conflicts=crowd.papers.conflicts_met.total(),
    )


def four_mailboxes(installation: Installation, imap: Any, smtp: Any) -> list[Mailbox]:
    """Two of each of two companies, which their first sync has found empty."""
    boxes = [new_mailbox(installation, imap, smtp) for _ in range(2)]
    boxes += [new_mailbox(installation, imap, smtp, box.company_id) for box in boxes]
    assert not installation.sync().failed
    return boxes


@contextmanager
def no_place_for_files(installation: Installation, company_id: int) -> Iterator[None]:
    """Mails of this company that bring a file cannot be handled meanwhile."""
    place = installation.settings.attachments_dir / str(company_id)
    place.parent.mkdir(exist_ok=True)
    place.write_text("in the way")
    yield
    place.unlink()


def dice_of(dice: random.Random) -> random.Random:
    """For another thread, so that what one of them throws does not hang on who is faster."""
    return random.Random(dice.random())


def hammer(
    installation: Installation,
    dice: random.Random,
    people: Correspondents,
    host: HostApplication,
    witness: Witness,
    smtp: FaultySmtpServer,
) -> Crowd:
    """Let all of them loose for HAMMER_SECONDS."""
    over = threading.Event()
    faults: list[BaseException] = []

    def over_and_over(act: Callable[[], object]) -> None:
        try:
            while not over.is_set():
                act()
                over.wait(BREATH)
        except BaseException as error:
            faults.append(error)
            raise

    with Crowd(installation, SCRIPTS, SEED) as crowd, ExitStack() as at_the_end:
        for act in (people.write_one, host.edit_one, witness.look):
            thread = threading.Thread(target=over_and_over, args=(act,))
            thread.start()
            at_the_end.callback(thread.join)
        at_the_end.callback(over.set)
        deadline = time.monotonic() + HAMMER_SECONDS
        while time.monotonic() < deadline and not faults:
            over.wait(dice.uniform(*BETWEEN_KILLS))
            smtp.at_connect = dice.choice(GREETINGS)
            crowd.kill_one()
    assert not faults, faults
    smtp.at_connect = None
    return crowd


def aftermath(
    installation: Installation,
    imap: Any,
    smtp: FaultySmtpServer,
    boxes: list[Mailbox],
    host: HostApplication,
) -> int:
    """Time passes, and all that was put off, left over or in doubt is done; how many were sent."""
    host.mend_the_rules()
    end_leases(installation)
    read_everything(installation)
    host.let_time_pass()
    installation.send()
    while doubtful := in_doubt(installation, smtp):
        by_address = {box.account.address: box for box in boxes}
        for mail in doubtful:  # the provider filed it
            imap.append(by_address[mail.mail_from].account, mail.raw, "Sent")
        read_everything(installation)
        host.let_time_pass()
        installation.send()
    return len(smtp.accepted())


def in_doubt(installation: Installation, smtp: FaultySmtpServer) -> list[AcceptedMail]:
    """What the server took of the steps that are uncertain."""
    uncertain = {row.message_id for row in installation.rows(OutboxMail, UNCERTAIN)}
    return [mail for mail in smtp.accepted() if (mail.message_id or "").strip("<>") in uncertain]


def read_everything(installation: Installation) -> None:
    past = db.database_now(-1)
    for _ in range(MOST_RUNS):
        for due in (
            sa.update(MailboxState).values(next_sync_at=past),
            sa.update(QuarantinedMail).values(next_attempt_at=past),
        ):
            installation.change(functools.partial(Session.execute, statement=due))
        report = installation.sync()
        assert "mailboxes_failed" not in report.counts, report.counts
        left = installation.count(MailboxState, MailboxState.backlog)
        if not left and not report.counts.get("stored"):
            return
    raise AssertionError("the mail never comes to an end")


def stuck(installation: Installation) -> list[str]:
    """Follow-ups whose time has come and which nobody has dealt with, and mail in quarantine."""
    active = Followup.auto_state == AutoState.ACTIVE.value
    due = installation.rows(Followup, active, Followup.next_action_at <= db.database_now())
    planned = (OutboxState.CLAIMED.value, OutboxState.SENDING.value)
    lines = [f"follow-up {row.id} is due: {row.auto_reason}" for row in due]
    lines += [
        f"step {row.id} is {row.state}"
        for row in installation.rows(OutboxMail, OutboxMail.state.in_(planned))
    ]
    return lines + [f"{row.id} in quarantine" for row in installation.rows(QuarantinedMail)]


def conflicts_told(crowd: Crowd, database: Database) -> list[str]:
    """What the owner's grep finds beyond what the driver met, or the other way round.

    Who is killed between the two cannot tell any more.
    """
    lines = [line for line in crowd.papers.lines(crowd.papers.log) if OWNERS_GREP.search(line)]
    met = crowd.papers.conflicts_met.total()
    return lines if not met - crowd.kills <= len(lines) <= met else []
