"""The tenants, their settings and their clients."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from backend.app.models.base import Base
from backend.app.models.types import Document, Json, big_id, created


class Company(Base):
    """A tenant. `timezone` is an IANA name, `locale` such as fr_FR, `country` ISO 3166 alpha-2."""

    __tablename__ = "companies"

    id: Mapped[big_id]
    name: Mapped[str] = mapped_column(sa.String(200))
    timezone: Mapped[str] = mapped_column(sa.String(64), server_default="Europe/Paris")
    locale: Mapped[str] = mapped_column(sa.String(16), server_default="fr_FR")
    country: Mapped[str] = mapped_column(sa.String(2), server_default="FR")
    created_at: Mapped[created]


class CompanySettings(Base):
    """One JSON document a company, validated when it is read."""

    __tablename__ = "company_settings"

    company_id: Mapped[int] = mapped_column(sa.ForeignKey("companies.id"), primary_key=True)
    settings: Mapped[Document] = mapped_column(Json, server_default="{}")
    updated_at: Mapped[created]


class Client(Base):
    """A person or firm that the company writes with.

    `email_key` is the normalised address; NULL for a client without one (then never unique).
    `phone`: in international form, E.164, such as +33612345678; text messages go there.
    `do_not_contact`: reminders to this client are held.
    `is_professional`: a business, not a consumer; NULL when nobody has said.
    """

    __tablename__ = "clients"
    __table_args__ = (
        sa.UniqueConstraint("company_id", "email_key"),
        sa.UniqueConstraint("company_id", "id"),
    )

    id: Mapped[big_id]
    company_id: Mapped[int] = mapped_column(sa.ForeignKey("companies.id"))
    name: Mapped[str] = mapped_column(sa.String(200), server_default="")
    email: Mapped[str | None] = mapped_column(sa.String(320))
    email_key: Mapped[str | None] = mapped_column(sa.String(320))
    phone: Mapped[str | None] = mapped_column(sa.String(20))
    language: Mapped[str | None] = mapped_column(sa.String(8))
    do_not_contact: Mapped[bool] = mapped_column(server_default=sa.false())
    created_at: Mapped[created]
    is_professional: Mapped[bool | None]
