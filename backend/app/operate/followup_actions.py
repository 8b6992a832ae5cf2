"""What a person does to one follow-up: add it, release it, stop it, postpone it.

Lock order: the company or the follow-up's row, then its outbox rows, as the sender takes them.
"""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy.orm import Session

from backend.app.errors import Refused
from backend.app.followups.reasons import ReasonCode, status_reason
from backend.app.mail.message import Address
from backend.app.models import AutoState, HistoryStatus, OutboxState
from backend.app.store import admin_followups, admin_tenants, followups
from backend.app.store.admin_records import FollowupRow, NewFollowup
from backend.app.store.clients import find_or_create_client

OPEN = "pending"  # the status of what an answer had stopped, and is open again
BY_PERSON = "by_person"  # auto_reason of what somebody stopped by hand


def add_followup(
    session: Session, company_id: int, client: int | Address, new: NewFollowup, now: datetime
) -> int:
    """client: an id, or an address, whose client is made if there is none.

    Raises Refused: no such company or client, or the same follow-up is there already.
    """
    admin_tenants.lock_company(session, company_id)
    if isinstance(client, int):
        client_id = client
        admin_followups.require_client(session, company_id, client_id)
    else:
        client_id = find_or_create_client(session, company_id, client)
    same = admin_followups.find_same(session, company_id, client_id, new)
    if same is not None:
        raise Refused(f"it is there already, as follow-up {same}")
    return admin_followups.insert_followup(session, company_id, client_id, new, now)


def release_followup(
    session: Session, company_id: int | None, followup_id: int, now: datetime, by: str
) -> None:
    """held -> active, looked at by the next run, which decides anew on the facts of then.

    The word counts for the next step (see policy.py): it may go though it is old. A step that the
    server had refused for good is planned again. Raises Refused when the follow-up is not held, or
    a step of it is uncertain and waits for a word of its own.
    """
    row = _locked(session, company_id, followup_id)
    if row.auto_state != AutoState.HELD:
        raise Refused(f"follow-up {followup_id} is not held, it is {_state(row)}{_way_on(row)}")
    _refuse_uncertain(session, followup_id)
    admin_followups.plan_failed_again(session, followup_id)
    admin_followups.set_automation(session, followup_id, AutoState.ACTIVE, None, now)
    admin_followups.approve(session, followup_id, now)
    _record(session, row, HistoryStatus.RELEASED, f"was held: {row.auto_reason}", now, by)


def approve_ahead(
    session: Session, company_id: int, followup_id: int, now: datetime, by: str
) -> None:
    """A person's word before a run asks for it: the next step may go though it is old.

    Raises Refused when the follow-up is not active any more.
    """
    row = _locked(session, company_id, followup_id)
    if row.auto_state != AutoState.ACTIVE:
        raise Refused(f"follow-up {followup_id} is not active, it is {_state(row)}")
    admin_followups.approve(session, followup_id, now)
    followups.look_again(session, followup_id, now, row.auto_reason)
    _record(session, row, HistoryStatus.RELEASED, "may go though it is old", now, by)


def restart_followup(
    session: Session, company_id: int | None, followup_id: int, now: datetime, by: str
) -> None:
    """stopped -> active, from the step after the last one that went out.

    What the client has written so far counts as read; what comes from now on stops it again (I7).
    As with a release, the next step may go though it is old. Raises Refused where it has not
    stopped or is switched off, its status says that it has ended, or a step is uncertain.
    """
    row = _locked(session, company_id, followup_id)
    if row.auto_state != AutoState.STOPPED:
        raise Refused(f"follow-up {followup_id} has not stopped, it is {_state(row)}{_way_on(row)}")
    if not row.auto_enabled:
        raise Refused(f"automatic reminders are switched off for follow-up {followup_id}")
    ended = status_reason(row.status)
    if ended not in (None, ReasonCode.ANSWERED):
        raise Refused(
            f"the status of follow-up {followup_id} is {row.status!r}: change that first, in the "
            "application that wrote it"
        )
    _refuse_uncertain(session, followup_id)
    admin_followups.plan_failed_again(session, followup_id)
    admin_followups.reopen(session, followup_id, now, status=OPEN if ended else None)
    _record(session, row, HistoryStatus.RELEASED, f"restarted; was {_state(row)}", now, by)


def promise_followup(
    session: Session,
    company_id: int | None,
    followup_id: int,
    until: date,
    now: datetime,
    by: str,
) -> FollowupRow:
    """The client has promised to settle it by `until`; asked again on the day after.

    What is held stays held. Raises Refused when it has ended. Returns the follow-up.
    """
    row = _locked(session, company_id, followup_id)
    if row.auto_state not in (AutoState.ACTIVE, AutoState.HELD):
        raise Refused(
            f"follow-up {followup_id} has ended already, it is {_state(row)}{_way_on(row)}"
        )
    admin_followups.promise(session, followup_id, until)
    followups.look_again(session, followup_id, now, row.auto_reason)
    _record(session, row, HistoryStatus.POSTPONED, f"promised by {until.isoformat()}", now, by)
    return row


def stop_followup(
    session: Session, company_id: int | None, followup_id: int, now: datetime, by: str
) -> int | None:
    """active or held -> stopped; what had not gone out is cancelled.

    Returns the step whose body is on its way at this very moment and cannot be called back, None
    where there is none. Raises Refused when the follow-up has ended already.
    """
    row = _locked(session, company_id, followup_id)
    if row.auto_state not in (AutoState.ACTIVE, AutoState.HELD):
        raise Refused(f"follow-up {followup_id} has ended already, it is {_state(row)}")
    admin_followups.cancel_unsent(session, followup_id)
    admin_followups.set_automation(session, followup_id, AutoState.STOPPED, BY_PERSON, None)
    _record(session, row, HistoryStatus.STOPPED, BY_PERSON, now, by)
    going_out = admin_followups.list_outbox(
        session, followup_id=followup_id, state=OutboxState.SENDING.value
    )
    return going_out[0].step if going_out else None


def postpone_followup(
    session: Session,
    company_id: int | None,
    followup_id: int,
    until: date,
    now: datetime,
    by: str,
) -> None:
    """Nothing before `until`, a day of the company's calendar. A held one is released.

    Raises Refused when it has ended, or a step of it is uncertain and waits for a word of its own.
    """
    row = _locked(session, company_id, followup_id)
    if row.auto_state not in (AutoState.ACTIVE, AutoState.HELD):
        raise Refused(f"follow-up {followup_id} has ended already, it is {_state(row)}")
    held = row.auto_state == AutoState.HELD
    if held:
        _refuse_uncertain(session, followup_id)
        admin_followups.plan_failed_again(session, followup_id)
        admin_followups.set_automation(session, followup_id, AutoState.ACTIVE, None, now)
        admin_followups.approve(session, followup_id, now)
    admin_followups.postpone(session, followup_id, until)
    followups.look_again(session, followup_id, now, None if held else row.auto_reason)
    _record(session, row, HistoryStatus.POSTPONED, f"until {until.isoformat()}", now, by)


def _refuse_uncertain(session: Session, followup_id: int) -> None:
    uncertain = admin_followups.list_outbox(
        session, followup_id=followup_id, state=OutboxState.UNCERTAIN.value
    )
    if uncertain:
        outbox_id = uncertain[0].carried_by or uncertain[0].id
        raise Refused(
            f"step {uncertain[0].step} of follow-up {followup_id} may have gone out; say which:  "
            f"manage.py outbox sent {outbox_id}  or  manage.py outbox resend {outbox_id}"
        )


def _locked(session: Session, company_id: int | None, followup_id: int) -> FollowupRow:
    admin_followups.load_followup_row(session, company_id, followup_id)
    followups.wait_for_lock(session, followup_id)
    return admin_followups.load_followup_row(session, company_id, followup_id)


def _state(row: FollowupRow) -> str:
    return f"{row.auto_state} ({row.auto_reason})" if row.auto_reason else row.auto_state


def _way_on(row: FollowupRow) -> str:
    """What a person may do about a follow-up that has stopped."""
    if row.auto_state != AutoState.STOPPED:
        return ""
    return f"; to open it again: manage.py followup restart {row.id}"


def _record(
    session: Session, row: FollowupRow, status: HistoryStatus, reason: str, at: datetime, by: str
) -> None:
    followup = followups.load_followup(session, row.id)
    followups.record_history(
        session, followup, status, step=row.steps_sent, at=at, reason=reason, by=by
    )
