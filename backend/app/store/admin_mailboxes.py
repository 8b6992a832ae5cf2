"""Mailboxes, as manage.py adds, changes and lists them. Secrets come and go encrypted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.db import database_now
from backend.app.errors import Refused
from backend.app.mail.message import address_key
from backend.app.models import InboxIntegration, MailboxState
from backend.app.store import oauth, sent_copies
from backend.app.store.admin_records import MailboxRow
from backend.app.store.admin_tenants import lock_company
from backend.app.store.leases import add_missing_states
from backend.app.store.records import MailboxAccount

# Ours come from the state row, which a mailbox gets at its first run; the rest is its own.
STATE_DEFAULTS = {"backlog": sa.false(), "failures": sa.literal(0)}


def _column(name: str) -> sa.ColumnElement[object]:
    if name == "company_id" or not hasattr(MailboxState, name):
        column: sa.ColumnElement[object] = getattr(InboxIntegration, name)
        return column
    column = getattr(MailboxState, name)
    return sa.func.coalesce(column, STATE_DEFAULTS[name]) if name in STATE_DEFAULTS else column


MAILBOX_COLUMNS = tuple(_column(name).label(name) for name in MailboxRow.__dataclass_fields__)


def find_mailbox(session: Session, company_id: int, email: str) -> int | None:
    """The company's mailbox with this address, however it is spelt."""
    rows = session.execute(
        sa.select(InboxIntegration.id, InboxIntegration.email).where(
            InboxIntegration.company_id == company_id
        )
    ).all()
    wanted = address_key(email)
    return next((row.id for row in rows if address_key(row.email) == wanted), None)


def require_new(session: Session, company_id: int, email: str) -> None:
    """Raises Refused when the company is not there, or has this mailbox already."""
    lock_company(session, company_id)
    found = find_mailbox(session, company_id, email)
    if found is not None:
        raise Refused(
            f"company {company_id} has {email} already, as mailbox {found}; "
            f"a new password: manage.py mailbox set {found} --password-stdin"
        )


def add_mailbox(
    session: Session,
    account: MailboxAccount,
    aliases: Sequence[str],
    grant: tuple[str, str] | None = None,
) -> int:
    """Store a mailbox; `account.id` counts for nothing. Raises Refused as require_new does.

    grant: the provider's name and the encrypted refresh token of one that signs in by OAuth2.
    """
    require_new(session, account.company_id, account.email)
    values = {
        name: getattr(account, name) for name in MailboxAccount.__dataclass_fields__ if name != "id"
    }
    statement = sa.insert(InboxIntegration).values(**values, aliases=list(aliases))
    mailbox_id = session.execute(statement.returning(InboxIntegration.id)).scalar_one()
    if grant is not None:
        oauth.put_grant(session, mailbox_id, *grant)
    add_missing_states(session)
    return mailbox_id


def list_mailboxes(
    session: Session, company_id: int | None, mailbox_id: int | None = None
) -> list[MailboxRow]:
    query = (
        sa.select(*MAILBOX_COLUMNS)
        .select_from(InboxIntegration)
        .outerjoin(MailboxState, MailboxState.integration_id == InboxIntegration.id)
        .order_by(InboxIntegration.id)
    )
    if company_id is not None:
        query = query.where(InboxIntegration.company_id == company_id)
    if mailbox_id is not None:
        query = query.where(InboxIntegration.id == mailbox_id)
    return [MailboxRow(**row._mapping) for row in session.execute(query).all()]


def load_mailbox_row(session: Session, company_id: int | None, mailbox_id: int) -> MailboxRow:
    """Raises Refused when there is no such mailbox, or it is another company's."""
    found = list_mailboxes(session, company_id, mailbox_id)
    if not found:
        where = "" if company_id is None else f" of company {company_id}"
        raise Refused(f"there is no mailbox {mailbox_id}{where}; see: manage.py mailbox list")
    return found[0]


def set_active(session: Session, mailbox_id: int, *, active: bool) -> None:
    session.execute(
        sa.update(InboxIntegration)
        .where(InboxIntegration.id == mailbox_id)
        .values(is_active=active)
    )
    add_missing_states(session)


def set_history_days(session: Session, mailbox_id: int, days: int) -> None:
    session.execute(
        sa.update(InboxIntegration)
        .where(InboxIntegration.id == mailbox_id)
        .values(history_days=days)
    )


def set_sent_folder(session: Session, mailbox_id: int, name: str | None) -> None:
    """None: the one that the server names. Copies that were given up are wanted again."""
    session.execute(
        sa.update(InboxIntegration)
        .where(InboxIntegration.id == mailbox_id)
        .values(sent_folder=name)
    )
    sent_copies.want_again(session, mailbox_id)
    _try_at_once(session, mailbox_id)


def set_secret(session: Session, mailbox_id: int, secret: str, smtp_secret: str | None) -> None:
    """Replace the password or the OAuth2 grant, and let the next run try at once.

    smtp_secret: None leaves SMTP's as it is, which is IMAP's where it has none of its own.
    """
    values = (
        {"secret": secret}
        if smtp_secret is None
        else {"secret": secret, "smtp_secret": smtp_secret}
    )
    session.execute(
        sa.update(InboxIntegration).where(InboxIntegration.id == mailbox_id).values(**values)
    )
    oauth.drop_grant(session, mailbox_id)
    _try_at_once(session, mailbox_id)


def set_grant(session: Session, mailbox_id: int, provider: str, refresh_token: str) -> None:
    """Sign in by OAuth2 from now on: the grant takes the password's place (IMAP's, and SMTP's
    where it has none of its own)."""
    session.execute(
        sa.update(InboxIntegration).where(InboxIntegration.id == mailbox_id).values(secret="")
    )
    oauth.put_grant(session, mailbox_id, provider, refresh_token)
    _try_at_once(session, mailbox_id)


def _try_at_once(session: Session, mailbox_id: int) -> None:
    """Whatever the back-off."""
    session.execute(
        sa.update(MailboxState)
        .where(MailboxState.integration_id == mailbox_id)
        .values(next_sync_at=database_now())
    )


def list_mailbox_ids(session: Session) -> list[int]:
    return list(session.scalars(sa.select(InboxIntegration.id).order_by(InboxIntegration.id)))


def change_secrets(session: Session, mailbox_id: int, change: Callable[[str], str]) -> int:
    """Put every secret of a mailbox through `change`, under its row's lock.

    Returns how many there were: 0 when the mailbox is gone meanwhile. What `change` raises leaves
    the mailbox as it was.
    """
    row = session.execute(
        sa.select(InboxIntegration.secret, InboxIntegration.smtp_secret)
        .where(InboxIntegration.id == mailbox_id)
        .with_for_update(key_share=True)
    ).one_or_none()
    if row is None:
        return 0
    changed = {name: change(secret) for name, secret in row._mapping.items() if secret}
    if changed:
        session.execute(
            sa.update(InboxIntegration).where(InboxIntegration.id == mailbox_id).values(**changed)
        )
    return len(changed) + oauth.change_tokens(session, mailbox_id, change)
