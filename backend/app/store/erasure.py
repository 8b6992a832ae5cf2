"""A client's erasure: what goes, in one transaction, and what is kept so that it stays gone.

Lock order, as everywhere: the mailboxes' state rows (each mail of the sync script locks its own),
the follow-ups, their outbox rows, the client, the conversations, the messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from backend.app.errors import Refused
from backend.app.mail.message import MailKind
from backend.app.models import (
    AutoState,
    Client,
    Conversation,
    Followup,
    FollowupHistory,
    InboxMessage,
    LedgerEntry,
    LedgerState,
    MailboxState,
    MessageAttachment,
    OutboxMail,
    OutboxState,
    QuarantinedMail,
    SenderHour,
    SentCopy,
)
from backend.app.store import ledger
from backend.app.store.belongings import (
    Belongings,
    ClientFound,
    count_belongings,
    digests_of,
    find_client,
    list_conversations,
    list_messages,
    list_quarantined,
    reminders_of,
)
from backend.app.store.clients import lock_client
from backend.app.store.erased import batches, keep_away, want_removed

CLOCK_TOLERANCE = timedelta(minutes=2)  # between a mail server's clock and ours


def list_answered_here(session: Session, client: ClientFound) -> list[int]:
    """Active follow-ups of others whose answer lies among what goes, and that an answer stops."""
    f, m, theirs = Followup, InboxMessage, aliased(Client)
    found: set[int] = set()
    for some in batches(list_messages(session, client)):
        answers = sa.or_(m.from_key == theirs.email_key, m.conversation_id == f.conversation_id)
        query = (
            sa.select(
                f.id, sa.func.coalesce(f.last_step_at, f.created_at).label("asked_at"), m.arrived_at
            )
            .join(theirs, theirs.id == f.client_id)
            .join(m, sa.and_(m.company_id == f.company_id, answers))
            .where(
                f.company_id == client.company_id,
                f.client_id != client.id,
                f.auto_state == AutoState.ACTIVE.value,
                f.auto_stop_on_response,
                m.id.in_(some),
                m.is_from_client,
                m.kind == MailKind.HUMAN.value,
            )
        )
        rows = session.execute(query)
        found.update(row.id for row in rows if row.arrived_at >= row.asked_at - CLOCK_TOLERANCE)
    return sorted(found)


def erase(session: Session, client: ClientFound) -> Belongings:
    """Everything of the client in the database; the files are only listed. For db.write.

    Raises Refused while a reminder is going out at this moment, or when the client has gone.
    """
    hold_mailboxes(session, client.company_id)
    followups = _lock_followups(session, client)
    _require_nothing_under_way(session, client)
    find_client(session, client.company_id, client.id)
    lock_client(session, client.id)
    found = count_belongings(session, client)
    _delete_followups(session, client, followups)
    _delete_messages(session, client, list_messages(session, client))
    _delete_conversations(session, client)
    for quarantine_id in list_quarantined(session, client):
        _drop_quarantined(session, client, quarantine_id)
    h = SenderHour
    session.execute(
        sa.delete(h).where(h.company_id == client.company_id, h.sender_key.in_(client.keys))
    )
    session.execute(sa.delete(Client).where(Client.id == client.id))
    return found


def hold_mailboxes(session: Session, company_id: int) -> None:
    """No mail of the company is taken in until the commit: each locks its mailbox's state first."""
    s = MailboxState
    session.execute(
        sa.select(s.integration_id)
        .where(s.company_id == company_id)
        .order_by(s.integration_id)
        .with_for_update(key_share=True)
    ).all()


def _lock_followups(session: Session, client: ClientFound) -> list[int]:
    f = Followup
    return list(
        session.scalars(
            sa.select(f.id)
            .where(f.company_id == client.company_id, f.client_id == client.id)
            .order_by(f.id)
            .with_for_update()
        )
    )


def _require_nothing_under_way(session: Session, client: ClientFound) -> None:
    """What is claimed loses its claim with its row; a body that may be on its way is awaited."""
    o = OutboxMail
    under_way = session.scalar(
        sa.select(o.id).where(reminders_of(client), o.state == OutboxState.SENDING.value).limit(1)
    )
    if under_way is not None:
        raise Refused(
            f"a reminder to this client is going out (outbox {under_way}): nothing was erased; "
            "try again when it is settled, which takes a few minutes (a killed run's: two runs)"
        )


def _delete_followups(session: Session, client: ClientFound, followups: Sequence[int]) -> None:
    """The outbox rows in one statement, since one may refer to another."""
    o, h = OutboxMail, FollowupHistory
    theirs = reminders_of(client)
    mails = session.scalars(sa.select(o.fingerprint).where(theirs)).all()
    keep_away(session, client.company_id, [each for each in mails if each])
    of_theirs = SentCopy.outbox_id.in_(sa.select(o.id).where(theirs))
    session.execute(sa.delete(SentCopy).where(of_theirs))
    session.execute(sa.delete(o).where(theirs))
    for some in batches(followups):
        session.execute(sa.delete(h).where(h.followup_id.in_(some)))
        session.execute(sa.delete(Followup).where(Followup.id.in_(some)))


def _delete_messages(session: Session, client: ClientFound, messages: Sequence[int]) -> None:
    m, e, a, c = InboxMessage, LedgerEntry, MessageAttachment, Conversation
    for digests in digests_of(session, messages):
        want_removed(session, client.company_id, digests)
    for some in batches(messages):
        of_these = m.id.in_(some)
        fingerprints = session.scalars(sa.select(m.fingerprint).where(of_these)).all()
        keep_away(session, client.company_id, fingerprints)
        session.execute(sa.delete(a).where(a.message_id.in_(some)))
        session.execute(
            sa.update(e)
            .where(e.message_id.in_(some))
            .values(state=LedgerState.IGNORED.value, message_id=None, reason=ledger.ERASED)
        )
        unread = session.execute(
            sa.select(m.conversation_id, sa.func.count())
            .where(of_these, m.read.is_(False))
            .group_by(m.conversation_id)
            .order_by(m.conversation_id)
        ).all()
        for conversation_id, number in unread:
            left = sa.case((c.unread_count > number, c.unread_count - number), else_=0)
            session.execute(sa.update(c).where(c.id == conversation_id).values(unread_count=left))
        session.execute(sa.delete(m).where(of_these))


def _drop_quarantined(session: Session, client: ClientFound, quarantine_id: int) -> None:
    """One without a Message-ID, or of which the server gave nothing, is known by its UID alone."""
    from backend.app.mail.parse import parse_headers  # no parser in a minute without mail

    q = QuarantinedMail
    raw = session.scalar(sa.select(q.raw).where(q.id == quarantine_id))
    fingerprint = parse_headers(raw).fingerprint if raw else None
    keep_away(session, client.company_id, [fingerprint] if fingerprint else [])
    ledger.drop_quarantined(session, quarantine_id, "client erased")


def _delete_conversations(session: Session, client: ClientFound) -> None:
    """What else names them (another client's follow-up, by hand) loses its conversation."""
    for some in batches(list_conversations(session, client)):
        for model in (Followup, OutboxMail, FollowupHistory):
            session.execute(
                sa.update(model)
                .where(
                    model.company_id == client.company_id,
                    model.conversation_id.in_(some),
                )
                .values(conversation_id=None)
            )
        session.execute(sa.delete(Conversation).where(Conversation.id.in_(some)))
