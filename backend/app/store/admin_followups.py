"""Follow-ups and their outbox rows, as a person adds, lists, releases and stops them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.errors import Refused
from backend.app.mail.message import address_key
from backend.app.models import (
    AutoState,
    Client,
    Conversation,
    Followup,
    FollowupHistory,
    OutboxMail,
    OutboxState,
)
from backend.app.store.admin_records import (
    FollowupRow,
    HistoryRow,
    NewFollowup,
    OutboxRow,
)

_FROM_CLIENT = {
    "client_name": Client.name,
    "client_email": Client.email,
    "client_phone": Client.phone,
}
FOLLOWUP_COLUMNS = tuple(
    _FROM_CLIENT[name].label(name) if name in _FROM_CLIENT else getattr(Followup, name)
    for name in FollowupRow.__dataclass_fields__
)
OUTBOX_COLUMNS = tuple(getattr(OutboxMail, name) for name in OutboxRow.__dataclass_fields__)
HISTORY_COLUMNS = tuple(getattr(FollowupHistory, name) for name in HistoryRow.__dataclass_fields__)


def find_same(
    session: Session, company_id: int, client_id: int | None, new: NewFollowup
) -> int | None:
    """The follow-up that `new` would double; client_id None: a client who is not there yet.

    It is the one of the same source where a source is given, else the client's one of the same
    type, label and due date.
    """
    f = Followup
    query = sa.select(f.id).where(f.company_id == company_id).order_by(f.id).limit(1)
    if new.source_id is not None:
        query = query.where(f.source_type == new.source_type, f.source_id == new.source_id)
    elif client_id is None:
        return None
    else:
        query = query.where(
            f.client_id == client_id,
            f.type == new.type,
            f.source_label == new.source_label,
            f.due_date.is_not_distinct_from(new.due_date),
        )
    return session.scalar(query)


def require_client(session: Session, company_id: int, client_id: int) -> None:
    """Raises Refused when the company has no such client."""
    found = session.scalar(
        sa.select(Client.id).where(Client.company_id == company_id, Client.id == client_id)
    )
    if found is None:
        raise Refused(
            f"company {company_id} has no client {client_id}; "
            f"see: manage.py client list --company {company_id}"
        )


def insert_followup(
    session: Session, company_id: int, client_id: int, new: NewFollowup, now: datetime
) -> int:
    """A follow-up that the next run looks at. The caller holds the company's row."""
    values = {name: getattr(new, name) for name in NewFollowup.__dataclass_fields__}
    return session.execute(
        sa.insert(Followup)
        .values(
            company_id=company_id,
            client_id=client_id,
            next_action_at=now,
            created_at=now,
            **values,
        )
        .returning(Followup.id)
    ).scalar_one()


def list_followups(
    session: Session,
    company_id: int | None,
    state: str | None,
    limit: int,
    client: int | str | None = None,
) -> list[FollowupRow]:
    """client: a number, or an address."""
    query = _followups().order_by(Followup.id).limit(limit)
    if company_id is not None:
        query = query.where(Followup.company_id == company_id)
    if state is not None:
        query = query.where(Followup.auto_state == state)
    if isinstance(client, str):
        query = query.where(Client.email_key == address_key(client))
    elif client is not None:
        query = query.where(Client.id == client)
    return [FollowupRow(**row._mapping) for row in session.execute(query).all()]


def list_in_conversation(session: Session, conversation_id: int) -> list[FollowupRow]:
    """The follow-ups whose reminders go into a conversation, the oldest first."""
    c = sa.select(Conversation.client_id).where(Conversation.id == conversation_id)
    query = _followups().where(
        Followup.conversation_id == conversation_id,
        Followup.client_id.in_(c),  # by the client's index
    )
    return [FollowupRow(**row._mapping) for row in session.execute(query.order_by(Followup.id))]


def load_followup_row(session: Session, company_id: int | None, followup_id: int) -> FollowupRow:
    """Raises Refused when there is no such follow-up, or it is another company's."""
    query = _followups().where(Followup.id == followup_id)
    if company_id is not None:
        query = query.where(Followup.company_id == company_id)
    row = session.execute(query).one_or_none()
    if row is None:
        where = "" if company_id is None else f" of company {company_id}"
        raise Refused(f"there is no follow-up {followup_id}{where}; see: manage.py followup list")
    return FollowupRow(**row._mapping)


def _followups() -> sa.Select[tuple[object, ...]]:
    return sa.select(*FOLLOWUP_COLUMNS).join(Client, Client.id == Followup.client_id)


def list_history(session: Session, followup_id: int) -> list[HistoryRow]:
    rows = session.execute(
        sa.select(*HISTORY_COLUMNS)
        .where(FollowupHistory.followup_id == followup_id)
        .order_by(FollowupHistory.sent_at, FollowupHistory.id)
    ).all()
    return [HistoryRow(**row._mapping) for row in rows]


def load_step_facts(session: Session, followup_id: int) -> dict[int, Any]:
    """What each step's last claim rested on, by its number."""
    rows = session.execute(
        sa.select(OutboxMail.step, OutboxMail.facts).where(OutboxMail.followup_id == followup_id)
    ).all()
    return {row.step: row.facts for row in rows}


def list_outbox(
    session: Session,
    *,
    company_id: int | None = None,
    state: str | None = None,
    followup_id: int | None = None,
    limit: int = 1000,
) -> list[OutboxRow]:
    query = sa.select(*OUTBOX_COLUMNS).order_by(OutboxMail.id).limit(limit)
    if company_id is not None:
        query = query.where(OutboxMail.company_id == company_id)
    if state is not None:
        query = query.where(OutboxMail.state == state)
    if followup_id is not None:
        query = query.where(OutboxMail.followup_id == followup_id)
    return [OutboxRow(**row._mapping) for row in session.execute(query).all()]


def load_outbox_row(session: Session, company_id: int | None, outbox_id: int) -> OutboxRow:
    """Raises Refused when there is no such row, or it is another company's."""
    query = sa.select(*OUTBOX_COLUMNS).where(OutboxMail.id == outbox_id)
    if company_id is not None:
        query = query.where(OutboxMail.company_id == company_id)
    row = session.execute(query).one_or_none()
    if row is None:
        where = "" if company_id is None else f" of company {company_id}"
        raise Refused(f"there is no outbox row {outbox_id}{where}; see: manage.py outbox list")
    return OutboxRow(**row._mapping)


def load_outbox_mail(session: Session, row: OutboxRow) -> tuple[str, bytes]:
    """Its text, and what was or will be handed to the server; of the mail that carries it, if any.

    Of a text message both are the text.
    """
    found = session.execute(
        sa.select(OutboxMail.content, OutboxMail.raw).where(
            OutboxMail.id == (row.carried_by or row.id)
        )
    ).one()
    return found.content, found.raw


def list_carried(session: Session, outbox_id: int) -> list[OutboxRow]:
    """The steps of other follow-ups that go, or went, in this one's mail."""
    query = sa.select(*OUTBOX_COLUMNS).where(OutboxMail.carried_by == outbox_id)
    rows = session.execute(query.order_by(OutboxMail.id)).all()
    return [OutboxRow(**row._mapping) for row in rows]


def plan_failed_again(session: Session, followup_id: int) -> int:
    """failed -> planned, on a person's word: the server refused it, so nothing had gone out.

    Without it a released follow-up would be held again for the same refusal. The attempts are
    counted anew. Returns how many steps there were. The caller holds the follow-up's row.
    """
    return _change_steps(
        session,
        followup_id,
        (OutboxState.FAILED,),
        state=OutboxState.PLANNED.value,
        attempts=0,
        next_attempt_at=None,
    )


def cancel_unsent(session: Session, followup_id: int) -> int:
    """planned or claimed -> cancelled, with a new token, so that a worker on its way to the body
    finds its claim gone. Returns how many steps there were. The caller holds the follow-up's row.
    """
    return _change_steps(
        session,
        followup_id,
        (OutboxState.PLANNED, OutboxState.CLAIMED),
        state=OutboxState.CANCELLED.value,
        owner=None,
        lease_until=None,
        next_attempt_at=None,
        error="stopped by a person",
    )


def _change_steps(
    session: Session, followup_id: int, states: tuple[OutboxState, ...], **values: object
) -> int:
    changed = session.scalars(
        sa.update(OutboxMail)
        .where(
            OutboxMail.followup_id == followup_id,
            OutboxMail.state.in_([state.value for state in states]),
        )
        .values(token=OutboxMail.token + 1, **values)
        .returning(OutboxMail.id)
    ).all()
    return len(changed)


def set_automation(
    session: Session, followup_id: int, state: AutoState, reason: str | None, at: datetime | None
) -> None:
    """at: when to look at it next; None leaves that as it is. The caller holds the row."""
    values: dict[str, object] = {"auto_state": state.value, "auto_reason": reason}
    if at is not None:
        values["next_action_at"] = at
    session.execute(sa.update(Followup).where(Followup.id == followup_id).values(**values))


def approve(session: Session, followup_id: int, at: datetime) -> None:
    """A person's word that it may go on. The caller holds the row."""
    session.execute(sa.update(Followup).where(Followup.id == followup_id).values(approved_at=at))


def reopen(session: Session, followup_id: int, at: datetime, *, status: str | None) -> None:
    """stopped -> active, with a person's word that all answers were read. The caller holds the row.

    status: the new business status; None leaves it.
    """
    values: dict[str, object] = {
        "auto_state": AutoState.ACTIVE.value,
        "auto_reason": None,
        "next_action_at": at,
        "answers_seen_at": at,
        "approved_at": at,
    }
    if status is not None:
        values["status"] = status
    session.execute(sa.update(Followup).where(Followup.id == followup_id).values(**values))


def promise(session: Session, followup_id: int, until: date) -> None:
    """The caller holds the row."""
    session.execute(
        sa.update(Followup).where(Followup.id == followup_id).values(promised_until=until)
    )


def postpone(session: Session, followup_id: int, until: date) -> None:
    """The caller holds the row."""
    session.execute(
        sa.update(Followup).where(Followup.id == followup_id).values(postponed_until=until)
    )


def list_held_reasons(session: Session, company_id: int) -> list[tuple[str, str]]:
    """(type, reason code) of each of the company's held follow-ups."""
    f = Followup
    rows = session.execute(
        sa.select(f.type, f.auto_reason).where(
            f.company_id == company_id, f.auto_state == AutoState.HELD.value
        )
    ).all()
    return [(row.type, (row.auto_reason or "").partition(":")[0]) for row in rows]


def list_held_for(
    session: Session, company_id: int, reason: str, kind: str | None = None
) -> list[int]:
    """The company's follow-ups that are held for this reason code, whatever its detail.

    kind: of this type alone.
    """
    f = Followup
    code = sa.or_(f.auto_reason == reason, f.auto_reason.startswith(f"{reason}:", autoescape=True))
    return list(
        session.scalars(
            sa.select(f.id)
            .where(
                f.company_id == company_id,
                f.auto_state == AutoState.HELD.value,
                code,
                *(() if kind is None else (f.type == kind,)),
            )
            .order_by(f.id)
        )
    )
