"""Follow-ups and their history, as the sender reads and changes them."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.channel import Channel
from backend.app.errors import ClaimLost
from backend.app.mail.message import address_key
from backend.app.models import (
    AutoState,
    Client,
    Followup,
    FollowupHistory,
    HistoryStatus,
    InboxIntegration,
    QuarantinedMail,
)
from backend.app.store.records import Due, DueFollowup
from backend.app.store.tables import table_of

_FOLLOWUP_COLUMNS = (
    Followup.id,
    Followup.company_id,
    Followup.client_id,
    Followup.conversation_id,
    Followup.integration_id,
    Followup.type,
    Followup.source_label,
    Followup.amount,
    Followup.currency,
    Followup.due_date,
    Followup.status,
    Followup.auto_enabled,
    Followup.auto_stop_on_response,
    Followup.auto_stop_on_paid,
    Followup.auto_stop_on_refused,
    Followup.steps_sent,
    Followup.last_step_at,
    Followup.promised_until,
    Followup.postponed_until,
    Followup.approved_at,
    Followup.answers_seen_at,
    Followup.client_gap_until,
    Followup.auto_reason,
    Followup.created_at,
    Client.name.label("client_name"),
    Client.email.label("client_email"),
    Client.email_key.label("client_key"),
    Client.phone.label("client_phone"),
    Client.language.label("client_language"),
    Client.do_not_contact,
    Client.is_professional.label("client_is_professional"),
    Followup.source_id,
    Followup.payment_link,
    Followup.signature_link,
    Followup.document,
)

# Built once, see tables.py: each reminder asks several times.
_FOLLOWUPS = table_of(Followup)
_LOAD = (
    sa.select(*_FOLLOWUP_COLUMNS)
    .join(Client, Client.id == Followup.client_id)
    .where(Followup.id == sa.bindparam("followup_id"))
)
_LOOK_AGAIN = (
    sa.update(_FOLLOWUPS)
    .where(
        _FOLLOWUPS.c.id == sa.bindparam("followup"),
        _FOLLOWUPS.c.auto_state == AutoState.ACTIVE.value,
    )
    .values(next_action_at=sa.bindparam("at"), auto_reason=sa.bindparam("reason"))
)
_LOOK_AGAIN_FOR_CLIENT = _LOOK_AGAIN.values(client_gap_until=sa.bindparam("at"))
_RECORD_HISTORY = sa.insert(table_of(FollowupHistory))
_WAIT_FOR_LOCK = (
    sa.select(Followup.auto_state)
    .where(Followup.id == sa.bindparam("followup_id"))
    .with_for_update(key_share=True)
)
_FIND_MAILBOX = (
    sa.select(InboxIntegration.id)
    .where(
        InboxIntegration.company_id == sa.bindparam("company_id"),
        InboxIntegration.is_active,
        InboxIntegration.smtp_host.is_not(None),
    )
    .order_by(InboxIntegration.id)
    .limit(1)
)
_FIND_THIS_MAILBOX = _FIND_MAILBOX.where(InboxIntegration.id == sa.bindparam("wanted"))

# Word for word the condition of ix_followups_due: SQLite does not take `auto_enabled = 1` for it,
# and would read the whole table.
LOOKED_AT = sa.text("followups.auto_state = 'active' AND followups.auto_enabled")


def list_due(
    session: Session,
    now: datetime,
    limit: int,
    *,
    company_id: int | None,
    followup_id: int | None,
) -> list[Due]:
    """Active follow-ups whose time to be looked at has come, the longest-waiting first.

    followup_id: this one, whenever its time is.
    """
    query = sa.select(Followup.id, Followup.company_id).where(LOOKED_AT)
    if followup_id is not None:
        query = query.where(Followup.id == followup_id)
    else:
        query = query.where(Followup.next_action_at <= now)
    if company_id is not None:
        query = query.where(Followup.company_id == company_id)
    in_order = query.order_by(Followup.next_action_at, Followup.id).limit(limit)
    return [Due(*row) for row in session.execute(in_order)]


def lock_active(session: Session, followup_id: int) -> bool:
    """Hold an active follow-up's row until the commit; False when another worker has it."""
    row = session.scalar(
        sa.select(Followup.id)
        .where(
            Followup.id == followup_id,
            Followup.auto_state == AutoState.ACTIVE.value,
            Followup.auto_enabled,
        )
        .with_for_update(key_share=True, skip_locked=True)
    )
    return row is not None


def list_beside(session: Session, followup: DueFollowup, now: datetime, most: int) -> list[int]:
    """The other follow-ups of its type and client whose time to be looked at has come, by id."""
    query = _beside(followup, now).order_by(Followup.id).limit(most)
    return list(session.scalars(query))


def lock_beside(
    session: Session, followup: DueFollowup, now: datetime, most: int
) -> list[int] | None:
    """Hold what list_beside finds until the commit. The caller holds the follow-up itself.

    None when another worker looks at one with a lower id: who holds the lowest goes on, and waits
    for those above it; whoever holds a higher one gives way. So nobody waits for one who waits for
    him, and of several workers one has them all.
    """
    found = list_beside(session, followup, now, most)
    if not found:
        return []
    below = [each for each in found if each < followup.id]
    above = [each for each in found if each > followup.id]
    query = _beside(followup, now).order_by(Followup.id)
    free = query.where(Followup.id.in_(below)).with_for_update(key_share=True, skip_locked=True)
    held = list(session.scalars(free))
    if len(held) < len(below):
        return None
    waited_for = query.where(Followup.id.in_(above)).with_for_update(key_share=True)
    return held + list(session.scalars(waited_for))


def _beside(followup: DueFollowup, now: datetime) -> sa.Select[int]:
    return sa.select(Followup.id).where(
        LOOKED_AT,
        Followup.company_id == followup.company_id,
        Followup.client_id == followup.client_id,
        Followup.type == followup.type,
        Followup.id != followup.id,
        Followup.next_action_at <= now,
    )


def wait_for_lock(session: Session, followup_id: int) -> AutoState:
    """Hold a follow-up's row until the commit, after whoever holds it now. Returns its state.

    Raises ClaimLost when it is gone: its client was erased.
    """
    state = session.scalar(_WAIT_FOR_LOCK, {"followup_id": followup_id})
    if state is None:
        raise ClaimLost(f"follow-up {followup_id} is gone")
    return AutoState(state)


def load_followup(session: Session, followup_id: int) -> DueFollowup:
    """client_key is made of the address that is written to, from which an answer comes.

    The host application makes and edits clients, and may leave `clients.email_key` empty or as it
    was before the address changed.
    """
    row = session.execute(_LOAD, {"followup_id": followup_id}).one()
    key = address_key(row.client_email) if row.client_email else row.client_key
    return DueFollowup(**{**row._mapping, "client_key": key})


def find_sending_mailbox(session: Session, company_id: int, wanted: int | None) -> int | None:
    """The mailbox that a reminder goes out from: the one wanted, else the company's first."""
    if wanted is None:
        return session.scalar(_FIND_MAILBOX, {"company_id": company_id})
    return session.scalar(_FIND_THIS_MAILBOX, {"company_id": company_id, "wanted": wanted})


def find_mailbox_of(session: Session, followup_id: int) -> int | None:
    """The mailbox that a follow-up's reminder goes out from; None when it has none that can."""
    row = session.execute(
        sa.select(Followup.company_id, Followup.integration_id).where(Followup.id == followup_id)
    ).one_or_none()
    return None if row is None else find_sending_mailbox(session, *row)


def has_quarantined_mail(session: Session, company_id: int, sender_key: str) -> bool:
    """Whether a mail of this sender lies in the quarantine of one of the company's mailboxes."""
    found = session.scalar(
        sa.select(QuarantinedMail.id)
        .join(InboxIntegration, InboxIntegration.id == QuarantinedMail.integration_id)
        .where(InboxIntegration.company_id == company_id, QuarantinedMail.sender_key == sender_key)
        .limit(1)
    )
    return found is not None


def look_again(
    session: Session,
    followup_id: int,
    at: datetime,
    reason: str | None,
    *,
    for_client: bool = False,
) -> None:
    """Leave an active follow-up alone until `at` (aware UTC).

    for_client: its turn has come, but for other reminders to its client.
    """
    given = {"followup": followup_id, "at": at, "reason": reason and reason[:200]}
    session.execute(_LOOK_AGAIN_FOR_CLIENT if for_client else _LOOK_AGAIN, given)


def release(session: Session, followup_id: int, at: datetime | None) -> None:
    """Set a held follow-up going again, to be looked at `at`, or when it was to be before."""
    values: dict[str, object] = {"auto_state": AutoState.ACTIVE.value, "auto_reason": None}
    if at is not None:
        values["next_action_at"] = at
    session.execute(
        sa.update(Followup)
        .where(Followup.id == followup_id, Followup.auto_state == AutoState.HELD.value)
        .values(**values)
    )


def record_step_sent(
    session: Session,
    followup_id: int,
    *,
    step: int,
    at: datetime,
    conversation_id: int,
    next_action_at: datetime,
) -> None:
    session.execute(
        sa.update(_FOLLOWUPS)
        .where(Followup.id == followup_id)
        .values(
            # A step that was taken for uncertain may be settled after a later one.
            steps_sent=sa.case((Followup.steps_sent < step, step), else_=Followup.steps_sent),
            last_step_at=sa.case(
                (sa.or_(Followup.last_step_at.is_(None), Followup.last_step_at < at), at),
                else_=Followup.last_step_at,
            ),
            conversation_id=sa.func.coalesce(Followup.conversation_id, conversation_id),
            next_action_at=next_action_at,
            # Who has stopped it while the mail was on its way has left a reason.
            auto_reason=sa.case(
                (Followup.auto_state == AutoState.ACTIVE.value, sa.null()),
                else_=Followup.auto_reason,
            ),
        )
    )


def end_automation(
    session: Session,
    followup: DueFollowup,
    state: AutoState,
    reason: str,
    *,
    at: datetime,
    status: str | None = None,
) -> None:
    """Stop, hold or complete an active follow-up, with a line in its history.

    One that has ended, or is held, stays so: what was said first is not said over. status: the new
    business status, None to leave the host application's word alone.
    """
    values: dict[str, object] = {"auto_state": state.value, "auto_reason": reason[:200]}
    if status is not None:
        values["status"] = status
    ended = session.execute(
        sa.update(Followup)
        .where(Followup.id == followup.id, Followup.auto_state == AutoState.ACTIVE.value)
        .values(**values)
        .returning(Followup.id)
    ).one_or_none()
    if ended is None:
        return
    record_history(
        session,
        followup,
        HistoryStatus(state.value),
        step=followup.steps_sent,
        at=at,
        reason=reason,
    )


def record_history(
    session: Session,
    followup: DueFollowup,
    status: HistoryStatus,
    *,
    step: int,
    at: datetime,
    reason: str | None = None,
    message: str = "",
    conversation_id: int | None = None,
    by: str = "",
    channel: Channel = Channel.EMAIL,
) -> None:
    given: dict[str, object] = {
        "company_id": followup.company_id,
        "followup_id": followup.id,
        "conversation_id": conversation_id,
        "step": step,
        "message": message,
        "message_type": channel.value,
        "status": status.value,
        "reason": reason and reason[:200],
        "sent_by_name": by[:200],
        "sent_at": at,
    }
    # Left out where there are none: a JSON column takes None for the JSON word.
    facts = {} if followup.facts is None else {"facts": followup.facts}
    session.execute(_RECORD_HISTORY, given | facts)
