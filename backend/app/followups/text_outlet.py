"""The text messages of one run: each company's account, left when it fails."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from backend.app import db
from backend.app.errors import (
    CredentialsUnreadable,
    MailboxError,
    MailboxMisconfigured,
    NotSent,
    SendUncertain,
    Throttled,
)
from backend.app.followups.outlet import Reply
from backend.app.followups.provider import sms_provider
from backend.app.runtime import Run
from backend.app.sms.twilio import Twilio
from backend.app.store import sms_accounts
from backend.app.store.records import OutboxClaim

log = logging.getLogger("relance.followups")

# A provider that leaves one request without an answer may stumble over that one; over three in a
# row, it is down, and each further one would be uncertain too.
MOST_LOSSES = 3


@dataclass(frozen=True, slots=True)
class _Account:
    provider: Twilio
    sender: str


class TextOutlet:
    """One account for each company and run; one that fails is left for this run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._open: dict[int, _Account] = {}
        self._losses: dict[int, int] = defaultdict(int)
        self._failed: dict[int, MailboxError | CredentialsUnreadable] = {}

    def send(
        self, claimed: OutboxClaim, *, before_body: Callable[[], None], body_within: float
    ) -> Reply:
        """See Outlet.send."""
        company_id = claimed.company_id
        try:
            account = self._account(company_id)
            taken = account.provider.send(
                sender=account.sender,
                recipient=claimed.recipient,
                text=claimed.content,
                before_text=before_body,
                text_within=body_within,
            )
        except (MailboxError, CredentialsUnreadable) as error:
            self._give_up(company_id, error)
            raise
        except SendUncertain as error:
            self._note_loss(company_id, error)
            raise
        except NotSent:
            self._losses[company_id] = 0
            raise
        self._losses[company_id] = 0
        return Reply(f"{taken.status} as {taken.sid}", taken.sid)

    def _account(self, company_id: int) -> _Account:
        if company_id in self._failed:
            raise self._failed[company_id]
        if company_id not in self._open:
            self._open[company_id] = self._load(company_id)
        return self._open[company_id]

    def _load(self, company_id: int) -> _Account:
        access = db.read(sms_accounts.find_account, company_id)
        if access is None or not access.is_active:
            raise MailboxMisconfigured(f"company {company_id} has no account for text messages")
        provider = sms_provider(access, self._run.settings, self._run.vault)
        return _Account(provider, access.sender)

    def _note_loss(self, company_id: int, error: SendUncertain) -> None:
        self._losses[company_id] += 1
        if self._losses[company_id] >= MOST_LOSSES:
            words = f"{MOST_LOSSES} requests in a row had no answer, the last: {error}"
            self._give_up(company_id, Throttled(words))

    def _give_up(self, company_id: int, error: MailboxError | CredentialsUnreadable) -> None:
        """Leave an account alone for the rest of the run."""
        if company_id not in self._failed:
            log.error("company=%d cannot send text messages: %s", company_id, error)
        self._failed[company_id] = error

    def close(self) -> None:
        """Each request has a connection of its own."""
