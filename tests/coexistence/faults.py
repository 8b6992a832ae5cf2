"""Planted faults: mistakes that this product might have had, switched on by a test alone.

Each is what somebody could have written in good faith, in the place of the real thing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any
from unittest import mock

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app import db
from backend.app.errors import SendUncertain
from backend.app.followups import claim, send
from backend.app.inbox import ingest, visit
from backend.app.mail.imap import MailboxConnection
from backend.app.mail.smtp import SmtpConnection
from backend.app.models import Client, Conversation, MailboxState, OutboxMail, OutboxState
from backend.app.store import (
    clients,
    conversations,
    leases,
    messages,
    outbox,
    traffic,
    unsettled,
)

Planting = AbstractContextManager[object]


def _no_lock(*_: Any) -> None:
    """Somebody forgot FOR UPDATE."""


def _read_change_write(
    session: Session,
    conversation_id: int,
    *,
    at: datetime,
    unread: bool,
    awaits_us: bool | None,
    history: bool = False,
    folder_id: int | None = None,
) -> bool:
    """As an ORM invites to: conversation.unread_count += 1."""
    row = session.get(Conversation, conversation_id)
    assert row is not None
    row.unread_count += int(unread)
    row.last_message_at = max(row.last_message_at or at, at)
    row.folder_id = row.folder_id or folder_id
    session.flush()
    return True


def _time_goes_back() -> Planting:
    real = conversations.append

    def append(session: Session, conversation_id: int, **message: Any) -> bool:
        done = real(session, conversation_id, **message)
        told = sa.update(Conversation).where(Conversation.id == conversation_id)
        session.execute(told.values(last_message_at=message["at"]))
        return done

    return mock.patch.object(conversations, "append", append)


@contextlib.contextmanager
def _checkpoint_apart() -> Iterator[None]:
    """The checkpoint is committed first, and then the mail."""
    advance, take_in = ingest.advance_checkpoint, visit.Visit.take_in

    def take_in_behind(self: Any, role: Any, place: Any, raw: Any, at: Any, origin: Any, *r: Any):  # type: ignore[no-untyped-def]
        if hasattr(origin, "last_uid"):
            db.write(advance, origin, place.uid)
        return take_in(self, role, place, raw, at, origin, *r)

    with (
        mock.patch.object(visit.Visit, "take_in", take_in_behind),
        mock.patch.object(ingest, "advance_checkpoint", return_value=True),
    ):
        yield


def _body_first() -> Planting:
    real = SmtpConnection.send

    def body_and_then(self: SmtpConnection, *, before_body: Any, **mail: Any) -> str:
        words = real(self, before_body=lambda: None, **mail)
        before_body()
        return words

    return mock.patch.object(SmtpConnection, "send", body_and_then)


def _sent_again(session: Session, claimed: Any) -> None:
    """What may have gone out goes back to planned when its run has ended."""
    outbox.change(
        session,
        claimed,
        [OutboxState.SENDING],
        state=OutboxState.PLANNED.value,
        owner=None,
        lease_until=None,
        token=OutboxMail.token + 1,
    )


def _any_token(_steps: int) -> sa.ColumnElement[bool]:
    return OutboxMail.id == sa.bindparam("step0_id")


def _no_token() -> Planting:
    """In statements that are built once: they are built anew with it, and again without."""
    built = (outbox._begin_sending, outbox._settle_sent)

    @contextlib.contextmanager
    def planted() -> Iterator[None]:
        with mock.patch.object(outbox, "_ours", _any_token):
            for each in built:
                each.cache_clear()
            yield
        for each in built:
            each.cache_clear()

    return planted()


def _lease_of_anybody(session: Session, lease: Any) -> None:
    mine = MailboxState.integration_id == lease.integration_id
    until = db.database_now(lease.seconds)
    session.execute(sa.update(MailboxState).where(mine).values(lease_until=until))


def _claims_what_is_held() -> Planting:
    real = leases.claim_due

    def claim_due(session: Session, *arguments: Any, **more: Any) -> Any:
        session.execute(sa.update(MailboxState).values(lease_until=None))
        return real(session, *arguments, **more)

    return mock.patch.object(leases, "claim_due", claim_due)


def _second_try() -> Planting:
    real = send._speak

    def speak(*arguments: Any) -> Any:
        try:
            return real(*arguments)
        except SendUncertain:
            with mock.patch.object(send, "_before_body", _no_lock):
                return real(*arguments)

    return mock.patch.object(send, "_speak", speak)


def _network_inside() -> Planting:
    real = send._speak

    def speak(*arguments: Any) -> Any:
        def spoken_in_a_transaction(session: Session) -> Any:
            session.execute(sa.select(sa.literal(1)))
            return real(*arguments)

        return db.read(spoken_in_a_transaction)

    return mock.patch.object(send, "_speak", speak)


def _session_lock(session: Session, client_id: int) -> None:
    """pg_advisory_lock is the session's; behind a proxy that is whoever comes next."""
    session.execute(sa.select(sa.func.pg_advisory_lock(client_id)))


def _other_lock_order() -> Planting:
    """sync locks the client when it has the conversation; the sender does so before."""
    real = messages.insert_message

    def insert(session: Session, mail: Any, *more: Any, **values: Any) -> int | None:
        if values["is_from_client"]:
            owner = sa.select(Conversation.client_id).where(
                Conversation.id == values["conversation_id"]
            )
            locked = sa.select(Client.id).where(Client.id == owner.scalar_subquery())
            session.execute(locked.with_for_update(key_share=True))
        return real(session, mail, *more, **values)

    return mock.patch.object(messages, "insert_message", insert)


@contextlib.contextmanager
def _deferred() -> Iterator[None]:
    """BEGIN, and the write lock when the first write comes: the driver's own way."""
    engine = db.SessionLocal.kw["bind"]
    deferred = engine.execution_options(sqlite_begin="DEFERRED")
    db.SessionLocal.configure(bind=deferred)
    yield
    db.SessionLocal.configure(bind=engine)


def _instead(owner: Any, name: str, mistake: Any) -> Callable[[], Planting]:
    return lambda: mock.patch.object(owner, name, mistake)


FAULTS: dict[str, Callable[[], Planting]] = {
    "missing row lock: budgets are counted without holding them": _instead(
        traffic, "hold_budgets", _no_lock
    ),
    "a counter read, changed and written": _instead(conversations, "append", _read_change_write),
    "last_message_at is the last mail's, however old": _time_goes_back,
    "the checkpoint in a commit of its own": _checkpoint_apart,
    "`sending` committed after the body": _body_first,
    "a claim without condition: a lease that another holds": _claims_what_is_held,
    "a token not checked: the reminder's claim": _no_token,
    "a token not checked: the mailbox's lease": _instead(leases, "hold_lease", _lease_of_anybody),
    "an automatic resend of what is uncertain": _instead(unsettled, "abandon_sending", _sent_again),
    "the stops are not asked again before the body": _instead(
        claim, "stops_before_body", lambda *_: None
    ),
    "mail may come in between the last look for an answer and `sending`": _instead(
        conversations, "hold_all_of_client", _no_lock
    ),
    "deferred instead of immediate transactions": _deferred,
    "network inside a transaction": _network_inside,
    "a session-level lock behind PgBouncer": _instead(clients, "lock_client", _session_lock),
    "a retry that sends again": _second_try,
    "locks taken in another order": _other_lock_order,
    "a copy for Sent filed without a look": _instead(
        MailboxConnection, "holds_message", lambda *_: False
    ),
}


@contextlib.contextmanager
def planted(*names: str) -> Iterator[None]:
    """These faults are in the product meanwhile, in this process."""
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(FAULTS[name]())
        yield


def without_unique_key(engine: sa.Engine, table: str, *columns: str) -> None:
    """Drop a unique key of a test's own PostgreSQL database."""
    keys = sa.inspect(engine).get_unique_constraints(table)
    (name,) = [key["name"] for key in keys if key["column_names"] == list(columns)]
    with engine.begin() as connection:
        connection.execute(sa.text(f"ALTER TABLE {table} DROP CONSTRAINT {name} CASCADE"))
