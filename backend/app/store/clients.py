"""Clients: one row for each (company, normalised address)."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.errors import RaceLost
from backend.app.mail.addresses import spoken_name
from backend.app.mail.message import Address
from backend.app.models import Client
from backend.app.store.tables import table_of
from backend.app.store.upsert import insert_unless_there

_CLIENTS = table_of(Client)
_FIND = sa.select(_CLIENTS.c.id).where(
    _CLIENTS.c.company_id == sa.bindparam("company_id"),
    _CLIENTS.c.email_key == sa.bindparam("email_key"),
)
_LOCK = (
    sa.select(_CLIENTS.c.id)
    .where(_CLIENTS.c.id == sa.bindparam("client_id"))
    .with_for_update(key_share=True)
)


def find_client(session: Session, company_id: int, email_key: str) -> int | None:
    return session.scalar(_FIND, {"company_id": company_id, "email_key": email_key})


def find_or_create_client(session: Session, company_id: int, address: Address) -> int:
    """The client behind an address; made on first use, by whoever comes first."""
    found = find_client(session, company_id, address.key)
    return create_client(session, company_id, address) if found is None else found


def create_client(session: Session, company_id: int, address: Address) -> int:
    """The new client behind an address, or the one whom somebody made since the look.

    Its row is held until the commit, as by lock_client.
    """
    created: int | None = insert_unless_there(
        session,
        Client,
        {
            "company_id": company_id,
            "name": spoken_name(address.name)[:200],
            "email": address.email[:320],
            "email_key": address.key[:320],
        },
        Client.id,
    )
    if created is not None:
        return created
    # Somebody came between the look and the insert, and has committed since: it is there now.
    given = {"company_id": company_id, "email_key": address.key[:320]}
    found = int(session.execute(_FIND, given).scalar_one())
    lock_client(session, found)
    return found


def lock_client(session: Session, client_id: int) -> None:
    """Hold the client's row until the commit.

    Whoever is about to look for a client's conversation and open one when there is none holds
    this lock, so that a reminder and an incoming mail cannot both find none. On SQLite the
    writing transaction excludes every other writer already. Raises RaceLost when the client was
    erased since somebody looked.
    """
    if session.scalar(_LOCK, {"client_id": client_id}) is None:
        raise RaceLost("the client was erased at this instant")
