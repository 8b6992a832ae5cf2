"""A simulated world around the real sender: clients, a mail server, a clock, and mishaps.

The code under test is the whole hourly job on a real database. Simulated are only the SMTP edge
(`open_smtp`), the clock (`Run.now`, and the database's own for leases), and what the sync script
and people would write. What really happened is kept beside the database, so that the books can be
checked against it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import sqlalchemy as sa

from backend.app import db
from backend.app.errors import NotSent, SendUncertain
from backend.app.followups import mail_outlet
from backend.app.followups.send import send_due_followups
from backend.app.models import (
    Client,
    Conversation,
    Followup,
    InboxIntegration,
    InboxMessage,
    MailboxState,
    OutboxMail,
)
from backend.app.operate.settlement import accept_as_sent, send_again
from backend.app.runtime import Report, Run
from tests.installation import Installation

HOUR = timedelta(hours=1)
OF_THE_OUTBOX = re.compile(r"\b(UPDATE|INTO|FROM|JOIN) outbox\b")


class Killed(BaseException):
    """The process is gone in the middle of its work."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A step whose mail reached the client's mailbox, whatever the sender learned of it.

    mail: the number of the mail; several steps may lie in one.
    """

    at: datetime
    client: int
    followup: int
    step: int
    mailbox: int
    mail: int
    message_id: str


@dataclass
class World:
    """now: the simulated instant. answered, settled, left: when each client or follow-up did so."""

    installation: Installation
    chance: random.Random
    now: datetime
    mishaps: bool = True
    deliveries: list[Delivery] = field(default_factory=list)
    answered: dict[int, datetime] = field(default_factory=dict)
    settled: dict[int, datetime] = field(default_factory=dict)
    bounced: dict[int, datetime] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    unread: list[Callable[[], None]] = field(default_factory=list)
    reading: bool = True
    nested: bool = False
    messages: int = 0
    mails: int = 0

    def note(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def rows(self, query: sa.Select[Any]) -> list[Any]:
        with db.SessionLocal() as session:
            return list(session.execute(query).all())

    def change(self, model: type[Any], row_id: int, **values: Any) -> None:
        self.installation.set(model, row_id, **values)

    # -- the sender --------------------------------------------------------------------------

    def run(self, owner: str) -> Report:
        """One start of the hourly job. A kill ends it, as it would end the process."""
        report = Report()
        settings, vault = self.installation.settings, self.installation.vault
        run = Run(settings, vault, owner, lambda: False, lambda: self.now)
        try:
            send_due_followups(run, report)
        except Killed:
            self.note("killed")
        for name, number in report.counts.items():
            self.counts[name] = self.counts.get(name, 0) + number
        return report

    def is_due(self) -> bool:
        f = Followup
        due = self.rows(
            sa.select(f.id).where(f.auto_state == "active", f.next_action_at <= self.now).limit(1)
        )
        return bool(due or self._unsettled())

    def has_ended(self) -> bool:
        """Whether no follow-up is active, and no step on its way or uncertain."""
        active = self.rows(sa.select(Followup.id).where(Followup.auto_state == "active").limit(1))
        return not active and not self._unsettled()

    def _unsettled(self) -> list[Any]:
        o = OutboxMail
        states = ["claimed", "sending", "uncertain"]
        return self.rows(sa.select(o.id).where(o.state.in_(states)).limit(1))

    def freshen(self) -> None:
        """The sync script has just read every mailbox, and files what it has found."""
        if not self.reading:
            return
        for store in self.unread:
            store()
        self.unread.clear()
        read = sa.update(MailboxState).values(fresh_at=self.now)
        self.installation.change(lambda session: session.execute(read))

    # -- the clients -------------------------------------------------------------------------

    def answers(self, client: int, kind: str = "human", **more: Any) -> None:
        """A mail of the client's reaches the mailbox now; it is stored when it is read next."""
        at = self.now
        if kind == "human":
            self.answered.setdefault(client, at)
        self.note(kind)
        self._mail(client, kind, at, **more)

    def _mail(self, client: int, kind: str, at: datetime, **more: Any) -> None:
        def store() -> None:
            self.messages += 1
            (row,) = self.rows(
                sa.select(Client.company_id, Client.email_key).where(Client.id == client)
            )
            conversation = self.installation.add(
                Conversation(
                    company_id=row.company_id,
                    client_id=client,
                    thread_key=f"mail:{self.messages}",
                )
            )
            values: dict[str, Any] = {
                "external_id": f"{self.messages}@client.test",
                "fingerprint": f"{self.messages:064}",
                "from_key": row.email_key,
                "is_from_client": True,
                "kind": kind,
                "placement": "new",
                "sent_at": at,
                "arrived_at": at,
                "created_at": self.now,
            }
            self.installation.add(
                InboxMessage(
                    company_id=row.company_id, conversation_id=conversation, **(values | more)
                )
            )

        self.unread.append(store)

    def pays(self, followup: int) -> None:
        self.change(Followup, followup, status="paid", next_action_at=self.now)
        self.settled.setdefault(followup, self.now)
        self.note("paid")

    def bounces(self, delivery: Delivery, *, hard: bool) -> None:
        if hard:
            self.bounced.setdefault(delivery.client, self.now)
        self.note("bounced hard" if hard else "bounced softly")
        about = {"about_external_id": delivery.message_id, "from_key": "mailer-daemon@mx.test"}
        self._mail(delivery.client, "bounce", self.now, bounce_hard=hard, **about)

    # -- people ------------------------------------------------------------------------------

    def people_settle_what_is_uncertain(self) -> None:
        """They look into the client's mailbox, so to speak, and say what is true."""
        o = OutboxMail
        asked = self.rows(
            sa.select(o.id, o.company_id, o.followup_id, o.step).where(
                o.state == "uncertain", o.needs_person, o.carried_by.is_(None)
            )
        )
        for row in asked:
            act = accept_as_sent if self.has_arrived(row.followup_id, row.step) else send_again
            db.write(act, row.company_id, row.id, self.now, "Claire")
            self.note("settled by a person")

    def has_arrived(self, followup: int, step: int) -> bool:
        return any((d.followup, d.step) == (followup, step) for d in self.deliveries)

    def copies_in_sent_are_read(self) -> None:
        o = OutboxMail
        for row in self.rows(
            sa.select(o.followup_id, o.step, o.client_id, o.message_id, o.fingerprint).where(
                o.state == "uncertain", o.carried_by.is_(None)
            )
        ):
            filed = self.rows(
                sa.select(InboxMessage.id).where(InboxMessage.external_id == row.message_id)
            )
            if not filed and self.has_arrived(row.followup_id, row.step):
                own = {"external_id": row.message_id, "fingerprint": row.fingerprint}
                more = {"is_from_client": False, "from_key": "us@example.test", **own}
                self._mail(row.client_id, "own", self.now, **more)


class Server:
    """The SMTP connection of a mailbox whose server has good and bad moments."""

    usable = True

    def __init__(self, world: World) -> None:
        self.world = world

    def answers(self) -> bool:
        return True

    def close(self) -> None:
        return None

    def send(
        self,
        *,
        sender: str,
        recipient: str,
        raw: bytes,
        before_body: Callable[[], None],
        body_within: float,
    ) -> str:
        world, dice = self.world, self.world.chance.random()
        if not world.mishaps:
            dice = 1.0
        if dice < 0.01:
            raise NotSent("450 4.2.0 later", permanent=False, code=450)
        if dice < 0.02:
            raise Killed
        self._meanwhile(recipient, dice)
        before_body()
        if dice < 0.21:
            raise Killed
        if dice < 0.22:
            raise SendUncertain("no answer, and it did not arrive")
        self._arrives(recipient, raw)
        if dice < 0.23:
            raise SendUncertain("no answer, and it did arrive")
        if dice < 0.24:
            raise Killed
        return "250 2.0.0 OK"

    def _meanwhile(self, recipient: str, dice: float) -> None:
        """Between planning and the body: a second start of the job, an answer, a payment."""
        world = self.world
        if dice < 0.12 and not world.nested:
            world.nested = True
            world.note("double start")
            world.run(f"double-{world.now}")
            world.nested = False
        elif dice < 0.16 and world.reading:
            world.answers(_client_of(recipient))
            world.freshen()
        elif dice < 0.20:
            pending = world.rows(
                sa.select(Followup.id).where(
                    Followup.client_id == _client_of(recipient), Followup.status == "pending"
                )
            )
            for followup in pending[: world.chance.choice([1, len(pending)])]:
                world.pays(followup.id)

    def _arrives(self, recipient: str, raw: bytes) -> None:
        world, o = self.world, OutboxMail
        (mail,) = world.rows(
            sa.select(o.id, o.message_id, o.integration_id, o.state).where(o.raw == raw)
        )
        carried = sa.and_(o.carried_by == mail.id, o.state == mail.state)
        world.mails += 1
        for row in world.rows(
            sa.select(o.followup_id, o.step, o.client_id).where(sa.or_(o.id == mail.id, carried))
        ):
            world.deliveries.append(
                Delivery(
                    world.now,
                    row.client_id,
                    row.followup_id,
                    row.step,
                    mail.integration_id,
                    world.mails,
                    mail.message_id,
                )
            )


def _client_of(recipient: str) -> int:
    """Addresses are client.<id>@..."""
    return int(recipient.partition("@")[0].rpartition(".")[2])


@contextmanager
def simulated(world: World) -> Any:
    """Put the world around the real code: its SMTP edge, and its clock in the database's place."""

    def tell_the_time(
        _connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any
    ) -> tuple[str, Any]:
        """Statements are built once: what they ask the database's clock is answered as they run."""
        if OF_THE_OUTBOX.search(statement):
            now = world.now.astimezone(UTC).isoformat(" ", "milliseconds")
            statement = statement.replace("'now'", f"'{now}'")  # SQLite
            statement = statement.replace("clock_timestamp()", f"timestamptz '{now}'")
        return statement, parameters

    sa.event.listen(sa.Engine, "before_cursor_execute", tell_the_time, retval=True)
    try:
        with patch.object(mail_outlet, "open_smtp", lambda _endpoint: Server(world)):
            yield
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", tell_the_time)


TYPES = ("invoice_unpaid", "quote_unanswered", "missing_information")


def people_the_world(
    world: World, companies: list[tuple[str, str, dict[str, Any]]], followups: int, days: int
) -> None:
    """companies: time zone, country, rules. Two follow-ups a client, due at any time of it.

    Of a company that groups its invoices every other client has two, due at about the same time.
    """
    installation = world.installation
    account = type("Account", (), {"address": "", "username": "u", "password": "p"})()
    edge = type("Edge", (), {"host": "127.0.0.1", "tls_port": 1, "port": 1})()
    for zone, country, rules in companies:
        company = installation.add_company(
            zone, timezone=zone, country=country, settings={"followups": rules}
        )
        account.address = f"contact@{company}.test"
        mailbox = installation.add_mailbox(company, account, edge, edge)
        row = MailboxState(integration_id=mailbox, company_id=company, fresh_at=world.now)
        installation.change(lambda s, row=row: s.merge(row))
    ids = [row.id for row in world.rows(sa.select(InboxIntegration.company_id.label("id")))]
    grouping = {
        each
        for each, (_, _, rules) in zip(ids, companies, strict=True)
        if rules.get("invoice_unpaid", {}).get("group")
    }
    client, due = 0, world.now.date()
    for number in range(followups):
        company = ids[number // 2 % len(ids)]
        if number % 2 == 0:
            client = _new_client(world, company)
        type_ = TYPES[number % len(TYPES)]
        if company in grouping and number // 2 // len(ids) % 2 == 0:
            type_ = "invoice_unpaid"
            if number % 2:
                _new_followup(world, company, client, due + timedelta(days=number % 3), type_)
                continue
        due = (world.now + timedelta(days=world.chance.randrange(days))).date()
        _new_followup(world, company, client, due, type_)


def _new_client(world: World, company: int) -> int:
    client = world.installation.add(Client(company_id=company, name="Jean Petit"))
    address = f"client.{client}@client.test"
    world.change(Client, client, email=address, email_key=address)
    return client


def _new_followup(world: World, company: int, client: int, due: date, type_: str) -> None:
    world.installation.add(
        Followup(
            company_id=company,
            client_id=client,
            type=type_,
            source_label="Facture F-2027-001",
            amount=Decimal("120.00"),
            due_date=due,
            created_at=world.now,
            next_action_at=world.now,
        )
    )
