"""The SMTP connections of one run: one for each mailbox, reused, paced, and left when it fails."""

from __future__ import annotations

import logging
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence

from backend.app import db
from backend.app.endpoints import smtp_endpoint
from backend.app.errors import (
    CredentialsUnreadable,
    MailboxError,
    NotSent,
    SendUncertain,
    Throttled,
)
from backend.app.mail.smtp import SmtpConnection, open_smtp
from backend.app.runtime import Run
from backend.app.store import followups, mailboxes
from backend.app.store.records import Due

log = logging.getLogger("relance.followups")

# A server that hangs up on one mail may mean that mail; on three in a row it means us.
MOST_LOSSES = 3
MINUTE = 60.0
LONGEST_NAP = 1.0  # a run that is asked to stop does not sleep on


class Outlets:
    """One SMTP connection for each mailbox and run; a mailbox that fails is left for this run.

    gone_out: how many mails went out, or may have.
    """

    def __init__(self, run: Run) -> None:
        self.gone_out = 0
        self.pace = Pace(run.settings.send_per_minute)
        self._run = run
        self._open: dict[int, SmtpConnection] = {}
        self._losses: dict[int, int] = defaultdict(int)
        self._failed: dict[int, MailboxError | CredentialsUnreadable] = {}

    def send(
        self,
        integration_id: int,
        *,
        recipient: str,
        raw: bytes,
        before_body: Callable[[], None],
        body_within: float,
    ) -> str:
        """Send one mail from a mailbox; the server's last words.

        Raises what SmtpConnection.send raises, and MailboxError or CredentialsUnreadable, each
        time the same for one mailbox in a run.
        """
        connection = self._connection(integration_id)
        sender = db.read(mailboxes.load_account, integration_id).email
        self.pace.note(integration_id)
        try:
            words = connection.send(
                sender=sender,
                recipient=recipient,
                raw=raw,
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
        return words

    def _connection(self, integration_id: int) -> SmtpConnection:
        if integration_id in self._failed:
            raise self._failed[integration_id]
        connection = self._open.get(integration_id)
        if connection is None or not connection.answers():
            try:
                account = db.read(mailboxes.load_account, integration_id)
                endpoint = smtp_endpoint(account, self._run.settings, self._run.vault)
                connection = open_smtp(endpoint)
            except (MailboxError, CredentialsUnreadable) as error:
                self._give_up(integration_id, error)
                raise
            self._open[integration_id] = connection
        return connection

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

    def in_pace(self, due: Sequence[Due]) -> Iterator[Due]:
        """The follow-ups in their order; those whose mailbox has used up its minute come later.

        It waits before a follow-up is claimed, never with a claim in its hands, and only when
        no other mailbox has anything left to do.
        """
        queue = deque(due)
        pauses: list[float] = []
        while queue and not self._run.stopping():
            first = queue.popleft()
            pause = self._pause(first.id)
            if pause == 0:
                pauses.clear()
                yield first
                continue
            queue.append(first)
            pauses.append(pause)
            if len(pauses) >= len(queue):
                self._sleep(min(pauses))
                pauses.clear()

    def _pause(self, followup_id: int) -> float:
        if not self.pace.is_felt():
            return 0
        integration_id = db.read(followups.find_mailbox_of, followup_id)
        if integration_id is None or integration_id in self._failed:
            return 0
        return self.pace.pause(integration_id)

    def _sleep(self, seconds: float) -> None:
        until = self.pace.clock() + seconds
        while (left := until - self.pace.clock()) > 0 and not self._run.stopping():
            self.pace.sleep(min(left, LONGEST_NAP))

    def close(self) -> None:
        for connection in self._open.values():
            connection.close()


class Pace:
    """At most so many mails a mailbox within any 60 seconds. Times are a monotonic clock's."""

    def __init__(
        self,
        per_minute: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.clock = clock
        self.sleep = sleep
        self._per_minute = per_minute
        self._times: dict[int, deque[float]] = {}

    def note(self, integration_id: int) -> None:
        """A mail begins now."""
        times = self._times.setdefault(integration_id, deque(maxlen=self._per_minute))
        times.append(self.clock())

    def is_felt(self) -> bool:
        """Whether any mailbox has begun as many as fit into a minute, however long ago."""
        return any(len(times) == self._per_minute for times in self._times.values())

    def pause(self, integration_id: int) -> float:
        """Seconds until this mailbox may begin its next mail; 0 when it may now."""
        times = self._times.get(integration_id)
        if times is None or len(times) < self._per_minute:
            return 0.0
        return max(0.0, times[0] + MINUTE - self.clock())
