"""Mailboxes: how to reach them, which addresses are theirs, and how far each has been read."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.db import database_now
from backend.app.mail.message import address_key
from backend.app.models import FolderCheckpoint, InboxIntegration, InboxMessage, MailboxState
from backend.app.store.records import MailboxAccount
from backend.app.store.tables import table_of

_STATES = table_of(MailboxState)
_F = table_of(FolderCheckpoint).c
_I = table_of(InboxIntegration).c
_M = table_of(InboxMessage).c
_LOAD_ACCOUNT = sa.select(*(_I[name] for name in MailboxAccount.__dataclass_fields__)).where(
    _I.id == sa.bindparam("mailbox")
)
_FIND_OF_CONVERSATION = (
    sa.select(_M.integration_id)
    .distinct()
    .join_from(table_of(InboxMessage), table_of(InboxIntegration), _I.id == _M.integration_id)
    .where(_M.conversation_id == sa.bindparam("conversation"), _I.is_active)
)


def named(mailbox_ids: Collection[int]) -> dict[str, object]:
    """What fresh_at and history_since ask for."""
    return {f"mailbox_{n}": each for n, each in enumerate(mailbox_ids)}


def _are_named(column: sa.ColumnElement[int], number: int) -> sa.ColumnElement[bool]:
    return sa.or_(sa.false(), *(column == sa.bindparam(f"mailbox_{n}") for n in range(number)))


def fresh_at(number: int) -> sa.Select[Any]:
    """When the one of so many mailboxes that was read longest ago was read: what had arrived before
    is in the inbox. NULL where one was never read whole, or while older mail is still being read:
    an answer may lie in it.
    """
    at = _STATES.c.fresh_at
    return sa.select(sa.case((sa.func.count(at) == number, sa.func.min(at)))).where(
        _are_named(_STATES.c.integration_id, number),
        ~sa.exists().where(_F.integration_id == _STATES.c.integration_id, _F.history_uid > 0),
    )


def history_since(number: int) -> sa.Select[Any]:
    """Mail that arrived before this day (the server's calendar) was left on a server of so many
    mailboxes; NULL for none.
    """
    return sa.select(sa.func.max(_F.history_since)).where(
        _are_named(_F.integration_id, number), _F.history_left > 0
    )


def list_active(session: Session, company_id: int | None, integration_id: int | None) -> list[int]:
    """The ids of the active mailboxes, of one company or all."""
    query = sa.select(InboxIntegration.id).where(InboxIntegration.is_active)
    if company_id is not None:
        query = query.where(InboxIntegration.company_id == company_id)
    if integration_id is not None:
        query = query.where(InboxIntegration.id == integration_id)
    return list(session.scalars(query.order_by(InboxIntegration.id)))


def load_account(session: Session, integration_id: int) -> MailboxAccount:
    """Raises NoResultFound when the mailbox is gone."""
    row = session.execute(_LOAD_ACCOUNT, {"mailbox": integration_id}).one()
    return MailboxAccount(*row)


def find_of_conversation(session: Session, conversation_id: int) -> frozenset[int]:
    """The active mailboxes that the conversation's mails came from or went out through."""
    given = {"conversation": conversation_id}
    return frozenset(session.scalars(_FIND_OF_CONVERSATION, given))


def load_own_addresses(session: Session, company_id: int) -> frozenset[str]:
    """The keys of every address of the company's mailboxes, inactive ones too."""
    rows = session.execute(
        sa.select(InboxIntegration.email, InboxIntegration.aliases).where(
            InboxIntegration.company_id == company_id
        )
    ).all()
    return frozenset(address_key(a) for email, aliases in rows for a in (email, *aliases))


def find_by_address(session: Session, company_id: int, address: str) -> int | None:
    """The company's active mailbox in which mail to this address arrives; None when none does."""
    key = address_key(address)
    rows = session.execute(
        sa.select(InboxIntegration.id, InboxIntegration.email, InboxIntegration.aliases)
        .where(InboxIntegration.company_id == company_id, InboxIntegration.is_active)
        .order_by(InboxIntegration.id)
    ).all()
    for integration_id, email, aliases in rows:
        if key in map(address_key, (email, *aliases)):
            return int(integration_id)
    return None


def load_connected_at(session: Session, integration_id: int) -> datetime | None:
    """Since when the mailbox is ours to read; now, for one that no run has met yet."""
    row = session.execute(
        sa.select(MailboxState.connected_at).where(MailboxState.integration_id == integration_id)
    ).one_or_none()
    return row[0] if row else session.execute(sa.select(database_now())).scalar_one()
