"""Copies of our reminders in the Sent folder: the one thing that is ever written to a mailbox.

    looked for by its Message-ID       there: the provider has filed it, or we had before a crash
    not there: APPEND with \\Seen      no other mail is touched, and no flag of one

It is done under the mailbox's lease, after everything was read, and has nothing to do with
whether the reminder went out: the outbox said so before, and nothing here writes to it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from backend.app import db
from backend.app.errors import LeaseLost, MailboxError
from backend.app.inbox.visit import Visit
from backend.app.mail.charsets import clean_line
from backend.app.mail.folder import Role, ServerFolder
from backend.app.mail.imap import MailboxConnection
from backend.app.models import CopyState
from backend.app.store import leases, sent_copies
from backend.app.store.records import WantedCopy

log = logging.getLogger("relance.sync")

# A process frozen for longer must not file what another may have filed meanwhile.
APPEND_WITHIN_SECONDS = 30.0


def file_copies(
    visit: Visit, connection: MailboxConnection, folders: Sequence[ServerFolder]
) -> None:
    """File what is wanted. A copy that cannot be filed is no fault of the mailbox's reading.

    Raises LeaseLost.
    """
    sent = next((folder.name for folder in folders if folder.role is Role.SENT), None)
    for copy in db.read(sent_copies.list_wanted, visit.lease.integration_id):
        if visit.budget.over:
            return
        if sent is None:
            _failed(visit, copy, "the mailbox has no Sent folder; name one in sent_folder")
            continue
        try:
            state = _file(visit, connection, sent, copy)
        except MailboxError as error:
            _failed(visit, copy, str(error))
            return  # the connection may be gone with it
        db.write(sent_copies.settle, visit.lease, copy, state)
        visit.report.add(f"copies_{state}")
        log.info(
            "integration=%d outbox=%d copy in Sent %s",
            visit.lease.integration_id,
            copy.outbox_id,
            state,
        )


def _file(visit: Visit, connection: MailboxConnection, sent: str, copy: WantedCopy) -> CopyState:
    if connection.holds_message(sent, copy.message_id):
        return CopyState.FOUND
    # The last look at the lease before the one command that cannot be taken back.
    allowed_until = time.monotonic() + APPEND_WITHIN_SECONDS
    db.write(leases.hold_lease, visit.lease)
    if time.monotonic() > allowed_until:
        raise LeaseLost(f"mailbox {visit.lease.integration_id}: held up before a copy was filed")
    connection.append_seen(sent, copy.raw, copy.sent_at)
    return CopyState.APPENDED


def _failed(visit: Visit, copy: WantedCopy, error: str) -> None:
    error = clean_line(error)
    state = db.write(sent_copies.postpone, visit.lease, copy, error)
    visit.report.add("copies_failed")
    log.log(
        logging.ERROR if state is CopyState.GIVEN_UP else logging.WARNING,
        "integration=%d outbox=%d copy in Sent failed state=%s attempt=%d: %s",
        visit.lease.integration_id,
        copy.outbox_id,
        state,
        copy.attempts + 1,
        error,
    )
