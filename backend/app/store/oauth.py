"""OAuth2 grants: who may ask for other tokens now, and the tokens that came. All encrypted."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.db import database_now
from backend.app.models import InboxIntegration, OAuthGrant
from backend.app.store.records import Grant
from backend.app.store.upsert import insert_unless_there

VALID_SECONDS = 120  # an access token that ends sooner is not begun with


def load_grant(session: Session, integration_id: int) -> Grant | None:
    o = OAuthGrant
    row = session.execute(
        sa.select(
            o.provider,
            o.refresh_token,
            o.access_token,
            o.version,
            sa.func.coalesce(o.expires_at > database_now(VALID_SECONDS), sa.false()),
        ).where(o.integration_id == integration_id)
    ).one_or_none()
    return None if row is None else Grant(*row[:4], valid=bool(row[4]) and row[2] is not None)


def claim_refresh(session: Session, integration_id: int, version: int, seconds: float) -> bool:
    """The right to ask the token server, for so many seconds; False when somebody else has it,
    or has stored newer tokens already."""
    o = OAuthGrant
    claimed = session.execute(
        sa.update(o)
        .where(
            o.integration_id == integration_id,
            o.version == version,
            sa.or_(o.refreshing_until.is_(None), o.refreshing_until < database_now()),
        )
        .values(refreshing_until=database_now(seconds))
        .returning(o.integration_id)
    )
    return claimed.one_or_none() is not None


def end_refresh(session: Session, integration_id: int, version: int) -> None:
    """Give the right back when no tokens came."""
    session.execute(
        sa.update(OAuthGrant)
        .where(OAuthGrant.integration_id == integration_id, OAuthGrant.version == version)
        .values(refreshing_until=None)
    )


def store_tokens(
    session: Session,
    integration_id: int,
    version: int,
    *,
    access_token: str,
    refresh_token: str | None,
    expires_in: float,
) -> bool:
    """Put newer tokens in the place of those of `version`; False when others came in between.

    refresh_token: None keeps the one that is there. expires_in: seconds from now.
    """
    o = OAuthGrant
    stored = session.execute(
        sa.update(o)
        .where(o.integration_id == integration_id, o.version == version)
        .values(
            access_token=access_token,
            refresh_token=sa.func.coalesce(refresh_token, o.refresh_token),
            expires_at=database_now(expires_in),
            version=o.version + 1,
            refreshing_until=None,
        )
        .returning(o.integration_id)
    )
    return stored.one_or_none() is not None


def put_grant(session: Session, integration_id: int, provider: str, refresh_token: str) -> None:
    """What a person granted just now, in the place of whatever was there; the access token goes."""
    company_id = session.execute(
        sa.select(InboxIntegration.company_id).where(InboxIntegration.id == integration_id)
    ).scalar_one()
    o = OAuthGrant
    values = {"provider": provider, "refresh_token": refresh_token}
    key = {"integration_id": integration_id, "company_id": company_id}
    if insert_unless_there(session, o, {**key, **values}) is not None:
        return
    session.execute(
        sa.update(o)
        .where(o.integration_id == integration_id)
        .values(
            **values,
            access_token=None,
            expires_at=None,
            version=o.version + 1,
            refreshing_until=None,
        )
    )


def drop_grant(session: Session, integration_id: int) -> None:
    """The mailbox signs in by password again."""
    session.execute(sa.delete(OAuthGrant).where(OAuthGrant.integration_id == integration_id))


def change_tokens(session: Session, integration_id: int, change: Callable[[str], str]) -> int:
    """Put a grant's tokens through `change`, under its row's lock; how many there were."""
    o = OAuthGrant
    row = session.execute(
        sa.select(o.refresh_token, o.access_token)
        .where(o.integration_id == integration_id)
        .with_for_update()
    ).one_or_none()
    if row is None:
        return 0
    changed = {name: change(token) for name, token in row._mapping.items() if token is not None}
    session.execute(sa.update(o).where(o.integration_id == integration_id).values(**changed))
    return len(changed)
