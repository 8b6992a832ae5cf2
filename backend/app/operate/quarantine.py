"""A person's word on a mail that could not be handled: try it again, or leave it."""

from __future__ import annotations

from sqlalchemy.orm import Session

from backend.app.errors import Refused
from backend.app.store import admin_inbox, ledger
from backend.app.store.admin_records import QuarantineRow


def retry(session: Session, company_id: int | None, quarantine_id: int) -> QuarantineRow:
    """The next visit to its mailbox tries it. Raises Refused when it is not in quarantine."""
    row, _raw = admin_inbox.load_quarantined(session, company_id, quarantine_id)
    _require(ledger.retry_quarantined(session, quarantine_id), quarantine_id)
    return row


def drop(session: Session, company_id: int | None, quarantine_id: int, by: str) -> QuarantineRow:
    """It goes for good; its UID stays in the ledger as ignored, so that it is not fetched again.

    Raises Refused when it is not in quarantine.
    """
    row, _raw = admin_inbox.load_quarantined(session, company_id, quarantine_id)
    _require(ledger.drop_quarantined(session, quarantine_id, by), quarantine_id)
    return row


def _require(found: bool, quarantine_id: int) -> None:
    if not found:
        raise Refused(f"mail {quarantine_id} has just left the quarantine")
