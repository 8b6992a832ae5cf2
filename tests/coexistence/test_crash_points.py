"""SIGKILL at the crash points of each script one by one, then a run to the end.

Every few of them in the short form, every one in the long, which takes a third of a group's.
What is a crash point: crash.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from backend.app.db import database_now
from backend.app.models import (
    Client,
    Followup,
    InboxMessage,
    OutboxMail,
    QuarantinedMail,
    SentCopy,
)
from tests.coexistence.aftermath import (
    UNCERTAIN,
    end_leases,
    settle_by_the_copies_in_sent,
    unproven_after_a_day,
)
from tests.coexistence.books import delivery_faults, imbalances, unaccounted
from tests.coexistence.crash import Crashed, run_until
from tests.coexistence.extent import EVERY_DATABASE, each_with_a_database, one_in
from tests.coexistence.figures import Figures
from tests.coexistence.scenes import (
    Mailbox,
    due_reminders,
    grouped_reminders,
    mail_with_file,
    new_mailbox,
)
from tests.installation import Installation, mail
from tests.servers.faulty_smtp import FaultySmtpServer

pytestmark = pytest.mark.usefixtures("clean_processes")

STRIDE = 37
# Every point is in the way of one test, each of which has a database for itself.
EVERY_POINT = each_with_a_database(0, range(STRIDE), 6)
# Most of these points are the ones of a mail about one.
POINTS_OF_A_GROUP = each_with_a_database(0, range(0, STRIDE, one_in(3)), 6)
AROUND_THE_BODY = (
    "before SMTP the mail",
    "in the middle of the mail",
    "after SMTP the mail",
    "before SMTP the final dot",
    "after SMTP the final dot",
)
MOST_POINTS = 2000
ENDS = (0, 1)  # done, or done but for a mail that the server refused
# The outbox rows of the follow-ups of reminders_of_every_kind, in their order.
ALLOWED_ENDS = (("sent", "uncertain"), ("sent", "uncertain"), (None,), ("failed", "uncertain"))


def crashes(
    installation: Installation, script: str, first: int, prepare: Callable[[], Mailbox]
) -> Iterator[tuple[Mailbox, Crashed]]:
    """Runs in mailboxes of their own, each killed a few points later, the last one not at all."""
    for point in range(first, MOST_POINTS, STRIDE):
        box = prepare()
        crashed = run_until(installation, script, box.company_id, point)
        yield box, crashed
        if crashed.label is None:
            assert crashed.status in ENDS, crashed.log
            return
    raise AssertionError("the run never came to its end")


@EVERY_POINT
def test_every_reminder_goes_out_once_or_is_uncertain(
    installation: Installation,
    embedded_imap: Any,
    faulty_smtp: FaultySmtpServer,
    figures: Figures,
    first: int,
) -> None:
    trials = crashes(
        installation,
        "followups",
        first,
        lambda: reminders_of_every_kind(installation, embedded_imap, faulty_smtp),
    )
    met: Counter[str] = Counter()
    for box, crashed in trials:
        met += check_reminders(installation, embedded_imap, faulty_smtp, box, crashed)
    figures.add("crash points of the sender", **met)


@EVERY_DATABASE
@pytest.mark.parametrize("label", AROUND_THE_BODY)
def test_reminder_goes_out_once_or_is_uncertain_around_its_body(
    installation: Installation, embedded_imap: Any, faulty_smtp: FaultySmtpServer, label: str
) -> None:
    check_around_the_body(installation, embedded_imap, faulty_smtp, label)


def check_around_the_body(
    installation: Installation, imap: Any, smtp: FaultySmtpServer, label: str, *faults: str
) -> None:
    box = reminders_of_every_kind(installation, imap, smtp)
    crashed = run_until(installation, "followups", box.company_id, label, faults)
    assert crashed.label == label
    check_reminders(installation, imap, smtp, box, crashed)


@POINTS_OF_A_GROUP
def test_a_mail_about_three_goes_out_once_or_is_uncertain(
    installation: Installation,
    embedded_imap: Any,
    faulty_smtp: FaultySmtpServer,
    figures: Figures,
    first: int,
) -> None:
    trials = crashes(
        installation,
        "followups",
        first,
        lambda: three_in_one_mail(installation, embedded_imap, faulty_smtp),
    )
    met: Counter[str] = Counter()
    for box, crashed in trials:
        met += check_group(installation, embedded_imap, faulty_smtp, box, crashed)
    figures.add("crash points of the sender, three in one mail", **met)


@EVERY_DATABASE
@pytest.mark.parametrize("label", ["in the middle of the mail", "after SMTP the final dot"])
def test_a_mail_about_three_goes_out_once_or_is_uncertain_around_its_body(
    installation: Installation, embedded_imap: Any, faulty_smtp: FaultySmtpServer, label: str
) -> None:
    box = three_in_one_mail(installation, embedded_imap, faulty_smtp)
    crashed = run_until(installation, "followups", box.company_id, label)
    assert crashed.label == label
    check_group(installation, embedded_imap, faulty_smtp, box, crashed)


def three_in_one_mail(installation: Installation, imap: Any, smtp: FaultySmtpServer) -> Mailbox:
    box = new_mailbox(installation, imap, smtp)
    grouped_reminders(installation, box, 3)
    assert not installation.sync(company_id=box.company_id).failed
    return box


def check_group(
    installation: Installation, imap: Any, smtp: FaultySmtpServer, box: Mailbox, crashed: Crashed
) -> Counter[str]:
    """As for the others, and all three have the same end, whatever it is."""
    allowed = (("sent", "uncertain"),) * 3
    met = check_reminders(installation, imap, smtp, box, crashed, allowed)
    rows = outbox_of(installation, box)
    at = crashed.label or "the end"
    assert (len({row.state for row in rows}), at) == (1, at)
    assert (sum(row.carried_by is None for row in rows), at) == (1, at)
    return met


def check_reminders(
    installation: Installation,
    imap: Any,
    smtp: FaultySmtpServer,
    box: Mailbox,
    crashed: Crashed,
    allowed: Sequence[Collection[str | None]] = ALLOWED_ENDS,
) -> Counter[str]:
    """Run on to the end, and beyond; returns what the trial adds to the figures."""
    at = crashed.label or "the end"
    end_leases(installation)
    installation.send(company_id=box.company_id)
    met = Counter(row.state for row in outbox_of(installation, box))
    assert (imbalances(installation), at) == ([], at)
    arrived = settle_by_the_copies_in_sent(installation, imap, box, smtp.accepted())
    # What arrived comes first: two copies of one mail are two messages in the books as well, but
    # only when their Dates differ by a second.
    assert (delivery_faults(installation, smtp.accepted()), at) == ([], at)
    assert (imbalances(installation), at) == ([], at)
    assert (unproven_after_a_day(installation), at) == ([], at)
    assert (wrong_ends(installation, box, arrived, allowed), at) == ([], at)
    met["trials"] += 1
    met["killed"] += crashed.label is not None
    met["unproven"] += len(installation.rows(OutboxMail, UNCERTAIN, company_is(box)))
    return met


def reminders_of_every_kind(
    installation: Installation, imap: Any, smtp: FaultySmtpServer
) -> Mailbox:
    """Two that go out, one whose client has answered, one that the server refuses at the end."""
    box = new_mailbox(installation, imap, smtp)
    followups = due_reminders(installation, box, 4)
    answered, refused = (client_of(installation, each) for each in followups[2:])
    imap.append(box.account, mail(sender=answered.email or "", to=box.account.address))
    installation.set(Client, refused.id, email=f"5xx-at-dot.{box.id}@client.test")
    assert not installation.sync(company_id=box.company_id).failed
    return box


def client_of(installation: Installation, followup_id: int) -> Client:
    (followup,) = installation.rows(Followup, Followup.id == followup_id)
    clients: list[Client] = installation.rows(Client, Client.id == followup.client_id)
    return clients[0]


def company_is(box: Mailbox) -> sa.ColumnElement[bool]:
    return OutboxMail.company_id == box.company_id


def outbox_of(installation: Installation, box: Mailbox) -> list[OutboxMail]:
    return installation.rows(OutboxMail, company_is(box))


def wrong_ends(
    installation: Installation,
    box: Mailbox,
    arrived: int,
    allowed_ends: Sequence[Collection[str | None]],
) -> list[str]:
    """Follow-ups that ended as they must not. arrived: how many mails the server took over."""
    followups = installation.rows(Followup, Followup.company_id == box.company_id)
    states = {row.followup_id: row.state for row in outbox_of(installation, box)}
    wrong = [
        f"follow-up {followup.id} is {states.get(followup.id)}, not one of {allowed}"
        for followup, allowed in zip(followups, allowed_ends, strict=True)
        if states.get(followup.id) not in allowed
    ]
    mails = [row for row in outbox_of(installation, box) if row.carried_by is None]
    sent = [row.state for row in mails].count("sent")
    if sent != arrived:
        wrong.append(f"{arrived} arrived, {sent} are sent")
    return wrong


@EVERY_POINT
def test_every_mail_is_stored_once(
    installation: Installation,
    embedded_imap: Any,
    faulty_smtp: FaultySmtpServer,
    figures: Figures,
    first: int,
) -> None:
    trials = crashes(
        installation,
        "sync",
        first,
        lambda: mails_of_every_kind(installation, embedded_imap, faulty_smtp),
    )
    met: Counter[str] = Counter()
    for box, crashed in trials:
        met += check_mails(installation, embedded_imap, box, crashed)
    assert installation.count(QuarantinedMail) == 0
    figures.add("crash points of sync", **met)


def check_mails(
    installation: Installation, imap: Any, box: Mailbox, crashed: Crashed, copies: int = 1
) -> Counter[str]:
    """Run on to the end; returns what the trial adds to the figures. copies: those in Sent."""
    at = crashed.label or "the end"
    end_leases(installation)
    installation.sync(company_id=box.company_id)
    assert (imbalances(installation), at) == ([], at)
    installation.sync(company_id=box.company_id)  # which meets the copy that was filed in Sent
    assert (imbalances(installation), at) == ([], at)
    assert (unaccounted(installation, imap, box.id, box.account), at) == ([], at)
    assert (len(imap.messages(box.account, "Sent")), at) == (copies, at)
    stored = installation.count(InboxMessage, InboxMessage.company_id == box.company_id)
    assert (stored, at) == (len(imap.messages(box.account)) + 1, at)
    return Counter(trials=1, killed=crashed.label is not None, mails=stored, copies=copies)


def mails_of_every_kind(installation: Installation, imap: Any, smtp: FaultySmtpServer) -> Mailbox:
    """One in quarantine that is due for another attempt; a thread with a file, a newsletter.

    And a reminder that went out, whose copy belongs into Sent.
    """
    box = new_mailbox(installation, imap, smtp)
    quarantine_one(installation, imap, box)
    due_reminders(installation, box, 1)
    assert installation.send(company_id=box.company_id).counts == {"sent": 1}
    installation.change(
        lambda s: s.execute(sa.update(SentCopy).values(next_attempt_at=database_now(-1)))
    )
    to, root = box.account.address, f"<root.{box.id}@client.test>"
    sender = "Jean Petit <jean@client.test>"
    for raw in (
        mail_with_file(sender=sender, to=to, message_id=root),
        mail(sender=sender, to=to, subject="Re: Plan", In_Reply_To=root),
        mail(sender="news@shop.test", to=to, List_Id="<news.shop.test>"),
    ):
        imap.append(box.account, raw)
    return box


def quarantine_one(installation: Installation, imap: Any, box: Mailbox) -> None:
    """A mail whose file could not be written: something else stood where the directory belongs."""
    place = installation.settings.attachments_dir / str(box.company_id)
    place.parent.mkdir(exist_ok=True)
    place.write_text("in the way")
    imap.append(box.account, mail_with_file(sender="paul@client.test", to=box.account.address))
    assert installation.sync(company_id=box.company_id).counts["quarantined"] == 1
    place.unlink()
    due = sa.update(QuarantinedMail).values(next_attempt_at=database_now(-1))
    installation.change(lambda s: s.execute(due))
