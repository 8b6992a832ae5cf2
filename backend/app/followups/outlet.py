"""What each channel does with a claimed step: one small interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from backend.app.store.records import OutboxClaim


@dataclass(frozen=True, slots=True)
class Reply:
    """A server has taken the step. words: its last ones, one line.

    provider_id: what a provider of text messages calls it; None for a mail.
    """

    words: str
    provider_id: str | None = None


class Outlet(Protocol):
    """One channel in one run. It keeps what can be used again, and leaves alone what failed."""

    def send(
        self, claimed: OutboxClaim, *, before_body: Callable[[], None], body_within: float
    ) -> Reply:
        """Send one step.

        before_body runs when nothing has gone out yet and the next bytes may be the step itself:
        what it raises ends the attempt, and passes through. body_within: seconds that may pass
        between its return and those bytes.
        Raises NotSent, SendUncertain, and MailboxError or CredentialsUnreadable when this sender
        cannot be used at all: each time the same in one run.
        """

    def close(self) -> None:
        """The run ends."""
