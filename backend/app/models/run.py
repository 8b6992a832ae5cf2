"""One row for each run of a cron script."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from backend.app.models.base import Base
from backend.app.models.types import BigId, Document, Json, created, optional_instant


class CronRun(Base):
    """A run without `finished_at` is running now, or was killed."""

    __tablename__ = "cron_runs"
    __table_args__ = (sa.Index("ix_cron_runs_recent", "script", "started_at"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    script: Mapped[str] = mapped_column(sa.String(20))
    host: Mapped[str] = mapped_column(sa.String(100))
    pid: Mapped[int]
    started_at: Mapped[created]
    finished_at: Mapped[optional_instant]
    exit_status: Mapped[int | None]
    counts: Mapped[Document] = mapped_column(Json, server_default="{}")
