"""What an erased client leaves behind: nothing that names anybody."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from backend.app.models.base import Base
from backend.app.models.types import created


class ErasedMail(Base):
    """A mail that must not come back from the server: its fingerprint (SHA-256), and no more."""

    __tablename__ = "erased_mails"

    company_id: Mapped[int] = mapped_column(sa.ForeignKey("companies.id"), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(sa.String(64), primary_key=True)


class ErasedFile(Base):
    """An attachment that no row speaks of any more, to be removed from the disk."""

    __tablename__ = "erased_files"

    company_id: Mapped[int] = mapped_column(sa.ForeignKey("companies.id"), primary_key=True)
    sha256: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    created_at: Mapped[created]
