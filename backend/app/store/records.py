"""The frozen values that the store hands out and takes; no SQL, so pure modules may use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from backend.app.channel import Channel
from backend.app.errors import SettingsInvalid


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to read one mailbox until the lease ends. started_at: the database's clock.

    connected_at: since when the mailbox is ours to read; None for one read whole before that
    was recorded. abandoned: how many visits before this one, in a row, never gave the lease back.
    """

    integration_id: int
    company_id: int
    token: int
    seconds: int
    started_at: datetime
    failures: int
    error_kind: str | None
    connected_at: datetime | None = None
    audited_at: datetime | None = None
    abandoned: int = 0


@dataclass(frozen=True, slots=True)
class MailboxAccount:
    """How to reach a mailbox; secrets are still encrypted."""

    id: int
    company_id: int
    email: str
    from_name: str
    imap_host: str
    imap_port: int
    imap_security: str
    username: str
    secret: str = field(repr=False)
    sent_folder: str | None
    smtp_host: str | None
    smtp_port: int
    smtp_security: str
    smtp_username: str | None
    smtp_secret: str | None = field(repr=False)
    is_active: bool
    history_days: int | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """An OAuth2 grant; both tokens are still encrypted. valid: the access token lasts a while."""

    provider: str
    refresh_token: str = field(repr=False)
    access_token: str | None = field(repr=False)
    version: int
    valid: bool


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a folder is read: see store/checkpoints.py and FolderCheckpoint."""

    id: int
    name: str
    uidvalidity: int
    last_uid: int
    recognise_until: int
    history_uid: int = 0
    history_top: int = 0
    history_since: date | None = None
    history_left: int = 0
    highestmodseq: int | None = None
    audit_uid: int = 0
    renumberings: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a mail lies on a server."""

    integration_id: int
    folder: str
    uidvalidity: int
    uid: int

    def values(self) -> dict[str, object]:
        return {
            "integration_id": self.integration_id,
            "folder": self.folder,
            "uidvalidity": self.uidvalidity,
            "uid": self.uid,
        }


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A quarantined mail that is due for another attempt."""

    id: int
    place: Place
    raw: bytes
    arrived_at: datetime
    attempts: int
    error: str


@dataclass(frozen=True, slots=True)
class Known:
    """A message that a mail refers to, or that refers to it.

    participants: keys of its sender and recipients.
    """

    external_id: str
    conversation_id: int
    client_key: str | None
    participants: frozenset[str]
    is_from_client: bool
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Reminder:
    """A reminder of ours, known by its Message-ID before it is anywhere else."""

    outbox_id: int
    client_id: int
    client_key: str | None
    recipient_key: str
    conversation_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DueFollowup:
    """A follow-up with its client, as they stand in the rows. Instants are aware UTC.

    facts: what a decision on it rests on, to be kept in its history; None where none is at hand.
    """

    id: int
    company_id: int
    client_id: int
    conversation_id: int | None
    integration_id: int | None
    type: str
    source_label: str
    amount: Decimal | None
    currency: str
    due_date: date | None
    status: str
    auto_enabled: bool
    auto_stop_on_response: bool
    auto_stop_on_paid: bool
    auto_stop_on_refused: bool
    steps_sent: int
    last_step_at: datetime | None
    promised_until: date | None
    postponed_until: date | None
    approved_at: datetime | None
    answers_seen_at: datetime | None
    client_gap_until: datetime | None
    auto_reason: str | None
    created_at: datetime
    client_name: str
    client_email: str | None
    client_key: str | None
    client_phone: str | None
    client_language: str | None
    do_not_contact: bool
    client_is_professional: bool | None
    source_id: str | None
    payment_link: str | None
    signature_link: str | None
    document: str | None
    facts: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """A follow-up that is to be looked at."""

    id: int
    company_id: int


@dataclass(frozen=True, slots=True)
class Bounces:
    """hard_at, soft_at: when the last of either kind came; soft: of how many mails.

    complained_at: when the client last reported a mail of ours as unwanted.
    """

    hard_at: datetime | None = None
    soft: int = 0
    soft_at: datetime | None = None
    complained_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What has gone out lately, or may have, or is in another run's hands.

    client_mail_at   the last reminder to this client, of any follow-up; None when there is none
    client_waits     another run is sending one to this client at this moment
    mailbox_today    how many this mailbox has sent today, by the company's calendar
    company_today    how many the company has sent today
    company_before   how many it has sent in the four weeks before today; 0 where today's are too
                     few to be a surge
    bounced_today    how many of its reminders came back for good in the last 24 hours
    in_run           how many of the company's this run has sent
    """

    client_mail_at: datetime | None = None
    client_waits: bool = False
    mailbox_today: int = 0
    company_today: int = 0
    company_before: int = 0
    bounced_today: int = 0
    in_run: int = 0

    def plus(self, more: Spent) -> Spent:
        moments = [at for at in (self.client_mail_at, more.client_mail_at) if at is not None]
        return Spent(
            client_mail_at=max(moments, default=None),
            client_waits=self.client_waits or more.client_waits,
            mailbox_today=self.mailbox_today + more.mailbox_today,
            company_today=self.company_today + more.company_today,
            company_before=self.company_before + more.company_before,
            bounced_today=self.bounced_today + more.bounced_today,
            in_run=self.in_run + more.in_run,
        )


@dataclass(frozen=True, slots=True)
class StepClaim:
    """One step of one follow-up: an outbox row, and the token of its claim."""

    id: int
    token: int
    followup_id: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxClaim:
    """A reminder step that this worker may send until its lease ends.

    raw: the rendered mail, or the text message. recipient: an address, or a number. companions: the
    steps of other follow-ups of the client that its mail carries.
    """

    id: int
    token: int
    company_id: int
    followup_id: int
    step: int
    integration_id: int
    conversation_id: int | None
    channel: Channel
    message_id: str
    recipient: str
    content: str
    raw: bytes = field(repr=False)
    attempts: int
    companions: tuple[StepClaim, ...] = ()

    @property
    def steps(self) -> tuple[StepClaim, ...]:
        """Every step that goes out with the mail, its own first."""
        return (StepClaim(self.id, self.token, self.followup_id, self.step), *self.companions)

    @property
    def followup_ids(self) -> list[int]:
        """In the order in which their rows are held."""
        return sorted(step.followup_id for step in self.steps)


@dataclass(frozen=True, slots=True)
class SmsAccess:
    """A company's account for text messages (see SmsAccount); the secret is still encrypted."""

    company_id: int
    provider: str
    account: str
    username: str
    secret: str = field(repr=False)
    sender: str
    is_active: bool


@dataclass(frozen=True, slots=True)
class WantedCopy:
    """A reminder that went out at sent_at and whose copy is to lie in Sent."""

    outbox_id: int
    attempts: int
    message_id: str
    raw: bytes = field(repr=False)
    sent_at: datetime


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An attachment that lies on disk already."""

    filename: str
    content_type: str
    content_id: str | None
    inline: bool
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class CompanyProfile:
    """timezone: an IANA name; locale: such as fr_FR; settings: the whole, unvalidated document."""

    id: int
    name: str
    timezone: str
    locale: str
    country: str
    settings: Mapping[str, Any]

    @property
    def language(self) -> str:
        return self.locale.replace("-", "_").split("_")[0].lower()

    def rules(self, name: str) -> Any:
        """The section of its settings that one script reads. Raises SettingsInvalid."""
        return settings_section(self.settings, name)


def settings_section(document: object, name: str) -> Any:
    """None where the document lacks it. Raises SettingsInvalid.

    The host application writes company_settings.settings: it may be any JSON value.
    """
    if not isinstance(document, Mapping):
        raise SettingsInvalid("settings: must be an object")
    return document.get(name)
