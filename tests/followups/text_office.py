"""A company that reminds by text message: its account at the provider, and its clients' numbers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from backend.app import db
from backend.app.followups.calendar import OpeningHours
from backend.app.followups.company_rules import SMS_WINDOW
from backend.app.followups.settings import load_rules
from backend.app.models import Client, SmsAccount
from tests.followups.office import Office, open_office
from tests.installation import ALWAYS_OPEN, Installation
from tests.servers.twilio_server import ACCOUNT, SENDER, TOKEN, Message, TwilioServer

BY_TEXT: dict[str, Any] = {**ALWAYS_OPEN, "invoice_unpaid": {"channel": "sms"}}
_NUMBERS = itertools.count(10_000_000)


def text_hour() -> datetime:
    """When text messages may go out again on a coming day: later than all that a test makes now.

    An instant within today's hours would be earlier than the follow-ups that are made after it, and
    none of them would be due.
    """
    zone = ZoneInfo("Europe/Paris")
    hours = OpeningHours(zone, "FR", load_rules(ALWAYS_OPEN), SMS_WINDOW)
    tomorrow = db.utc_now().astimezone(zone).date() + timedelta(days=1)
    at = hours.next_opening(datetime.combine(tomorrow, time(), zone))
    assert at is not None
    return at


@dataclass
class TextOffice:
    """office: the company as ever; what its clients get by text is `twilio.to(number)`."""

    office: Office
    twilio: TwilioServer
    now: datetime = field(default_factory=text_hour)

    def number(self) -> str:
        """One that nobody had before."""
        return f"+336{next(_NUMBERS)}"

    def client(self, number: str | None = None, **more: Any) -> int:
        phone = number or self.number()
        client = self.office.client(phone.removeprefix("+"))
        self.office.installation.set(Client, client, phone=phone, **more)
        return client

    def reminder(self, number: str | None = None, **more: Any) -> int:
        """A follow-up whose first step, a text message, is due."""
        client = self.client(number)
        return self.office.installation.add_followup(self.office.company, client, **more)

    def send(self, now: datetime | None = None, **selection: int) -> Any:
        return self.office.send(now or self.now, **selection)

    def delivered(self, followup_id: int) -> list[Message]:
        phone = self.office.outbox(followup_id).recipient
        return self.twilio.to(phone)


def open_text_office(
    installation: Installation, smtp: Any, twilio: TwilioServer, rules: Any = None
) -> TextOffice:
    """Another company with an account; rules: beside what sends every invoice's steps by text."""
    installation.extra["TWILIO_URL"] = twilio.url
    office = open_office(installation, smtp)
    installation.set_settings(office.company, {"followups": {**BY_TEXT, **(rules or {})}})
    installation.change(
        lambda session: session.add(
            SmsAccount(
                company_id=office.company,
                provider="twilio",
                account=ACCOUNT,
                username=ACCOUNT,
                secret=installation.vault.encrypt(TOKEN),
                sender=SENDER,
            )
        )
    )
    return TextOffice(office, twilio)
