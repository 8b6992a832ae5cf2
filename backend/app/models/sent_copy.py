"""Copies of our reminders in the Sent folders of their mailboxes."""

from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from backend.app.models.base import Base, one_of
from backend.app.models.types import BigId, created, instant


class CopyState(StrEnum):
    """What became of one copy."""

    WANTED = "wanted"  # to be looked for, and appended if it is not there
    FOUND = "found"  # the provider has filed one itself
    APPENDED = "appended"
    GIVEN_UP = "given_up"


class SentCopy(Base):
    """One reminder that went out and whose copy belongs into Sent.

    Not columns of the outbox: the sync script, which has the IMAP connection, must never write
    there, so that nothing about a copy can make a sent step look unsent.
    """

    __tablename__ = "sent_copies"
    __table_args__ = (one_of("state", "state", CopyState),)

    outbox_id: Mapped[int] = mapped_column(
        BigId, sa.ForeignKey("outbox.id"), primary_key=True, autoincrement=False
    )
    integration_id: Mapped[int] = mapped_column(sa.ForeignKey("inbox_integrations.id"))
    state: Mapped[str] = mapped_column(sa.String(10), server_default="wanted")
    attempts: Mapped[int] = mapped_column(server_default="0")
    next_attempt_at: Mapped[instant]
    error: Mapped[str | None] = mapped_column(sa.String(500))
    created_at: Mapped[created]
