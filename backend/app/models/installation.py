"""What there is once: the database's own identity, and whether it is a restored copy."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from backend.app.models.base import Base
from backend.app.models.types import BigId, optional_instant


class Installation(Base):
    """One row, made by its migration.

    secret       random, never shown: Message-IDs and this host's mark are made of it
    counter      grows by one with each run and with each reminder on its way; hosts remember it
                 outside of the database (mark.py), so that an older copy is known by it
    restored_at  this database was brought back from a copy; until a person says otherwise nothing
                 of before goes out without his word
    """

    __tablename__ = "installation"
    __table_args__ = (sa.CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    secret: Mapped[str] = mapped_column(sa.String(64))
    counter: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    restored_at: Mapped[optional_instant]
