"""Bodies that the server did not give earlier are asked for again."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from backend.app import db
from backend.app.errors import FolderGone, ServerFault
from backend.app.inbox.visit import Visit
from backend.app.mail.imap import MailboxConnection
from backend.app.models import LedgerState
from backend.app.store import ledger
from backend.app.store.records import Quarantined


def ask_for_bodies(visit: Visit, connection: MailboxConnection) -> None:
    """Fetch what the server did not give earlier; the next visit handles it.

    Each is put off before it is asked for, since asking may cost the connection.
    """
    due = db.read(ledger.due_without_body, visit.lease.integration_id)
    if due:
        _ask(visit, connection, due)


def _ask(visit: Visit, connection: MailboxConnection, due: Sequence[Quarantined]) -> None:
    from backend.app.inbox.prepare import held_arrival
    from backend.app.inbox.reader import NO_BODY

    for kept in due:
        db.write(ledger.postpone_quarantined, kept, NO_BODY, our_fault=False)
        with contextlib.suppress(FolderGone, ServerFault):
            if connection.examine(kept.place.folder) != kept.place.uidvalidity:
                continue  # it was met again under another UID
            if not connection.sizes([kept.place.uid]):
                db.write(ledger.leave_quarantine, kept, LedgerState.IGNORED, None)
            for mail in connection.mails([kept.place.uid]):
                arrived_at = held_arrival(mail.arrived_at, visit.run.now())
                db.write(ledger.keep_body, kept, mail.raw, arrived_at)
