"""What comes after a run that was killed: its leases end, proof comes or does not come."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from backend.app.db import database_now
from backend.app.models import AutoState, Followup, MailboxState, OutboxMail, OutboxState
from tests.coexistence.scenes import Mailbox
from tests.installation import Installation
from tests.servers.faulty_smtp import AcceptedMail

UNCERTAIN = OutboxMail.state == OutboxState.UNCERTAIN.value


def end_leases(installation: Installation) -> None:
    """As if the leases of every worker, living or dead, had run out."""
    for model in (MailboxState, OutboxMail):
        _update(installation, model, model.lease_until.is_not(None), lease_until=database_now(-1))


def settle_by_the_copies_in_sent(
    installation: Installation, imap: Any, box: Mailbox, accepted: Sequence[AcceptedMail]
) -> int:
    """The provider files what it took over from the mailbox, and sync is the witness.

    Returns how many mails that were.
    """
    taken_over = [mail for mail in accepted if mail.mail_from == box.account.address]
    for mail in taken_over:
        imap.append(box.account, mail.raw, "Sent")
    assert not installation.sync(company_id=box.company_id).failed
    installation.send(company_id=box.company_id)
    return len(taken_over)


def unproven_after_a_day(installation: Installation) -> list[str]:
    """Uncertain steps about which nobody is asked when the time for proof is over."""
    day = timedelta(hours=installation.settings.uncertain_hours).total_seconds()
    _update(installation, OutboxMail, UNCERTAIN, sending_at=database_now(-day - 60))
    installation.send()
    is_active = Followup.auto_state == AutoState.ACTIVE.value
    active = {row.id for row in installation.rows(Followup, is_active)}
    return [
        f"outbox row {row.id} is uncertain, and nobody is asked"
        for row in installation.rows(OutboxMail, UNCERTAIN)
        if not row.needs_person or row.followup_id in active
    ]


def _update(installation: Installation, model: Any, where: Any, **values: Any) -> None:
    installation.change(lambda s: s.execute(sa.update(model).where(where).values(**values)))
