"""Mailboxes: how to reach them (the host application's) and how far we are (ours)."""

from datetime import date
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from backend.app.models.base import Base, one_of, same_company
from backend.app.models.types import BigId, Document, Json, created, instant, optional_instant


class Security(StrEnum):
    """How a connection is protected."""

    TLS = "tls"  # from the first byte (RFC 8314)
    STARTTLS = "starttls"
    PLAIN = "plain"  # loopback only, unless ALLOW_PLAINTEXT_HOSTS names the host


class InboxIntegration(Base):
    """One mailbox of a company. Neither script ever writes here.

    `secret` is a Fernet token (see credentials.py), never a plain password; the SMTP user name
    and secret fall back to the IMAP ones. An empty `secret`: sign-in by OAuth2, see OAuthGrant.
    `aliases` are further addresses of this mailbox.
    `history_days`: how much older mail the first sync brings; NULL is SYNC_HISTORY_DAYS.
    """

    __tablename__ = "inbox_integrations"
    __table_args__ = (
        sa.UniqueConstraint("company_id", "email"),
        sa.UniqueConstraint("company_id", "id"),
        one_of("imap_security", "imap_security", Security),
        one_of("smtp_security", "smtp_security", Security),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    company_id: Mapped[int] = mapped_column(sa.ForeignKey("companies.id"))
    email: Mapped[str] = mapped_column(sa.String(320))
    from_name: Mapped[str] = mapped_column(sa.String(200), server_default="")
    aliases: Mapped[list[str]] = mapped_column(Json, server_default="[]")
    imap_host: Mapped[str] = mapped_column(sa.String(255))
    imap_port: Mapped[int] = mapped_column(server_default="993")
    imap_security: Mapped[str] = mapped_column(sa.String(8), server_default="tls")
    username: Mapped[str] = mapped_column(sa.String(320))
    secret: Mapped[str] = mapped_column(sa.Text)
    sent_folder: Mapped[str | None] = mapped_column(sa.String(255))
    smtp_host: Mapped[str | None] = mapped_column(sa.String(255))
    smtp_port: Mapped[int] = mapped_column(server_default="465")
    smtp_security: Mapped[str] = mapped_column(sa.String(8), server_default="tls")
    smtp_username: Mapped[str | None] = mapped_column(sa.String(320))
    smtp_secret: Mapped[str | None] = mapped_column(sa.Text)
    is_active: Mapped[bool] = mapped_column(server_default=sa.true())
    created_at: Mapped[created]
    history_days: Mapped[int | None]


class MailboxState(Base):
    """The lease on a mailbox, and its health.

    fresh_at         what had arrived before this instant is in the inbox: the freshness gate
    backlog          mail is left over from the last visit, which took only a slice
    next_sync_at     not before this instant: the back-off after an error
    lease_token      grows by one with each claim; a worker whose token is older must write nothing
    abandoned        visits in a row that never gave the lease back: their runs were killed, or hang
    connected_at     since when it is ours to read: what arrived long before is history
    audit            what the last audit counted (inbox/audit.py), at audited_at
    traffic_bytes    how many bytes of mail were fetched on traffic_day (UTC)
    """

    __tablename__ = "mailbox_states"
    __table_args__ = (same_company("inbox_integrations", "integration_id"),)

    integration_id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    company_id: Mapped[int]
    lease_owner: Mapped[str | None] = mapped_column(sa.String(120))
    lease_token: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    lease_until: Mapped[optional_instant]
    abandoned: Mapped[int] = mapped_column(server_default="0")
    next_sync_at: Mapped[created]
    last_attempt_at: Mapped[optional_instant]
    last_success_at: Mapped[optional_instant]
    fresh_at: Mapped[optional_instant]
    backlog: Mapped[bool] = mapped_column(server_default=sa.false())
    failures: Mapped[int] = mapped_column(server_default="0")
    error_kind: Mapped[str | None] = mapped_column(sa.String(20))
    error: Mapped[str | None] = mapped_column(sa.String(500))
    error_since: Mapped[optional_instant]
    connected_at: Mapped[optional_instant]
    audited_at: Mapped[optional_instant]
    audit: Mapped[Document | None] = mapped_column(Json)
    traffic_day: Mapped[date | None]
    traffic_bytes: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")


class OAuthGrant(Base):
    """What a person granted us at a token server, for a mailbox whose `secret` is empty.

    Both tokens are Fernet tokens like a mailbox's `secret`. Not part of inbox_integrations, since
    the scripts have to write here: access tokens last an hour, and some servers give another
    refresh token with each.

    version          grows with each pair of tokens: who has an older one looks again
    refreshing_until a worker asks the token server now; nobody else does before this instant
    """

    __tablename__ = "oauth_grants"
    __table_args__ = (same_company("inbox_integrations", "integration_id"),)

    integration_id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    company_id: Mapped[int]
    provider: Mapped[str] = mapped_column(sa.String(20))
    refresh_token: Mapped[str] = mapped_column(sa.Text)
    access_token: Mapped[str | None] = mapped_column(sa.Text)
    expires_at: Mapped[optional_instant]
    version: Mapped[int] = mapped_column(server_default="1")
    refreshing_until: Mapped[optional_instant]
    created_at: Mapped[created]


class FolderCheckpoint(Base):
    """How far a folder on the server is read, from both ends (see store/checkpoints.py).

    Every UID in history_uid+1 .. last_uid is in the ledger, or is one of `history_left`.

    recognise_until   after the server renumbered: mail up to this UID may be known, so that its
                      headers are looked at before its body is fetched
    history_uid       mail up to this UID was there before us and is still to be looked at, the
                      newest first; 0: all of it was
    history_top       where that began; above it every mail is read, however old
    history_since     the horizon: what arrived on an earlier day stays on the server, unread by
                      us; NULL for no horizon
    history_left      how many mails that were
    highestmodseq     the whole folder was audited in this state, and nothing was missing
    audit_uid         from where on downwards the next audit looks at older mail; 0: the top
    renumberings      how many visits in a row found another UIDVALIDITY
    """

    __tablename__ = "folder_checkpoints"
    __table_args__ = (sa.UniqueConstraint("integration_id", "name"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    integration_id: Mapped[int] = mapped_column(sa.ForeignKey("inbox_integrations.id"))
    name: Mapped[str] = mapped_column(sa.String(255))
    uidvalidity: Mapped[int] = mapped_column(sa.BigInteger)
    last_uid: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    highestmodseq: Mapped[int | None] = mapped_column(sa.BigInteger)
    recognise_until: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    history_uid: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    history_top: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    history_left: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    history_since: Mapped[date | None]
    audit_uid: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    renumberings: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")


class LedgerState(StrEnum):
    """What became of a UID (I1)."""

    STORED = "stored"
    DUPLICATE = "duplicate"  # the same mail is a message already
    IGNORED = "ignored"  # gone from the server before it could be fetched
    QUARANTINED = "quarantined"  # kept raw, with its error


class LedgerEntry(Base):
    """One row for each UID ever met: in = stored + duplicate + ignored + quarantined."""

    __tablename__ = "message_ledger"
    __table_args__ = (
        one_of("state", "state", LedgerState),
        sa.Index("ix_message_ledger_message_id", "message_id"),
    )

    integration_id: Mapped[int] = mapped_column(
        sa.ForeignKey("inbox_integrations.id"), primary_key=True
    )
    folder: Mapped[str] = mapped_column(sa.String(255), primary_key=True)
    uidvalidity: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    uid: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    state: Mapped[str] = mapped_column(sa.String(12))
    message_id: Mapped[int | None] = mapped_column(sa.ForeignKey("inbox_messages.id"))
    reason: Mapped[str | None] = mapped_column(sa.String(200))
    created_at: Mapped[created]


class QuarantinedMail(Base):
    """A mail that could not be handled, raw, with its error; tried again, and by hand.

    sender_key   who seems to have sent it: no reminder goes to somebody whose answer may lie here
    """

    __tablename__ = "quarantined_mails"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["integration_id", "folder", "uidvalidity", "uid"],
            [
                "message_ledger.integration_id",
                "message_ledger.folder",
                "message_ledger.uidvalidity",
                "message_ledger.uid",
            ],
        ),
        sa.UniqueConstraint("integration_id", "folder", "uidvalidity", "uid"),
        sa.Index("ix_quarantined_mails_sync", "integration_id", "next_attempt_at"),
        sa.Index("ix_quarantined_mails_sender", "sender_key", "integration_id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    integration_id: Mapped[int]
    folder: Mapped[str] = mapped_column(sa.String(255))
    uidvalidity: Mapped[int] = mapped_column(sa.BigInteger)
    uid: Mapped[int] = mapped_column(sa.BigInteger)
    sender_key: Mapped[str | None] = mapped_column(sa.String(320))
    raw: Mapped[bytes] = mapped_column(sa.LargeBinary)
    arrived_at: Mapped[instant]
    error: Mapped[str] = mapped_column(sa.String(500))
    attempts: Mapped[int] = mapped_column(server_default="1")
    next_attempt_at: Mapped[optional_instant]
    created_at: Mapped[created]
