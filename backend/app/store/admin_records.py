"""The frozen values that manage.py's statements hand out and take; no SQL.

Their field names are the keys of every `--json` answer: a name here is a promise to scripts.
Instants are aware UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class CompanyRow:
    id: int
    name: str
    timezone: str
    locale: str
    country: str


@dataclass(frozen=True, slots=True)
class ClientRow:
    id: int
    company_id: int
    name: str
    email: str | None
    language: str | None
    phone: str | None
    do_not_contact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxRow:
    """A mailbox and its health; never a secret. See MailboxState for the instants.

    audit: what the last audit counted, see inbox/audit.py.

    fresh_at and the rest are None (failures 0) for one that no run has met yet.
    """

    id: int
    company_id: int
    email: str
    from_name: str
    aliases: list[str]
    imap_host: str
    imap_port: int
    imap_security: str
    username: str
    sent_folder: str | None
    smtp_host: str | None
    smtp_port: int
    smtp_security: str
    smtp_username: str | None
    is_active: bool
    lease_owner: str | None
    lease_until: datetime | None
    next_sync_at: datetime | None
    last_attempt_at: datetime | None
    last_success_at: datetime | None
    fresh_at: datetime | None
    backlog: bool
    failures: int
    error_kind: str | None
    error: str | None
    error_since: datetime | None
    history_days: int | None = None
    audited_at: datetime | None = None
    audit: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFollowup:
    """What a person gives for a follow-up. source_type and source_id: both or neither."""

    type: str
    source_label: str
    due_date: date | None
    amount: Decimal | None = None
    currency: str = "EUR"
    source_type: str | None = None
    source_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowupRow:
    """A follow-up and its client, as the rows stand."""

    id: int
    company_id: int
    client_id: int
    client_name: str
    client_email: str | None
    client_phone: str | None
    conversation_id: int | None
    type: str
    source_type: str | None
    source_id: str | None
    source_label: str
    amount: Decimal | None
    currency: str
    due_date: date | None
    status: str
    auto_enabled: bool
    auto_state: str
    auto_reason: str | None
    steps_sent: int
    last_step_at: datetime | None
    next_action_at: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRow:
    """A reminder step on its way out, without its text.

    carried_by: the row in whose mail it goes, with several of the client's follow-ups; else None.
    message_id: None for one that never had a mail of its own.
    """

    id: int
    company_id: int
    followup_id: int
    step: int
    channel: str
    provider_id: str | None
    integration_id: int
    conversation_id: int | None
    carried_by: int | None
    message_id: str | None
    recipient: str
    subject: str
    state: str
    attempts: int
    next_attempt_at: datetime | None
    sending_at: datetime | None
    sent_at: datetime | None
    needs_person: bool
    smtp_code: int | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow:
    """One line of a follow-up's history, without the text that was sent.

    facts: what a decision rested on (see followups/facts.py); None where nothing was decided.
    """

    id: int
    step: int
    status: str
    reason: str | None
    message_type: str
    sent_by_name: str
    sent_at: datetime
    conversation_id: int | None
    facts: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationRow:
    """`folder` is the inbox folder's name; `messages` how many there are."""

    id: int
    company_id: int
    client_id: int | None
    client_name: str | None
    client_email: str | None
    folder: str | None
    subject: str
    status: str
    unread_count: int
    last_message_at: datetime | None
    messages: int


@dataclass(frozen=True, slots=True)
class AttachmentRow:
    """size in bytes."""

    filename: str
    content_type: str
    size: int
    inline: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRow:
    """One mail of a conversation. reply_content: `content` without what it quotes, or None."""

    id: int
    external_id: str
    from_name: str
    from_email: str
    recipients: list[str]
    subject: str
    content: str
    reply_content: str | None
    is_from_client: bool
    read: bool
    kind: str
    kind_reason: str
    placement: str
    notes: list[str]
    sent_at: datetime
    arrived_at: datetime
    attachments: tuple[AttachmentRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineRow:
    """A mail in quarantine, without its bytes; size in bytes.

    next_attempt_at: None when no further attempt is made without a person.
    """

    id: int
    company_id: int
    integration_id: int
    folder: str
    uidvalidity: int
    uid: int
    sender_key: str | None
    size: int
    arrived_at: datetime
    error: str
    attempts: int
    next_attempt_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """finished_at None: it runs now, or it was killed."""

    id: int
    script: str
    host: str
    pid: int
    started_at: datetime
    finished_at: datetime | None
    exit_status: int | None
    counts: Mapping[str, Any]
