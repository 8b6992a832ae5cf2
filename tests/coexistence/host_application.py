"""The company's own application, which goes on editing the rows that both scripts work with."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from backend.app import db
from backend.app.engines import create_engine
from backend.app.mail.message import address_key
from backend.app.models import (
    Client,
    CompanySettings,
    Conversation,
    Followup,
    InboxMessage,
    OutboxMail,
    OutboxState,
)
from tests.installation import ALWAYS_OPEN

# What the clients' mail servers do; most take the mail.
FAULTS = ("4xx-at-rcpt", "5xx-at-rcpt", "drop-at-data", "cut-at-body", "4xx-at-dot", "5xx-at-dot")
UNSURE = ("drop-at-dot", "lost-at-dot")
SOUND_RULES: dict[str, Any] = {"followups": ALWAYS_OPEN}
OTHER_RULES: dict[str, Any] = {"followups": {**ALWAYS_OPEN, "freshness_minutes": 20}}
BROKEN_RULES: dict[str, Any] = {"followups": {**ALWAYS_OPEN, "window": "all day"}}


@dataclass
class HostApplication:
    """Each call of edit_one() is one of its transactions, locks in the usual order.

    ended: when (the database's clock, after the commit) each follow-up was paid or refused.
    reminded: the companies and addresses to which reminders are due, or were.
    """

    url: str
    companies: list[int]
    random: random.Random
    ended: dict[int, datetime] = field(default_factory=dict)
    reminded: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._engine = create_engine(self.url)

    def close(self) -> None:
        self._engine.dispose()

    def edit_one(self) -> None:
        edits: tuple[Callable[[], None], ...] = (
            self.add_followup,
            self._end,
            self.let_time_pass,
            self._rename,
            self._change_rules,
            self._read_a_conversation,
            self._close_a_conversation,
        )
        self.random.choices(edits, weights=(9, 1, 4, 2, 1, 2, 2))[0]()

    def add_followup(self) -> None:
        """A new client whose first reminder is due."""
        company_id = self.random.choice(self.companies)
        fault = self.random.choices(("r", *FAULTS, *UNSURE), weights=(12, *[1] * 6, 1, 1))[0]
        email = f"{fault}.{secrets.token_hex(6)}@client.test"
        with self._session() as session:
            client = Client(
                company_id=company_id, name="Jean", email=email, email_key=address_key(email)
            )
            session.add(client)
            session.flush()
            due = datetime.now(UTC).date() - timedelta(days=10)
            values: dict[str, Any] = {"type": "invoice_unpaid", "source_label": "F-1", "amount": 9}
            session.add(
                Followup(company_id=company_id, client_id=client.id, due_date=due, **values)
            )
        self.reminded.append((company_id, email))

    def _end(self) -> None:
        if (followup_id := self._any(Followup)) is not None:
            status = self.random.choice(("paid", "refused"))
            self._set(Followup, followup_id, status=status, next_action_at=db.database_now())
            with self._session() as session:
                self.ended.setdefault(followup_id, db.load_now(session))

    def let_time_pass(self) -> None:
        """As if what was put off had become due."""
        planned = OutboxMail.state == OutboxState.PLANNED.value
        with self._session() as session:
            session.execute(sa.update(Followup).values(next_action_at=db.database_now()))
            session.execute(sa.update(OutboxMail).where(planned).values(next_attempt_at=None))

    def _rename(self) -> None:
        if (client_id := self._any(Client)) is not None:
            self._set(Client, client_id, name=f"Jean {secrets.token_hex(2)}")

    def _change_rules(self) -> None:
        rules = self.random.choice((SOUND_RULES,) * 4 + (OTHER_RULES,) * 4 + (BROKEN_RULES,))
        self._set(CompanySettings, self.random.choice(self.companies), settings=rules)

    def mend_the_rules(self) -> None:
        for company_id in self.companies:
            self._set(CompanySettings, company_id, settings=SOUND_RULES)

    def _read_a_conversation(self) -> None:
        if (conversation_id := self._any(Conversation)) is not None:
            of_it = InboxMessage.conversation_id == conversation_id
            with self._session() as session:
                session.execute(
                    sa.update(Conversation)
                    .where(Conversation.id == conversation_id)
                    .values(unread_count=0)
                )
                session.execute(sa.update(InboxMessage).where(of_it).values(read=True))

    def _close_a_conversation(self) -> None:
        if (conversation_id := self._any(Conversation)) is not None:
            self._set(Conversation, conversation_id, status="closed")

    def _any(self, model: Any) -> int | None:
        with self._session() as session:
            ids = list(session.scalars(sa.select(model.id).order_by(model.id)))
        return self.random.choice(ids) if ids else None

    def _set(self, model: Any, row_id: int, **values: Any) -> None:
        key = sa.inspect(model).primary_key[0]
        with self._session() as session:
            session.execute(sa.update(model).where(key == row_id).values(**values))

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with Session(self._engine) as session, session.begin():
            yield session
