"""What a decision rests on and what it says: frozen values, no behaviour but the obvious."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, date, datetime

from backend.app.channel import Channel
from backend.app.followups.reasons import ReasonCode


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowupFacts:
    """What is known of one follow-up, read under its claim. Instants are aware UTC, dates are days
    of the company's own calendar.

    type, status     the host application's words, as they stand in the row
    due_date         None when nobody gave one
    steps_sent       the number of the last step that went out; skipped ones before it count
    last_step_at     when it went out; None before the first
    answered_at      the newest human message of the client since the last step, or since created_at
                     when no step went out; None when there is none
    has_address      the client has an address that mail can be sent to
    has_phone        the client has a number that a text message can be sent to
    fresh_at         everything that reached the reply mailbox before this instant is in the inbox;
                     None when that mailbox was never synchronised
    time_zone        the company's IANA zone; country: its ISO 3166 code, for the holidays
    do_not_contact   the client wants no reminders at all
    promised_until   the client has promised to settle it by the end of this day
    postponed_until  somebody has put it off to this day
    back_on          the client is away until this day, by the newest such notice
    hard_bounce_at   a mail of ours to this address came back for good
    soft_bounces     how many of our mails to it came back for a passing reason lately
    soft_bounce_at   when the last of those came
    complained_at    the client told its provider that a mail of ours is unwanted
    approved_at      a person has looked at it and let it go on
    client_gap_until its turn had come, and waited until then for other reminders to its client
    """

    type: str
    status: str
    auto_enabled: bool
    due_date: date | None
    created_at: datetime
    steps_sent: int
    last_step_at: datetime | None
    auto_stop_on_response: bool
    auto_stop_on_paid: bool
    auto_stop_on_refused: bool
    answered_at: datetime | None
    has_address: bool
    fresh_at: datetime | None
    time_zone: str
    country: str = ""
    has_phone: bool = False
    do_not_contact: bool = False
    promised_until: date | None = None
    postponed_until: date | None = None
    back_on: date | None = None
    hard_bounce_at: datetime | None = None
    soft_bounces: int = 0
    soft_bounce_at: datetime | None = None
    complained_at: datetime | None = None
    approved_at: datetime | None = None
    client_gap_until: datetime | None = None

    @property
    def sent_before(self) -> datetime | None:
        """When the last step went out; for steps taken over from elsewhere, created_at."""
        if self.last_step_at is None and self.steps_sent:
            return self.created_at
        return self.last_step_at

    @property
    def approved(self) -> bool:
        """A person's word counts for the next step alone."""
        return self.approved_at is not None and (
            self.last_step_at is None or self.approved_at >= self.last_step_at
        )


def snapshot(facts: FollowupFacts) -> dict[str, object]:
    """The facts that say something, as JSON has them: what is kept beside a decision.

    No name, address, amount or text: those stand in the rows. Instants in UTC, without fractions.
    """
    found: dict[str, object] = {}
    for part in fields(facts):
        value = getattr(facts, part.name)
        if isinstance(value, datetime):
            found[part.name] = value.astimezone(UTC).isoformat(timespec="seconds")
        elif isinstance(value, date):
            found[part.name] = value.isoformat()
        elif value != part.default:
            found[part.name] = value
    return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Send:
    """Send step `step` (the first is 1) now. skipped: earlier ones whose time has passed."""

    step: int
    reason: ReasonCode = ReasonCode.DUE
    skipped: tuple[int, ...] = ()
    channel: Channel = Channel.EMAIL


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing now; look again at `until` (aware UTC, later than `now`)."""

    until: datetime
    reason: ReasonCode
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing any more, as long as the facts stay so."""

    reason: ReasonCode


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing until a person has looked. detail: which value is missing, for example."""

    reason: ReasonCode
    detail: str = ""


Decision = Send | Wait | Stop | Hold


def spoken(decision: Wait | Stop | Hold) -> str:
    """`out_of_office: back on 2026-12-01`, as it is stored and shown."""
    detail = "" if isinstance(decision, Stop) else decision.detail
    return f"{decision.reason.value}: {detail}" if detail else decision.reason.value
