"""A company's account with a provider of text messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.models import SmsAccount
from backend.app.store.records import SmsAccess
from backend.app.store.upsert import insert_unless_there

_COLUMNS = tuple(getattr(SmsAccount, name) for name in SmsAccess.__dataclass_fields__)


def find_sender(session: Session, company_id: int) -> str | None:
    """Whom the company's text messages come from; None when it has no account that is active."""
    a = SmsAccount
    return session.scalar(sa.select(a.sender).where(a.company_id == company_id, a.is_active))


def find_account(session: Session, company_id: int) -> SmsAccess | None:
    """The company's account, active or not."""
    row = session.execute(
        sa.select(*_COLUMNS).where(SmsAccount.company_id == company_id)
    ).one_or_none()
    return None if row is None else SmsAccess(**row._mapping)


def list_accounts(session: Session, company_id: int | None) -> list[SmsAccess]:
    query = sa.select(*_COLUMNS).order_by(SmsAccount.company_id)
    if company_id is not None:
        query = query.where(SmsAccount.company_id == company_id)
    return [SmsAccess(**row._mapping) for row in session.execute(query)]


def add_account(session: Session, account: SmsAccess) -> bool:
    """False when the company has one already."""
    values = {name: getattr(account, name) for name in SmsAccess.__dataclass_fields__}
    added = insert_unless_there(session, SmsAccount, values, SmsAccount.company_id)
    return added is not None


def set_account(session: Session, company_id: int, values: Mapping[str, object]) -> bool:
    """values: columns. False when the company has none."""
    changed = session.execute(
        sa.update(SmsAccount)
        .where(SmsAccount.company_id == company_id)
        .values(**values)
        .returning(SmsAccount.company_id)
    )
    return changed.one_or_none() is not None


def change_secret(session: Session, company_id: int, change: Callable[[str], str]) -> int:
    """Put the secret through `change`, under its row's lock; how many there were."""
    secret = session.scalar(
        sa.select(SmsAccount.secret).where(SmsAccount.company_id == company_id).with_for_update()
    )
    if secret is None:
        return 0
    set_account(session, company_id, {"secret": change(secret)})
    return 1
