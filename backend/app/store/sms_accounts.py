"""A company's account with a provider of text messages."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.models import SmsAccount


def find_sender(session: Session, company_id: int) -> str | None:
    """Whom the company's text messages come from; None when it has no account that is active."""
    a = SmsAccount
    return session.scalar(sa.select(a.sender).where(a.company_id == company_id, a.is_active))
