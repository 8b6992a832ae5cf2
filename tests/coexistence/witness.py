"""Who saw an answer in the inbox before its client was reminded all the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app import db
from backend.app.engines import create_engine
from backend.app.models import Client, Followup, InboxMessage, OutboxMail
from tests.installation import Installation

# The stops are asked and `sending` is committed in one transaction, but not in one statement: on
# PostgreSQL something may be committed in between. SQLite has one writer at a time.
IN_BETWEEN = timedelta(seconds=1)


@dataclass
class Witness:
    """Looks into the inbox from time to time; what it has seen was committed by then.

    seen: message -> the database's clock after the look.
    """

    url: str
    seen: dict[int, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        engine = create_engine(self.url)
        self._engine = engine.execution_options(sqlite_begin="DEFERRED")

    def look(self) -> None:
        with Session(self._engine) as session:
            ids = list(session.scalars(sa.select(InboxMessage.id)))
            now = db.load_now(session)
        for message_id in ids:
            self.seen.setdefault(message_id, now)

    def close(self) -> None:
        self._engine.dispose()


def reminders_in_vain(
    installation: Installation, seen: Mapping[int, datetime], ended: Mapping[int, datetime]
) -> list[str]:
    """Reminders whose body went although the client's answer, or the end, was committed before."""
    followups = {row.id: row for row in installation.rows(Followup)}
    keys = {row.id: row.email_key for row in installation.rows(Client)}
    answers: dict[tuple[int, str], list[InboxMessage]] = {}
    for message in installation.rows(InboxMessage, InboxMessage.kind == "human"):
        answers.setdefault((message.company_id, message.from_key), []).append(message)
    lines = []
    for step in installation.rows(OutboxMail, OutboxMail.sending_at.is_not(None)):
        followup = followups[step.followup_id]
        latest = step.sending_at - IN_BETWEEN
        if (at := ended.get(followup.id)) is not None and at < latest:
            lines.append(f"step {step.id} went at {step.sending_at}, ended at {at}")
        for answer in answers.get((followup.company_id, keys[followup.client_id] or ""), []):
            at = seen.get(answer.id)
            if at is not None and at < latest and answer.arrived_at > followup.created_at:
                lines.append(f"step {step.id} went at {step.sending_at}, answered at {at}")
    return lines
