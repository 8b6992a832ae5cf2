"""Companies and their settings documents, as the two jobs read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.models import Company, CompanySettings
from backend.app.store.records import CompanyProfile
from backend.app.store.tables import table_of

_C = table_of(Company).c
_S = table_of(CompanySettings).c
# What a CompanyProfile is made of, from companies beside its settings.
PROFILE_COLUMNS = (
    _C.id.label("company"),
    _C.name.label("company_name"),
    _C.timezone,
    _C.locale,
    _C.country,
    _S.settings,
)
HAS_SETTINGS = _S.company_id == _C.id
_LOAD = (
    sa.select(*PROFILE_COLUMNS)
    .select_from(table_of(Company).outerjoin(table_of(CompanySettings), HAS_SETTINGS))
    .where(_C.id == sa.bindparam("company_id"))
)


def load_company(session: Session, company_id: int) -> CompanyProfile:
    return profile(session.execute(_LOAD, {"company_id": company_id}).one())


def profile(row: Sequence[Any]) -> CompanyProfile:
    """Of PROFILE_COLUMNS."""
    company_id, name, timezone, locale, country, settings = row
    return CompanyProfile(company_id, name, timezone, locale, country, settings or {})
