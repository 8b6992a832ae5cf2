"""A person's word on a step that may have gone out: it did, or it did not."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from backend.app.errors import Refused
from backend.app.followups import resolve
from backend.app.store import admin_followups, unsettled
from backend.app.store.admin_records import FollowupRow
from backend.app.store.records import OutboxClaim


def accept_as_sent(
    session: Session, company_id: int | None, outbox_id: int, now: datetime, by: str
) -> int:
    """It arrived: history, message, next step. Returns the conversation's id.

    Raises Refused when there is no such step, or it is not uncertain.
    """
    claimed = _load_uncertain(session, company_id, outbox_id)
    return resolve.accept_as_sent(session, claimed, now, by=by)


def send_again(
    session: Session, company_id: int | None, outbox_id: int, now: datetime, by: str
) -> FollowupRow:
    """It did not arrive: the next run decides on it anew, if it looks at the follow-up at all.

    Returns the follow-up as it is then. Raises Refused as accept_as_sent does.
    """
    claimed = _load_uncertain(session, company_id, outbox_id)
    resolve.resend(session, claimed, now, by=by)
    return admin_followups.load_followup_row(session, company_id, claimed.followup_id)


def _load_uncertain(session: Session, company_id: int | None, outbox_id: int) -> OutboxClaim:
    row = admin_followups.load_outbox_row(session, company_id, outbox_id)
    claimed = unsettled.load_uncertain(session, outbox_id)
    if claimed is None:
        raise Refused(
            f"outbox row {outbox_id} is {row.state}; only an uncertain one waits for a word"
        )
    return claimed
