"""Companies and their settings documents, as the two jobs read them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.models import Company, CompanySettings
from backend.app.store.records import CompanyProfile


def load_company(session: Session, company_id: int) -> CompanyProfile:
    row = session.execute(
        sa.select(
            Company.id,
            Company.name,
            Company.timezone,
            Company.locale,
            Company.country,
            CompanySettings.settings,
        )
        .outerjoin(CompanySettings, CompanySettings.company_id == Company.id)
        .where(Company.id == company_id)
    ).one()
    return CompanyProfile(*row[:5], settings=row.settings or {})
