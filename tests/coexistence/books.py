"""The books: what must add up whatever ran at the same time, or was killed.

Each check gives lines that say what is wrong, none when all is well, so that a test reads
`assert imbalances(installation) == []` and shows every fault at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from backend.app.models import (
    Base,
    Client,
    Conversation,
    Followup,
    FollowupHistory,
    HistoryStatus,
    InboxMessage,
    LedgerEntry,
    LedgerState,
    MailboxState,
    OutboxMail,
    OutboxState,
    QuarantinedMail,
)
from tests.installation import Installation
from tests.servers.faulty_smtp import AcceptedMail


def imbalances(installation: Installation) -> list[str]:
    """Everything in the database that does not add up; [] for a balanced one.

    It takes for granted that no run is going on and that each mail of the test has a Message-ID
    of its own.
    """
    lines: list[str] = installation.change(lambda s: [x for check in CHECKS for x in check(s)])
    return lines


def unaccounted(installation: Installation, imap: Any, mailbox_id: int, account: Any) -> list[str]:
    """Folders whose mails on the server and whose rows in the ledger differ in number (I1)."""
    rows = installation.rows(LedgerEntry, LedgerEntry.integration_id == mailbox_id)
    in_ledger = Counter(row.folder for row in rows)
    on_server = {name: len(imap.messages(account, name)) for name in ("INBOX", "Sent")}
    return [
        f"{name}: {number} mails on the server, {in_ledger[name]} rows in the ledger"
        for name, number in on_server.items()
        if number != in_ledger[name]
    ]


def delivery_faults(installation: Installation, accepted: Sequence[AcceptedMail]) -> list[str]:
    """Where the outbox and what the SMTP server took over contradict each other (I6)."""
    times = Counter((mail.message_id or "").strip("<>") for mail in accepted)
    mails = installation.rows(OutboxMail, OutboxMail.carried_by.is_(None))
    outbox = {row.message_id: row.state for row in mails}
    lines = [f"{name} was delivered {n} times" for name, n in times.items() if n > 1]
    lines += [f"{name} was delivered, but is in no outbox" for name in times if name not in outbox]
    may_be_out = (OutboxState.SENT.value, OutboxState.UNCERTAIN.value)
    for name, state in outbox.items():
        if state == OutboxState.SENT.value and not times[name]:
            lines.append(f"{name} is sent, but was never delivered")
        if state not in may_be_out and times[name]:
            lines.append(f"{name} was delivered, but is {state}")
    return lines


def _count(session: Session, query: sa.Select[*tuple[Any, ...]]) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(row) for row in session.execute(query))


def _doubled(session: Session, model: type[Base], *columns: Any, where: Any = None) -> list[str]:
    query = sa.select(*columns).group_by(*columns).having(sa.func.count() > 1)
    if where is not None:
        query = query.where(where)
    return [f"doubled in {model.__tablename__}: {tuple(row)}" for row in session.execute(query)]


def doubles(session: Session) -> Iterator[str]:
    client, conversation, message = Client, Conversation, InboxMessage
    has_key = client.email_key.is_not(None)
    yield from _doubled(session, client, client.company_id, client.email_key, where=has_key)
    yield from _doubled(
        session,
        conversation,
        conversation.company_id,
        conversation.source,
        conversation.thread_key,
    )
    yield from _doubled(session, message, message.company_id, message.external_id)
    history, sent = FollowupHistory, FollowupHistory.status == HistoryStatus.SENT.value
    yield from _doubled(session, history, history.followup_id, history.step, where=sent)
    yield from _doubled(session, OutboxMail, OutboxMail.followup_id, OutboxMail.step)


def empty_conversations(session: Session) -> Iterator[str]:
    filled = sa.select(InboxMessage.conversation_id)
    query = sa.select(Conversation.id).where(Conversation.id.not_in(filled))
    yield from (f"conversation {row} is empty" for row in session.scalars(query))


def wrong_counters(session: Session) -> Iterator[str]:
    unread = sa.and_(InboxMessage.is_from_client, sa.not_(InboxMessage.read))
    by_sync = sa.exists().where(
        LedgerEntry.message_id == InboxMessage.id, LedgerEntry.state == LedgerState.STORED.value
    )
    # A mail counts from its arrival, a reminder that the sender filed from its Date.
    at = sa.case((by_sync, InboxMessage.arrived_at), else_=InboxMessage.sent_at)
    query = (
        sa.select(
            Conversation.id,
            Conversation.unread_count,
            sa.func.sum(sa.case((unread, 1), else_=0)).label("unread"),
            Conversation.last_message_at,
            sa.func.max(at).label("newest"),
        )
        .join(InboxMessage, InboxMessage.conversation_id == Conversation.id)
        .group_by(Conversation.id)
    )
    for row in session.execute(query):
        if row.unread_count != row.unread:
            yield f"conversation {row.id}: unread_count {row.unread_count}, unread {row.unread}"
        if row.last_message_at != row.newest:
            yield f"conversation {row.id}: last {row.last_message_at}, newest {row.newest}"


def leases_left(session: Session) -> Iterator[str]:
    leased = sa.select(MailboxState.integration_id).where(MailboxState.lease_until.is_not(None))
    yield from (f"mailbox {row} is still leased" for row in session.scalars(leased))
    claimed = sa.select(OutboxMail.id, OutboxMail.state).where(
        OutboxMail.state.in_([OutboxState.CLAIMED.value, OutboxState.SENDING.value])
    )
    yield from (f"outbox row {row.id} is still {row.state}" for row in session.execute(claimed))


def reminders_half_settled(session: Session) -> Iterator[str]:
    """A sent step has its history, its message and its place in the count, or it is not sent."""
    history, message, o = FollowupHistory, InboxMessage, OutboxMail
    said = history.status == HistoryStatus.SENT.value
    lines = _count(session, sa.select(history.followup_id, history.step).where(said))
    filed = _count(session, sa.select(message.company_id, message.external_id))
    steps: Counter[int] = Counter()
    carrier = aliased(OutboxMail)
    own = o.carried_by.is_(None)
    mail = sa.case((own, o.message_id), else_=carrier.message_id).label("message_id")
    for row in session.execute(
        sa.select(o.id, o.company_id, o.followup_id, o.step, o.state, mail).outerjoin(
            carrier, carrier.id == o.carried_by
        )
    ):
        sent = row.state == OutboxState.SENT.value
        steps[row.followup_id] += sent
        if lines[row.followup_id, row.step] != sent:
            yield f"outbox row {row.id} is {row.state}, and so does not say its history"
        if sent and filed[row.company_id, row.message_id] != 1:
            yield f"outbox row {row.id} is sent, and is no message of the inbox"
    for followup_id, counted in session.execute(sa.select(Followup.id, Followup.steps_sent)):
        if counted != steps[followup_id]:
            yield f"follow-up {followup_id} counts {counted} steps, the outbox {steps[followup_id]}"


def mails_in_two_minds(session: Session) -> Iterator[str]:
    """While a mail may be out, and after it went, every step that it carries stands as it does."""
    o, carrier = OutboxMail, aliased(OutboxMail)
    out = [OutboxState.SENDING.value, OutboxState.UNCERTAIN.value, OutboxState.SENT.value]
    query = (
        sa.select(o.id, o.state, carrier.id.label("mail"), carrier.state.label("mail_state"))
        .join(carrier, carrier.id == o.carried_by)
        .where(o.state.in_(out), sa.or_(o.state != carrier.state, carrier.carried_by.is_not(None)))
    )
    for row in session.execute(query):
        yield f"outbox row {row.id} is {row.state}, its mail {row.mail} is {row.mail_state}"


def ledger_without_messages(session: Session) -> Iterator[str]:
    """Each mail that came in is stored under one UID; each quarantined UID has its raw mail."""
    stored = LedgerEntry.state == LedgerState.STORED.value
    yield from _doubled(session, LedgerEntry, LedgerEntry.message_id, where=stored)
    from_server = sa.select(LedgerEntry.message_id).where(stored)
    reminders = sa.select(OutboxMail.message_id).where(OutboxMail.message_id.is_not(None))
    orphans = sa.select(InboxMessage.id).where(
        InboxMessage.id.not_in(from_server), InboxMessage.external_id.not_in(reminders)
    )
    yield from (f"message {row} was stored under no UID" for row in session.scalars(orphans))
    quarantined = LedgerEntry.state == LedgerState.QUARANTINED.value
    count = sa.select(sa.func.count())
    in_ledger = session.scalar(count.select_from(LedgerEntry).where(quarantined))
    kept = session.scalar(count.select_from(QuarantinedMail))
    if in_ledger != kept:
        yield f"{in_ledger} UIDs are quarantined, {kept} mails are kept"


CHECKS: tuple[Callable[[Session], Iterator[str]], ...] = (
    doubles,
    empty_conversations,
    wrong_counters,
    leases_left,
    reminders_half_settled,
    mails_in_two_minds,
    ledger_without_messages,
)
