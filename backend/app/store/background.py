"""What the inbox holds around a mail, before it is placed: all of it in one statement.

Each part is a look by an index; one by one they would take a round trip each, for every mail.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app.mail.message import address_key
from backend.app.models import Client, Conversation, ErasedMail, InboxMessage, OutboxMail
from backend.app.store.records import Known, Reminder
from backend.app.store.tables import table_of

MOST_KNOWN = 200

_M = table_of(InboxMessage).c
_C = table_of(Conversation).c
_CLIENT = table_of(Client).c
_O = table_of(OutboxMail).c
_E = table_of(ErasedMail).c

# Every part has these columns; what it does not have is NULL there.
_COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "id": _M.id.type,
    "conversation_id": _M.conversation_id.type,
    "client_id": _O.client_id.type,
    "external_id": _M.external_id.type,
    "from_key": _M.from_key.type,
    "recipients": _M.recipients.type,
    "is_from_client": _M.is_from_client.type,
    "subject": _M.subject.type,
    "client_key": _CLIENT.email_key.type,
}


def _part(what: str, **columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    nothing = {name: sa.cast(sa.null(), type_) for name, type_ in _COLUMNS.items()}
    chosen = {**nothing, **columns}
    return sa.select(
        sa.literal_column(f"'{what}'", sa.String).label("what"),
        *(chosen[name].label(name) for name in _COLUMNS),
    )


def _messages(what: str, *conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
    of_message = {name: _M[name] for name in _COLUMNS if name in _M}
    rows = (
        _part(what, **of_message, client_key=_CLIENT.email_key)
        .join_from(table_of(InboxMessage), table_of(Conversation), _C.id == _M.conversation_id)
        .outerjoin(table_of(Client), _CLIENT.id == _C.client_id)
        .where(_M.company_id == sa.bindparam("company_id"), *conditions)
        # By an expression: by the column alone, an SQLite without statistics walks through all
        # messages of the company in that order.
        .order_by(_M.id + 0)
        .limit(MOST_KNOWN)
    )
    return sa.select(rows.subquery())


_SAME = _part("same", id=_M.id).where(
    _M.company_id == sa.bindparam("company_id"), _M.fingerprint == sa.bindparam("fingerprint")
)
_ERASED = _part("erased").where(
    _E.company_id == sa.bindparam("company_id"), _E.fingerprint == sa.bindparam("fingerprint")
)
_PARTY = _part("party", client_id=_CLIENT.id).where(
    _CLIENT.company_id == sa.bindparam("company_id"),
    _CLIENT.email_key == sa.bindparam("party_key"),
)
_ANSWERS = _messages("answer", _M.in_reply_to == sa.bindparam("message_id"))
_KNOWN = _messages("known", _M.external_id.in_(sa.bindparam("references", expanding=True)))
_REMINDERS = (
    _part(
        "reminder",
        id=_O.id,
        conversation_id=sa.func.coalesce(_M.conversation_id, _O.conversation_id),
        client_id=_O.client_id,
        external_id=_O.message_id,
        from_key=_O.recipient,
        client_key=_CLIENT.email_key,
    )
    .join_from(table_of(OutboxMail), table_of(Client), _CLIENT.id == _O.client_id)
    .outerjoin(
        table_of(InboxMessage),
        sa.and_(_M.company_id == _O.company_id, _M.fingerprint == _O.fingerprint),
    )
    .where(
        _O.company_id == sa.bindparam("company_id"),
        _O.message_id.in_(sa.bindparam("of_ours", expanding=True)),
    )
)
_SUBJECT = sa.select(
    _part("subject", conversation_id=_C.id)
    .join_from(table_of(Conversation), table_of(Client), _CLIENT.id == _C.client_id)
    .where(
        _CLIENT.company_id == sa.bindparam("company_id"),
        _CLIENT.email_key == sa.bindparam("party_key"),
        _C.company_id == sa.bindparam("company_id"),
        _C.source == "email",
        _C.subject_key == sa.bindparam("subject_key"),
        _C.last_message_at >= sa.bindparam("since"),
        sa.exists().where(
            _M.conversation_id == _C.id,
            _M.sent_at.between(sa.bindparam("since"), sa.bindparam("until")),
        ),
    )
    .order_by(_C.last_message_at.desc())
    .limit(1)
    .subquery()
)


@lru_cache(maxsize=8)
def _statement(*, known: bool, reminders: bool, subject: bool) -> Any:
    """Built once for each choice. The first part's columns give the others their types."""
    parts = [_ANSWERS, _SAME, _ERASED, _PARTY]
    chosen = ((known, _KNOWN), (reminders, _REMINDERS), (subject, _SUBJECT))
    return sa.union_all(*parts, *(part for wanted, part in chosen if wanted))


@dataclass(frozen=True, slots=True)
class SameSubject:
    """A reply's subject, and the stretch of time in which something was said with it."""

    key: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Background:
    """All of one company.

    same      the message that has the mail's fingerprint; is_erased: that of an erased client's
    client_id     of the outside party
    known     messages that the mail refers to; answers: those that refer to it
    reminders     of ours, by Message-ID, those too whose settlement is still to come;
                  conversation_id: where one lies, else where it was meant to go
    same_subject  the client's newest conversation with this subject
    """

    same: int | None = None
    is_erased: bool = False
    client_id: int | None = None
    known: list[Known] = field(default_factory=list)
    answers: list[Known] = field(default_factory=list)
    reminders: dict[str, Reminder] = field(default_factory=dict)
    same_subject: int | None = None


def load_background(
    session: Session,
    company_id: int,
    *,
    fingerprint: str,
    message_id: str,
    references: Sequence[str],
    of_ours: Sequence[str],
    party_key: str | None,
    subject: SameSubject | None,
) -> Background:
    """references: Message-IDs of the company's messages; of_ours: of our reminders.

    party_key: the outside party's address; None for none.
    """
    statement = _statement(
        known=bool(references), reminders=bool(of_ours), subject=subject is not None
    )
    given: dict[str, Any] = {
        "company_id": company_id,
        "fingerprint": fingerprint,
        "message_id": message_id,
        "party_key": party_key,
    }
    if references:
        given["references"] = list(references)
    if of_ours:
        given["of_ours"] = list(of_ours)
    if subject is not None:
        given |= {"subject_key": subject.key, "since": subject.since, "until": subject.until}
    rows = session.execute(statement, given).all()
    return _background({what: list(_of(rows, what)) for what in {row.what for row in rows}})


def _of(rows: Sequence[Any], what: str) -> Iterator[Any]:
    return (row for row in rows if row.what == what)


def _background(found: dict[str, list[Any]]) -> Background:
    def one(what: str, column: str) -> int | None:
        return getattr(found[what][0], column) if what in found else None

    return Background(
        same=one("same", "id"),
        is_erased="erased" in found,
        client_id=one("party", "client_id"),
        known=_known(found.get("known", [])),
        answers=_known(found.get("answer", [])),
        reminders={row.external_id: _reminder(row) for row in found.get("reminder", [])},
        same_subject=one("subject", "conversation_id"),
    )


def _known(rows: list[Any]) -> list[Known]:
    return [
        Known(
            row.external_id,
            row.conversation_id,
            row.client_key,
            frozenset((row.from_key, *row.recipients)),
            row.is_from_client,
            row.subject,
        )
        for row in sorted(rows, key=lambda row: row.id)
    ]


def _reminder(row: Any) -> Reminder:
    return Reminder(
        row.id, row.client_id, row.client_key, address_key(row.from_key), row.conversation_id
    )
