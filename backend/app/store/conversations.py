"""Conversations and inbox folders: found, opened and brought up to date, always in SQL."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.models import Conversation, ConversationStatus, InboxFolder, InboxMessage
from backend.app.store.upsert import insert_unless_there

EMAIL = "email"


def mail_thread(fingerprint: str) -> str:
    """The key of the conversation that a mail opens."""
    return f"mail:{fingerprint}"


def client_thread(client_id: int) -> str:
    """The key of the conversation that a reminder opens."""
    return f"client:{client_id}"


def find_or_create_folder(session: Session, company_id: int, slug: str, name: str) -> int:
    """A drawer of the shared inbox; made on first use."""
    look = sa.select(InboxFolder.id).where(
        InboxFolder.company_id == company_id, InboxFolder.slug == slug
    )
    found = session.scalar(look)
    if found is not None:
        return found
    insert_unless_there(
        session, InboxFolder, {"company_id": company_id, "slug": slug, "name": name}
    )
    return session.execute(look).scalar_one()


def find_or_open(
    session: Session,
    *,
    company_id: int,
    thread_key: str,
    client_id: int | None,
    subject: str,
    subject_key: str,
    folder_id: int | None,
) -> int:
    """The conversation of a thread; opened when there is none.

    The caller holds the client's row (see lock_client) when there is a client.
    """
    insert_unless_there(
        session,
        Conversation,
        {
            "company_id": company_id,
            "source": EMAIL,
            "thread_key": thread_key,
            "client_id": client_id,
            "subject": subject[:500],
            "subject_key": subject_key[:200],
            "folder_id": folder_id,
        },
    )
    return session.execute(
        sa.select(Conversation.id).where(
            Conversation.company_id == company_id,
            Conversation.source == EMAIL,
            Conversation.thread_key == thread_key,
        )
    ).scalar_one()


def find_latest_of_client(session: Session, company_id: int, client_id: int) -> int | None:
    """The conversation with a client that is not closed and in which something was said last."""
    return session.scalar(
        sa.select(Conversation.id)
        .where(
            Conversation.company_id == company_id,
            Conversation.client_id == client_id,
            Conversation.source == EMAIL,
            Conversation.status != ConversationStatus.CLOSED.value,
        )
        .order_by(Conversation.last_message_at.desc().nulls_last(), Conversation.id.desc())
        .limit(1)
    )


def find_or_open_for_reminder(
    session: Session,
    *,
    company_id: int,
    client_id: int,
    subject: str,
    subject_key: str,
    folder_id: int | None,
) -> int:
    """Where a reminder goes that lies nowhere yet: to what was said last, else into a new thread.

    The caller holds the client's row (see lock_client), so that no mail of this client can open a
    conversation between the look and the commit.
    """
    latest = find_latest_of_client(session, company_id, client_id)
    if latest is not None:
        return latest
    return find_or_open(
        session,
        company_id=company_id,
        thread_key=client_thread(client_id),
        client_id=client_id,
        subject=subject,
        subject_key=subject_key,
        folder_id=folder_id,
    )


def find_by_subject(
    session: Session,
    company_id: int,
    client_id: int,
    subject_key: str,
    since: datetime,
    until: datetime,
) -> int | None:
    """The client's newest conversation with this subject in which something was said then."""
    said_then = (
        sa.select(InboxMessage.id)
        .where(
            InboxMessage.conversation_id == Conversation.id,
            InboxMessage.sent_at.between(since, until),
        )
        .exists()
    )
    return session.scalar(
        sa.select(Conversation.id)
        .where(
            Conversation.company_id == company_id,
            Conversation.client_id == client_id,
            Conversation.source == EMAIL,
            Conversation.subject_key == subject_key,
            Conversation.last_message_at >= since,
            said_then,
        )
        .order_by(Conversation.last_message_at.desc())
        .limit(1)
    )


def append(
    session: Session,
    conversation_id: int,
    *,
    at: datetime,
    unread: bool,
    awaits_us: bool | None,
    history: bool = False,
    folder_id: int | None = None,
) -> bool:
    """Take a new message into account: the counter, the time (never back), whose turn it is.

    Locks the conversation until the commit. False when it is gone: the company deleted it.

    at: when it arrived, or when we sent it; not the Date header, since a client's clock may be
    hours behind, and the answer would then seem older than what it answers.
    awaits_us: True when a person should answer, False when we wrote, None when neither (a bounce,
    a vacation notice). An older message that arrives late changes nobody's turn.
    history: from long before the mailbox was connected: done, whoever wrote last.
    """
    c = Conversation
    newest = sa.or_(c.last_message_at.is_(None), c.last_message_at <= at)
    values: dict[str, object] = {
        # A reminder opens its conversation in no drawer; the answer puts it into one.
        "folder_id": sa.func.coalesce(c.folder_id, folder_id),
        "unread_count": c.unread_count + int(unread),
        "last_message_at": sa.case((newest, at), else_=c.last_message_at),
    }
    turn = _turn(awaits_us, history)
    if turn is not None:
        values["status"] = sa.case((newest, turn.value), else_=c.status)
    touched = session.execute(
        sa.update(c).where(c.id == conversation_id).values(**values).returning(c.id)
    )
    return touched.one_or_none() is not None


def _turn(awaits_us: bool | None, history: bool) -> ConversationStatus | None:
    if history:
        return ConversationStatus.CLOSED
    if awaits_us is None:
        return None
    return ConversationStatus.OPEN if awaits_us else ConversationStatus.WAITING
