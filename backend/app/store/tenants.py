"""Companies and their settings documents, as the two jobs read them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.models import Company, CompanySettings
from backend.app.store.records import CompanyProfile

# Built once, see tables.py: each reminder asks several times.
_LOAD = (
    sa.select(
        Company.id,
        Company.name,
        Company.timezone,
        Company.locale,
        Company.country,
        CompanySettings.settings,
    )
    .outerjoin(CompanySettings, CompanySettings.company_id == Company.id)
    .where(Company.id == sa.bindparam("company_id"))
)


def load_company(session: Session, company_id: int) -> CompanyProfile:
    row = session.execute(_LOAD, {"company_id": company_id}).one()
    return CompanyProfile(*row[:5], settings=row.settings or {})
