"""The SMTP connections of one run: one for each mailbox, reused, and left when it fails."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable

from backend.app import db
from backend.app.endpoints import smtp_endpoint
from backend.app.errors import (
    CredentialsUnreadable,
    MailboxError,
    NotSent,
    SendUncertain,
    Throttled,
)
from backend.app.followups.outlet import Reply
from backend.app.mail.smtp import SmtpConnection, open_smtp
from backend.app.runtime import Run
from backend.app.store import mailboxes
from backend.app.store.records import OutboxClaim

log = logging.getLogger("relance.followups")

# A server that hangs up on one mail may mean that mail; on three in a row it means us.
MOST_LOSSES = 3


class MailOutlet:
    """One SMTP connection for each mailbox and run; a mailbox that fails is left for this run.

    begins: is told of each mailbox that begins a mail.
    """

    def __init__(self, run: Run, begins: Callable[[int], None]) -> None:
        self._run = run
        self._begins = begins
        self._open: dict[int, tuple[SmtpConnection, str]] = {}  # each with its mailbox's address
        self._losses: dict[int, int] = defaultdict(int)
        self._failed: dict[int, MailboxError | CredentialsUnreadable] = {}

    def send(
        self, claimed: OutboxClaim, *, before_body: Callable[[], None], body_within: float
    ) -> Reply:
        """See Outlet.send."""
        integration_id = claimed.integration_id
        connection, sender = self._connection(integration_id)
        self._begins(integration_id)
        try:
            words = connection.send(
                sender=sender,
                recipient=claimed.recipient,
                raw=claimed.raw,
                before_body=before_body,
                body_within=body_within,
            )
        except MailboxError as error:
            self._give_up(integration_id, error)
            raise
        except (NotSent, SendUncertain) as error:
            self._note_end(integration_id, connection, error)
            raise
        self._losses[integration_id] = 0
        return Reply(words)

    def has_failed(self, integration_id: int) -> bool:
        """Whether this mailbox is left alone for the rest of the run."""
        return integration_id in self._failed

    def _connection(self, integration_id: int) -> tuple[SmtpConnection, str]:
        if integration_id in self._failed:
            raise self._failed[integration_id]
        found = self._open.get(integration_id)
        if found is None or not found[0].answers():
            try:
                account = db.read(mailboxes.load_account, integration_id)
                endpoint = smtp_endpoint(account, self._run.settings, self._run.vault)
                found = open_smtp(endpoint), account.email
            except (MailboxError, CredentialsUnreadable) as error:
                self._give_up(integration_id, error)
                raise
            self._open[integration_id] = found
        return found

    def _note_end(
        self, integration_id: int, connection: SmtpConnection, error: NotSent | SendUncertain
    ) -> None:
        """The next mail gets a new connection, until too many in a row were lost.

        Without that a server that says 421 to everything, or nothing at all, would cost each
        reminder of the run an attempt and a time-out.
        """
        if connection.usable:
            self._losses[integration_id] = 0
            return
        self._losses[integration_id] += 1
        if self._losses[integration_id] >= MOST_LOSSES:
            words = f"{MOST_LOSSES} connections in a row were lost, the last: {error}"
            self._give_up(integration_id, Throttled(words))

    def _give_up(self, integration_id: int, error: MailboxError | CredentialsUnreadable) -> None:
        """Leave a mailbox alone for the rest of the run."""
        self._failed[integration_id] = error
        log.error("integration=%d cannot send: %s", integration_id, error)

    def close(self) -> None:
        for connection, _ in self._open.values():
            connection.close()
