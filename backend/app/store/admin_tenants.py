"""Companies, their settings and their clients, as manage.py lists and adds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.db import database_now
from backend.app.errors import Refused
from backend.app.mail.message import Address
from backend.app.models import Client, Company, CompanySettings
from backend.app.store.admin_records import ClientRow, CompanyRow
from backend.app.store.clients import find_client, find_or_create_client

COMPANY_COLUMNS = tuple(getattr(Company, name) for name in CompanyRow.__dataclass_fields__)
CLIENT_COLUMNS = tuple(getattr(Client, name) for name in ClientRow.__dataclass_fields__)


def add_company(
    session: Session, *, name: str, timezone: str, locale: str, country: str, same_name: bool
) -> int:
    """same_name: though another one is called so, which raises Refused otherwise."""
    if not same_name:
        _require_new_name(session, name)
    statement = (
        sa.insert(Company)
        .values(name=name, timezone=timezone, locale=locale, country=country)
        .returning(Company.id)
    )
    return session.execute(statement).scalar_one()


def _require_new_name(session: Session, name: str) -> None:
    """In whatever case and spacing: whoever types it twice means the same company."""
    wanted = _as_heard(name)
    for company in list_companies(session):
        if _as_heard(company.name) == wanted:
            raise Refused(
                f"company {company.id} is called {company.name} already; "
                "to add another one all the same: --same-name"
            )


def _as_heard(name: str) -> str:
    return " ".join(name.casefold().split())


def list_companies(session: Session) -> list[CompanyRow]:
    rows = session.execute(sa.select(*COMPANY_COLUMNS).order_by(Company.id)).all()
    return [CompanyRow(*row) for row in rows]


def list_documents(session: Session, company_id: int | None) -> list[tuple[int, Any]]:
    """(company, its settings as the host application wrote them), of those that have any."""
    query = sa.select(CompanySettings.company_id, CompanySettings.settings)
    if company_id is not None:
        query = query.where(CompanySettings.company_id == company_id)
    rows = session.execute(query.order_by(CompanySettings.company_id)).all()
    return [(row.company_id, row.settings) for row in rows]


def load_company_row(session: Session, company_id: int) -> CompanyRow:
    """Raises Refused when there is no such company."""
    row = session.execute(sa.select(*COMPANY_COLUMNS).where(Company.id == company_id)).one_or_none()
    if row is None:
        raise Refused(f"there is no company {company_id}; see: manage.py company list")
    return CompanyRow(*row)


def lock_company(session: Session, company_id: int) -> CompanyRow:
    """Hold the company's row until the commit, so that two people do not add the same thing.

    Comes before every other lock. The two scripts never take it: their foreign keys ask only for
    a key share, which this lock lets through. Raises Refused when there is no such company.
    """
    session.execute(
        sa.select(Company.id).where(Company.id == company_id).with_for_update(key_share=True)
    )
    return load_company_row(session, company_id)


def add_client(
    session: Session,
    company_id: int,
    *,
    name: str,
    email: str | None,
    language: str | None,
    phone: str | None = None,
) -> int:
    """phone: in E.164.

    Raises Refused when the company is not there, or has a client with this address.
    """
    lock_company(session, company_id)
    if email is None:
        values = {"company_id": company_id, "name": name, "language": language, "phone": phone}
        return session.execute(sa.insert(Client).values(**values).returning(Client.id)).scalar_one()
    address = Address(email, name)
    found = find_client(session, company_id, address.key)
    if found is not None:
        raise Refused(f"client {found} of company {company_id} has the address {email} already")
    client_id = find_or_create_client(session, company_id, address)
    set_language(session, client_id, language)
    if phone is not None:
        set_client(session, company_id, client_id, {"phone": phone})
    return client_id


def set_client(
    session: Session, company_id: int | None, client_id: int, values: Mapping[str, object]
) -> None:
    """values: columns. Raises Refused when there is no such client, or it is another company's."""
    mine = Client.id == client_id
    if company_id is not None:
        mine = sa.and_(mine, Client.company_id == company_id)
    changed = session.execute(sa.update(Client).where(mine).values(**values).returning(Client.id))
    if changed.one_or_none() is None:
        where = "" if company_id is None else f" of company {company_id}"
        raise Refused(f"there is no client {client_id}{where}; see: manage.py client list")


def load_client_company(session: Session, client_id: int) -> int:
    """Raises Refused when there is no such client."""
    found = session.scalar(sa.select(Client.company_id).where(Client.id == client_id))
    if found is None:
        raise Refused(f"there is no client {client_id}; see: manage.py client list")
    return found


def set_language(session: Session, client_id: int, language: str | None) -> None:
    """Give a client a language where it has none; nothing is ever overwritten."""
    if language is not None:
        session.execute(
            sa.update(Client)
            .where(Client.id == client_id, Client.language.is_(None))
            .values(language=language)
        )


def list_clients(session: Session, company_id: int | None, limit: int) -> list[ClientRow]:
    query = sa.select(*CLIENT_COLUMNS).order_by(Client.id).limit(limit)
    if company_id is not None:
        query = query.where(Client.company_id == company_id)
    return [ClientRow(*row) for row in session.execute(query).all()]


def load_settings_document(session: Session, company_id: int) -> Any:
    """The whole document as it stands, {} where there is none. Raises Refused."""
    load_company_row(session, company_id)
    found = session.scalar(
        sa.select(CompanySettings.settings).where(CompanySettings.company_id == company_id)
    )
    return {} if found is None else found


def lock_settings(session: Session, company_id: int) -> Any:
    """The same, with the company's row held until the commit. Raises Refused."""
    lock_company(session, company_id)
    document = load_settings_document(session, company_id)
    return document if isinstance(document, dict) else {}


def save_settings(session: Session, company_id: int, document: dict[str, Any]) -> None:
    """The caller holds the company's row."""
    values = {"settings": document, "updated_at": database_now()}
    changed = session.execute(
        sa.update(CompanySettings)
        .where(CompanySettings.company_id == company_id)
        .values(**values)
        .returning(CompanySettings.company_id)
    ).one_or_none()
    if changed is None:
        session.execute(sa.insert(CompanySettings).values(company_id=company_id, **values))
