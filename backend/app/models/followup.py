"""Follow-ups, the outbox through which they go out, and their history."""

from datetime import date
from decimal import Decimal
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from backend.app.channel import Channel
from backend.app.models.base import Base, one_of, same_company
from backend.app.models.types import BigId, Document, Json, created, instant, optional_instant


class AutoState(StrEnum):
    """Where the automatic reminders of a follow-up stand; `status` is the business's own word."""

    ACTIVE = "active"  # looked at when next_action_at comes
    HELD = "held"  # waits for a person; auto_reason says why
    STOPPED = "stopped"  # paid, answered, refused, ...: no further reminder
    COMPLETED = "completed"  # every step went out


class OutboxState(StrEnum):
    """See the diagram in docs/explanation.md. Only CLAIMED may become SENDING."""

    PLANNED = "planned"  # to be tried (again) at next_attempt_at
    CLAIMED = "claimed"  # a worker has it; the body has certainly not gone out
    SENDING = "sending"  # the body may be on its way
    SENT = "sent"
    FAILED = "failed"  # refused for good, or given up
    CANCELLED = "cancelled"  # stopped before the body went out
    UNCERTAIN = "uncertain"  # may have gone out; never sent again by itself


class Followup(Base):
    """One thing to remind a client of. The host application makes it and changes `status`.

    type          see FollowupType           due_date   in the company's own calendar
    steps_sent       the number of the last step that went out (or was settled as such); steps that
                     were skipped before it count
    next_action_at   when the sender looks at it next; set it to now after an edit
    promised_until   the client's promise: no reminder until this day is over
    postponed_until  no reminder before this day
    approved_at      a person has let it go on, though it was old, bounced or one of too many
    answers_seen_at  a person has read what came before and wants the reminders to go on
    client_gap_until its turn had come, and other reminders to its client made it wait till then
    payment_link, signature_link   https addresses for this one; NULL: the company's, if any
    document      a file below DOCUMENTS_DIR/<company_id>/ that goes with each of its mails
    """

    __tablename__ = "followups"
    __table_args__ = (
        sa.UniqueConstraint("company_id", "id"),
        same_company("clients", "client_id"),
        same_company("conversations", "conversation_id"),
        same_company("inbox_integrations", "integration_id"),
        one_of("auto_state", "auto_state", AutoState),
        sa.Index("ix_followups_client", "client_id"),
        sa.Index("ix_followups_company", "company_id", "auto_state"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    company_id: Mapped[int] = mapped_column(sa.ForeignKey("companies.id"))
    client_id: Mapped[int]
    conversation_id: Mapped[int | None]
    integration_id: Mapped[int | None]
    type: Mapped[str] = mapped_column(sa.String(40))
    source_type: Mapped[str | None] = mapped_column(sa.String(40))
    source_id: Mapped[str | None] = mapped_column(sa.String(64))
    source_label: Mapped[str] = mapped_column(sa.String(200), server_default="")
    amount: Mapped[Decimal | None] = mapped_column(sa.Numeric(12, 2))
    currency: Mapped[str] = mapped_column(sa.String(3), server_default="EUR")
    due_date: Mapped[date | None]
    status: Mapped[str] = mapped_column(sa.String(20), server_default="pending")
    auto_enabled: Mapped[bool] = mapped_column(server_default=sa.true())
    auto_stop_on_response: Mapped[bool] = mapped_column(server_default=sa.true())
    auto_stop_on_paid: Mapped[bool] = mapped_column(server_default=sa.true())
    auto_stop_on_refused: Mapped[bool] = mapped_column(server_default=sa.true())
    auto_state: Mapped[str] = mapped_column(sa.String(10), server_default="active")
    auto_reason: Mapped[str | None] = mapped_column(sa.String(200))
    steps_sent: Mapped[int] = mapped_column(server_default="0")
    last_step_at: Mapped[optional_instant]
    promised_until: Mapped[date | None]
    postponed_until: Mapped[date | None]
    approved_at: Mapped[optional_instant]
    answers_seen_at: Mapped[optional_instant]
    client_gap_until: Mapped[optional_instant]
    next_action_at: Mapped[created]
    created_at: Mapped[created]
    payment_link: Mapped[str | None] = mapped_column(sa.String(2000))
    signature_link: Mapped[str | None] = mapped_column(sa.String(2000))
    document: Mapped[str | None] = mapped_column(sa.String(400))


class OutboxMail(Base):
    """One reminder step on its way out: rendered, with its Message-ID, before anybody is spoken to.

    A text message has its bare text for `raw`, a number for `recipient`, no subject and no place
    outside for its Message-ID.

    Where several follow-ups of a client go in one mail, the row of one of them is the mail's own,
    and the others are carried by it: they change their state with it, in the same commit.

    carried_by     the row whose mail this step goes in, or went in last; None for a mail of its own
    message_id     of its own mail, also of an earlier attempt; None for one that never had any
    client_id      the follow-up's, so that the sync script need not read follow-ups
    recipient      the client's address, or number, when it was claimed
    token          grows with each claim; a worker whose token is older must not send
    sending_at     since when the body may be out
    needs_person   uncertain, and no proof came in time
    facts          what the step's last decision rested on, before its body went out
    provider_id    what the provider calls a text message that it has taken
    smtp_code      the server's last code, SMTP's or HTTP's
    """

    __tablename__ = "outbox"
    __table_args__ = (
        sa.UniqueConstraint("company_id", "id"),
        sa.UniqueConstraint("followup_id", "step"),
        sa.UniqueConstraint("message_id"),
        same_company("followups", "followup_id"),
        same_company("clients", "client_id"),
        same_company("conversations", "conversation_id"),
        same_company("inbox_integrations", "integration_id"),
        same_company("outbox", "carried_by"),
        one_of("state", "state", OutboxState),
        one_of("channel", "channel", Channel),
        sa.CheckConstraint("carried_by IS NOT NULL OR message_id IS NOT NULL", name="mail"),
        sa.CheckConstraint("carried_by <> id", name="carried_by"),
        sa.CheckConstraint(
            "state NOT IN ('claimed', 'sending')"
            " OR (owner IS NOT NULL AND lease_until IS NOT NULL)",
            name="owner",
        ),
        # send_automatic_followups: what a client, a mailbox and a company were sent lately
        sa.Index("ix_outbox_client_sent", "client_id", "sending_at"),
        sa.Index("ix_outbox_mailbox_sent", "integration_id", "sending_at"),
        sa.Index("ix_outbox_company_sent", "company_id", "sending_at"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    company_id: Mapped[int]
    followup_id: Mapped[int]
    client_id: Mapped[int]
    step: Mapped[int]
    integration_id: Mapped[int]
    conversation_id: Mapped[int | None]
    channel: Mapped[str] = mapped_column(sa.String(8), server_default=Channel.EMAIL.value)
    carried_by: Mapped[int | None]
    message_id: Mapped[str | None] = mapped_column(sa.String(320))
    provider_id: Mapped[str | None] = mapped_column(sa.String(64))
    fingerprint: Mapped[str] = mapped_column(sa.String(64))
    recipient: Mapped[str] = mapped_column(sa.String(320))
    subject: Mapped[str] = mapped_column(sa.String(500))
    content: Mapped[str] = mapped_column(sa.Text)
    raw: Mapped[bytes] = mapped_column(sa.LargeBinary)
    state: Mapped[str] = mapped_column(sa.String(10))
    token: Mapped[int] = mapped_column(sa.BigInteger, server_default="1")
    owner: Mapped[str | None] = mapped_column(sa.String(120))
    lease_until: Mapped[optional_instant]
    attempts: Mapped[int] = mapped_column(server_default="1")
    next_attempt_at: Mapped[optional_instant]
    sending_at: Mapped[optional_instant]
    sent_at: Mapped[optional_instant]
    needs_person: Mapped[bool] = mapped_column(server_default=sa.false())
    smtp_code: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(sa.String(500))
    facts: Mapped[Document | None] = mapped_column(Json)
    created_at: Mapped[created]


class HistoryStatus(StrEnum):
    """What happened to a follow-up."""

    SENT = "sent"
    FAILED = "failed"
    UNCERTAIN = "uncertain"
    HELD = "held"
    STOPPED = "stopped"
    COMPLETED = "completed"
    RELEASED = "released"
    WAITING = "waiting"  # written when the reason for waiting is another one than before
    SKIPPED = "skipped"  # a step whose time passed while nothing could go out
    POSTPONED = "postponed"  # by a person


class FollowupHistory(Base):
    """What was done and why, for the company to read. One row at most for each sent step.

    facts: what a decision rested on, see facts.snapshot; NULL where nothing was decided.
    """

    __tablename__ = "followup_history"
    __table_args__ = (
        same_company("followups", "followup_id"),
        same_company("conversations", "conversation_id"),
        one_of("status", "status", HistoryStatus),
        sa.Index("ix_followup_history_followup_id", "followup_id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    company_id: Mapped[int]
    followup_id: Mapped[int]
    conversation_id: Mapped[int | None]
    step: Mapped[int]
    message: Mapped[str] = mapped_column(sa.Text, server_default="")
    message_type: Mapped[str] = mapped_column(sa.String(20), server_default="email")
    status: Mapped[str] = mapped_column(sa.String(12))
    reason: Mapped[str | None] = mapped_column(sa.String(200))
    sent_by_name: Mapped[str] = mapped_column(sa.String(200), server_default="")
    sent_at: Mapped[instant]
    facts: Mapped[Document | None] = mapped_column(Json)
