"""Messages whose files stayed on the mail server, and the files once they are here."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.models import InboxMessage, LedgerEntry, MessageAttachment
from backend.app.store.messages import insert_attachments
from backend.app.store.records import Place, StoredFile


def list_marked(session: Session, conversation_id: int, mark: str) -> list[int]:
    """The conversation's messages with a note that begins with `mark`."""
    m = InboxMessage
    rows = session.execute(
        sa.select(m.id, m.notes).where(m.conversation_id == conversation_id).order_by(m.id)
    ).all()
    return [row.id for row in rows if any(note.startswith(mark) for note in row.notes)]


def list_places(session: Session, message_id: int) -> list[Place]:
    """Where a message was met on the servers, the latest first."""
    e = LedgerEntry
    rows = session.execute(
        sa.select(e.integration_id, e.folder, e.uidvalidity, e.uid)
        .where(e.message_id == message_id)
        .order_by(e.created_at.desc(), e.uidvalidity.desc())
    ).all()
    return [Place(*row) for row in rows]


def record_files(
    session: Session, message_id: int, files: Sequence[StoredFile], mark: str, note: str
) -> bool:
    """Attach the files and replace the note that begins with `mark`; False when it is gone."""
    message = session.scalar(
        sa.select(InboxMessage).where(InboxMessage.id == message_id).with_for_update()
    )
    if message is None or not any(each.startswith(mark) for each in message.notes):
        return False
    session.execute(sa.delete(MessageAttachment).where(MessageAttachment.message_id == message_id))
    insert_attachments(session, message.company_id, message_id, files)
    message.notes = [note if each.startswith(mark) else each for each in message.notes]
    return True
