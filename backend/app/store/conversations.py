"""Conversations and inbox folders: found, opened and brought up to date, always in SQL."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.models import Conversation, ConversationStatus, InboxFolder
from backend.app.store.clients import lock_client
from backend.app.store.tables import table_of
from backend.app.store.upsert import insert_unless_there

EMAIL = "email"
SMS = "sms"

_C = table_of(Conversation).c
_FIND_THREAD = sa.select(_C.id).where(
    _C.company_id == sa.bindparam("company_id"),
    _C.source == sa.bindparam("source"),
    _C.thread_key == sa.bindparam("thread_key"),
)
_FIND_LATEST = (
    sa.select(_C.id)
    .where(
        _C.company_id == sa.bindparam("company_id"),
        _C.client_id == sa.bindparam("client_id"),
        _C.source == EMAIL,
        _C.status != ConversationStatus.CLOSED.value,
    )
    .order_by(_C.last_message_at.desc().nulls_last(), _C.id.desc())
    .limit(1)
)
_HOLD_ALL = (
    sa.select(_C.id)
    .where(_C.client_id == sa.bindparam("client_id"))
    .order_by(_C.id)
    .with_for_update(key_share=True)
)
_AT = sa.bindparam("at", type_=_C.last_message_at.type)
_NEWEST = sa.or_(_C.last_message_at.is_(None), _C.last_message_at <= _AT)
_APPEND = (
    sa.update(table_of(Conversation))
    .where(_C.id == sa.bindparam("conversation"))
    .values(
        # A reminder opens its conversation in no drawer; the answer puts it into one.
        folder_id=sa.func.coalesce(_C.folder_id, sa.bindparam("drawer")),
        unread_count=_C.unread_count + sa.bindparam("unread"),
        last_message_at=sa.case((_NEWEST, _AT), else_=_C.last_message_at),
    )
    .returning(_C.id)
)
_APPEND_TURN = _APPEND.values(status=sa.case((_NEWEST, sa.bindparam("turn")), else_=_C.status))


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
    source: str = EMAIL,
) -> int:
    """The conversation of a thread; opened when there is none.

    The caller holds the client's row (see lock_client) when there is a client.
    """
    thread = {"company_id": company_id, "source": source, "thread_key": thread_key}
    opened = _open(
        session,
        subject,
        subject_key,
        **thread,
        client_id=client_id,
        folder_id=folder_id,
    )
    if opened is not None:
        return opened
    return int(session.execute(_FIND_THREAD, thread).scalar_one())


def _open(session: Session, subject: str, subject_key: str, **more: object) -> int | None:
    """A new conversation; None when there is one of that thread. more: its other columns."""
    opened: int | None = insert_unless_there(
        session,
        Conversation,
        {"subject": subject[:500], "subject_key": subject_key[:200], **more},
        Conversation.id,
    )
    return opened


def find_latest_of_client(session: Session, company_id: int, client_id: int) -> int | None:
    """The conversation with a client that is not closed and in which something was said last."""
    return session.scalar(_FIND_LATEST, {"company_id": company_id, "client_id": client_id})


def hold_all_of_client(session: Session, client_id: int) -> None:
    """Let no mail into any conversation with the client until the commit, after what comes in now.

    Who asks whether the client has answered, and acts on it in the same transaction, then sees
    every answer that was committed before. The client's row comes first, as everywhere: under it no
    other conversation is opened.
    """
    lock_client(session, client_id)
    session.execute(_HOLD_ALL, {"client_id": client_id}).all()


def find_or_open_for_reminder(
    session: Session,
    *,
    company_id: int,
    client_id: int,
    subject: str,
    subject_key: str,
    folder_id: int | None,
    source: str = EMAIL,
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
        source=source,
    )


def open_by_mail(
    session: Session,
    *,
    company_id: int,
    thread_key: str,
    client_id: int | None,
    subject: str,
    subject_key: str,
    folder_id: int | None,
    at: datetime,
    unread: bool,
    awaits_us: bool | None,
    history: bool,
) -> int | None:
    """As find_or_open and append together; None when there is a conversation of that thread."""
    turn = _turn(awaits_us, history) or ConversationStatus.OPEN
    return _open(
        session,
        subject,
        subject_key,
        company_id=company_id,
        source=EMAIL,
        thread_key=thread_key,
        client_id=client_id,
        folder_id=folder_id,
        unread_count=int(unread),
        last_message_at=at,
        status=turn.value,
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
    given = {"conversation": conversation_id, "drawer": folder_id, "unread": int(unread), "at": at}
    turn = _turn(awaits_us, history)
    if turn is None:
        return session.execute(_APPEND, given).one_or_none() is not None
    appended = session.execute(_APPEND_TURN, {**given, "turn": turn.value})
    return appended.one_or_none() is not None


def _turn(awaits_us: bool | None, history: bool) -> ConversationStatus | None:
    if history:
        return ConversationStatus.CLOSED
    if awaits_us is None:
        return None
    return ConversationStatus.OPEN if awaits_us else ConversationStatus.WAITING
