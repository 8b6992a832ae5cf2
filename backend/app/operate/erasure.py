"""`manage.py client erase`: everything of one client, in the database and on the disk."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.app import db
from backend.app.config import Settings
from backend.app.errors import Refused
from backend.app.followups.reasons import ReasonCode
from backend.app.inbox.erased import remove_erased_files
from backend.app.models import AutoState
from backend.app.store import erasure, followups
from backend.app.store.belongings import Belongings, ClientFound


@dataclass(frozen=True, slots=True)
class Erased:
    """files_left: too fresh to be removed now; the sync script's hourly audit removes them."""

    belongings: Belongings
    files_removed: int
    files_left: int


def erase_client(settings: Settings, client: ClientFound) -> Erased:
    """One transaction, then the files; what was killed in between, the next audit goes on with.

    Raises Refused (a reminder is going out, or a table of the host application refers to the
    client), StorageFault.
    """
    try:
        belongings = db.write(_erase, client, db.utc_now())
    except IntegrityError as error:
        raise Refused(
            "nothing was erased: a row elsewhere refers to this client or its conversations; "
            f"remove it first ({str(error.orig).splitlines()[0][:200]})"
        ) from error
    removed, left = remove_erased_files(
        settings.attachments_dir, client.company_id, settings.sync_lease_seconds
    )
    return Erased(belongings, removed, left)


def _erase(session: Session, client: ClientFound, now: datetime) -> Belongings:
    """Somebody else may have answered in one of the client's conversations, and no run have seen it
    yet: when that answer goes, their reminders wait for a person's word (I7).
    """
    erasure.hold_mailboxes(session, client.company_id)
    for followup_id in erasure.list_answered_here(session, client):
        followup = followups.load_followup(session, followup_id)
        reason = ReasonCode.ANSWERED.value
        followups.end_automation(session, followup, AutoState.HELD, reason, at=now)
    return erasure.erase(session, client)
