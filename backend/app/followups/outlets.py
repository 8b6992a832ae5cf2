"""The ways out of one run: an outlet for each channel, in the pace that the mailboxes bear."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from backend.app import db
from backend.app.channel import Channel
from backend.app.followups.mail_outlet import MailOutlet
from backend.app.followups.outlet import Outlet, Reply
from backend.app.followups.text_outlet import TextOutlet
from backend.app.runtime import Run
from backend.app.store import followups
from backend.app.store.records import Due, OutboxClaim

MINUTE = 60.0
LONGEST_NAP = 1.0  # a run that is asked to stop does not sleep on


class Outlets:
    """The outlets of one run. gone_out: how many reminders went out, or may have."""

    def __init__(self, run: Run) -> None:
        self.gone_out = 0
        self.pace = Pace(run.settings.send_per_minute)
        self._run = run
        self._mail = MailOutlet(run, self.pace.note)
        self._by_channel: dict[Channel, Outlet] = {
            Channel.EMAIL: self._mail,
            Channel.SMS: TextOutlet(run),
        }

    def send(
        self, claimed: OutboxClaim, *, before_body: Callable[[], None], body_within: float
    ) -> Reply:
        """By the step's own channel; raises what Outlet.send raises."""
        outlet = self._by_channel[claimed.channel]
        return outlet.send(claimed, before_body=before_body, body_within=body_within)

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
        if integration_id is None or self._mail.has_failed(integration_id):
            return 0
        return self.pace.pause(integration_id)

    def _sleep(self, seconds: float) -> None:
        until = self.pace.clock() + seconds
        while (left := until - self.pace.clock()) > 0 and not self._run.stopping():
            self.pace.sleep(min(left, LONGEST_NAP))

    def close(self) -> None:
        for outlet in self._by_channel.values():
            outlet.close()


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
