"""The shared inbox: folders, conversations, messages and their attachments."""

from datetime import date
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from backend.app.mail.message import MailKind
from backend.app.models.base import Base, one_of, same_company
from backend.app.models.types import BigId, Json, created, instant, optional_instant


class ConversationStatus(StrEnum):
    """Whose turn it is."""

    OPEN = "open"  # somebody at the company should look
    WAITING = "waiting"  # the company wrote last
    CLOSED = "closed"  # done, until a mail arrives


class InboxFolder(Base):
    """A drawer of the shared inbox (not a folder on the mail server)."""

    __tablename__ = "inbox_folders"
    __table_args__ = (
        sa.UniqueConstraint("company_id", "slug"),
        sa.UniqueConstraint("company_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    company_id: Mapped[int] = mapped_column(sa.ForeignKey("companies.id"))
    slug: Mapped[str] = mapped_column(sa.String(40))
    name: Mapped[str] = mapped_column(sa.String(120))
    position: Mapped[int] = mapped_column(server_default="0")
    created_at: Mapped[created]


class Conversation(Base):
    """A thread with one client; `client_id` is NULL where no client is behind it (a newsletter).

    thread_key   'mail:<fingerprint>' of the mail that opened it, or 'client:<id>' when a reminder
                 did; never NULL, so that the unique key bites
    last_message_at never goes back; unread_count is only ever changed in SQL
    """

    __tablename__ = "conversations"
    __table_args__ = (
        sa.UniqueConstraint("company_id", "source", "thread_key"),
        sa.UniqueConstraint("company_id", "id"),
        same_company("clients", "client_id"),
        same_company("inbox_folders", "folder_id"),
        one_of("status", "status", ConversationStatus),
        sa.Index("ix_conversations_client", "client_id", "last_message_at"),
        sa.Index("ix_conversations_recent", "company_id", "last_message_at"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    company_id: Mapped[int] = mapped_column(sa.ForeignKey("companies.id"))
    client_id: Mapped[int | None]
    source: Mapped[str] = mapped_column(sa.String(20), server_default="email")
    thread_key: Mapped[str] = mapped_column(sa.String(80))
    subject: Mapped[str] = mapped_column(sa.String(500), server_default="")
    subject_key: Mapped[str] = mapped_column(sa.String(200), server_default="")
    status: Mapped[str] = mapped_column(sa.String(10), server_default="open")
    folder_id: Mapped[int | None]
    unread_count: Mapped[int] = mapped_column(server_default="0")
    last_message_at: Mapped[optional_instant]
    created_at: Mapped[created]


class InboxMessage(Base):
    """One mail of a conversation, however many mailboxes and folders hold it.

    external_id   Message-ID without <>       fingerprint  its identity inside the company
    from_key      normalised sender           recipients   normalised To, Cc and Bcc
    sent_at       the Date header, held to the time of arrival; the order within a conversation
    arrived_at    when the server received it (INTERNALDATE), or when we sent it
    placement     why it stands in this conversation; kind, kind_reason: what it is, and why
    about_external_id   for a bounce or complaint: the Message-ID of the mail that it is about
    bounce_hard   for a bounce: whether another try would fail as well
    back_on       for an out-of-office notice: the day of return, where it names one
    """

    __tablename__ = "inbox_messages"
    __table_args__ = (
        sa.UniqueConstraint("company_id", "fingerprint"),
        sa.UniqueConstraint("company_id", "id"),
        same_company("conversations", "conversation_id"),
        same_company("inbox_integrations", "integration_id"),
        one_of("kind", "kind", MailKind),
        sa.Index("ix_inbox_messages_external_id", "company_id", "external_id"),
        sa.Index("ix_inbox_messages_in_reply_to", "company_id", "in_reply_to"),
        sa.Index("ix_inbox_messages_conversation", "conversation_id", "sent_at"),
        sa.Index("ix_inbox_messages_answers", "company_id", "from_key", "arrived_at"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    company_id: Mapped[int] = mapped_column(sa.ForeignKey("companies.id"))
    conversation_id: Mapped[int]
    integration_id: Mapped[int | None]
    source: Mapped[str] = mapped_column(sa.String(20), server_default="email")
    external_id: Mapped[str] = mapped_column(sa.String(320))
    fingerprint: Mapped[str] = mapped_column(sa.String(64))
    in_reply_to: Mapped[str | None] = mapped_column(sa.String(320))
    about_external_id: Mapped[str | None] = mapped_column(sa.String(320))
    from_name: Mapped[str] = mapped_column(sa.String(200), server_default="")
    from_email: Mapped[str] = mapped_column(sa.String(320), server_default="")
    from_key: Mapped[str] = mapped_column(sa.String(320), server_default="")
    recipients: Mapped[list[str]] = mapped_column(Json, server_default="[]")
    subject: Mapped[str] = mapped_column(sa.String(500), server_default="")
    content: Mapped[str] = mapped_column(sa.Text, server_default="")
    reply_content: Mapped[str | None] = mapped_column(sa.Text)
    content_html: Mapped[str | None] = mapped_column(sa.Text)
    is_from_client: Mapped[bool]
    read: Mapped[bool] = mapped_column(server_default=sa.false())
    kind: Mapped[str] = mapped_column(sa.String(12))
    kind_reason: Mapped[str] = mapped_column(sa.String(60), server_default="")
    back_on: Mapped[date | None]
    bounce_hard: Mapped[bool | None]
    placement: Mapped[str] = mapped_column(sa.String(40))
    notes: Mapped[list[str]] = mapped_column(Json, server_default="[]")
    sent_at: Mapped[instant]
    arrived_at: Mapped[instant]
    created_at: Mapped[created]


class SenderHour(Base):
    """How many mails one sender sent to a company within one hour of arrival (UTC)."""

    __tablename__ = "sender_hours"

    company_id: Mapped[int] = mapped_column(sa.ForeignKey("companies.id"), primary_key=True)
    sender_key: Mapped[str] = mapped_column(sa.String(320), primary_key=True)
    hour: Mapped[instant] = mapped_column(primary_key=True)
    mails: Mapped[int] = mapped_column(server_default="1")


class MessageAttachment(Base):
    """A file of a message. Its bytes lie under ATTACHMENTS_DIR/<company>/<two digits>/<sha256>."""

    __tablename__ = "message_attachments"
    __table_args__ = (
        same_company("inbox_messages", "message_id"),
        sa.UniqueConstraint("message_id", "position"),
        # manage.py client erase: whether another message has the same file
        sa.Index("ix_message_attachments_content", "company_id", "sha256"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    company_id: Mapped[int]
    message_id: Mapped[int]
    position: Mapped[int]
    filename: Mapped[str] = mapped_column(sa.String(255))
    content_type: Mapped[str] = mapped_column(sa.String(120))
    content_id: Mapped[str | None] = mapped_column(sa.String(320))
    inline: Mapped[bool] = mapped_column(server_default=sa.false())
    size: Mapped[int] = mapped_column(sa.BigInteger)
    sha256: Mapped[str] = mapped_column(sa.String(64))
