"""The network edge towards Twilio: one text message, and exactly what is known of it.

    connect, TLS                         nothing was asked for          -> MailboxError
    before_text()                        the caller commits 'sending'
    POST .../Messages.json               from here on nobody knows      -> SendUncertain
    2xx with the message's SID           taken
    429, 503, 408                        not processed, come back later -> NotSent
    400 and the like                     refused for good               -> NotSent
    401, 403, a sender that is not ours  this account cannot send       -> MailboxError
    500, 502, 504, an answer that is none                               -> SendUncertain

Creating a message is not idempotent, and after a 500 Twilio itself warns of doubles (its error
20500); a 429 was never processed (20429), and after a 503 another try is asked for (20503). There
is no reference of ours that Twilio would keep, but its list of messages can be asked by number:
that is the witness (`find_messages`).
"""

from __future__ import annotations

import json
import re
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

from backend.app.errors import (
    CredentialsRefused,
    MailboxMisconfigured,
    NetworkFault,
    NotSent,
    SendUncertain,
    ServerFault,
    Throttled,
)
from backend.app.mail.charsets import printable_line
from backend.app.mail.endpoint import Endpoint
from backend.app.mail.web import Answer, ask

COME_BACK_LATER = (408, 429, 503)
# What is wrong with the sender or the account, whoever the recipient: no message is to blame.
# 20404 no such account; 21212, 21603, 21660 a sender that is none, or not the account's; 21267 a
# trial account's name.
OUR_FAULT = (20404, 21212, 21267, 21603, 21660)
CLOCKS_APART = timedelta(minutes=5)
_SID = re.compile(r"[A-Za-z0-9]{2,64}")
_LISTED = 20  # of at most 3 kB each: within web.LONGEST_ANSWER


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that Twilio has. sid: its name there; status: such as queued, sent, failed."""

    sid: str
    status: str


@dataclass(frozen=True, slots=True)
class Twilio:
    """One account. endpoint: its API's server; the user name and password sign in there."""

    account: str
    endpoint: Endpoint

    def send(
        self,
        *,
        sender: str,
        recipient: str,
        text: str,
        before_text: Callable[[], None],
        text_within: float,
    ) -> Taken:
        """Ask for one message.

        before_text runs when the connection stands and nothing was asked for; what it raises ends
        the attempt, and passes through. text_within: seconds that it may take; a process that was
        frozen meanwhile must not send.
        Raises NotSent, SendUncertain, or MailboxError when this account cannot send at all.
        """
        asked = False

        def connected() -> None:
            nonlocal asked
            began = time.monotonic()
            before_text()
            if time.monotonic() - began > text_within:
                raise NotSent("held up before the request; nothing went out", permanent=False)
            asked = True

        form = {"From": sender, "To": recipient, "Body": text}
        try:
            answer = self._ask("POST", "Messages.json", form, connected)
        except NetworkFault as error:
            if not asked:
                raise
            raise SendUncertain(f"after the request: {error}") from error
        return self._read_taken(answer)

    def find_messages(self, recipient: str, text: str, since: datetime) -> list[Taken]:
        """What we sent with this very text to this number since `since`. Raises MailboxError."""
        day = (since - CLOCKS_APART).astimezone(UTC).date().isoformat()
        query = urlencode({"To": recipient, "DateSent>": day, "PageSize": _LISTED})
        answer = self._ask("GET", f"Messages.json?{query}")
        self._raise_unusable(answer)
        listed = _document(answer).get("messages")
        if answer.status != 200 or not isinstance(listed, list):
            raise ServerFault(f"{self} gave no list of messages: HTTP {answer.status}")
        return [
            Taken(each["sid"], str(each.get("status")))
            for each in listed
            if isinstance(each, dict) and _is_ours(each, recipient, text, since)
        ]

    def check(self) -> str:
        """What the account says of itself, such as 'active'. Raises MailboxError."""
        answer = self._ask("GET", "")
        self._raise_unusable(answer)
        if answer.status != 200:
            raise ServerFault(f"{self} answered HTTP {answer.status}")
        status = str(_document(answer).get("status"))
        return status if _SID.fullmatch(status) else "unknown"

    def __str__(self) -> str:
        return f"Twilio ({self.endpoint})"

    def _ask(
        self,
        method: str,
        what: str,
        form: Mapping[str, str] | None = None,
        connected: Callable[[], None] = lambda: None,
    ) -> Answer:
        token = b64encode(f"{self.endpoint.username}:{self.endpoint.password}".encode()).decode()
        headers = {"Authorization": f"Basic {token}", "Accept": "application/json"}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        target = f"/2010-04-01/Accounts/{self.account}" + (f"/{what}" if what else ".json")
        body = None if form is None else urlencode(form).encode()
        return ask(self.endpoint, method, target, headers=headers, body=body, connected=connected)

    def _read_taken(self, answer: Answer) -> Taken:
        status, document = answer.status, _document(answer)
        if status // 100 == 2:
            sid = document.get("sid")
            if not isinstance(sid, str) or not _SID.fullmatch(sid):
                raise SendUncertain(f"{self} answered HTTP {status} without naming a message")
            return Taken(sid, str(document.get("status"))[:20])
        if status in COME_BACK_LATER:
            pause = answer.retry_after
            raise NotSent(self._words(answer), permanent=False, code=status, retry_after=pause)
        self._raise_unusable(answer)
        if status // 100 == 4:
            raise NotSent(self._words(answer), permanent=True, code=status)
        raise SendUncertain(f"{self} answered {self._words(answer)}")

    def _raise_unusable(self, answer: Answer) -> None:
        """What says that this account cannot be used at all."""
        words = f"{self} answered {self._words(answer)}"
        if answer.status in COME_BACK_LATER:
            raise Throttled(words)
        if answer.status in (401, 403):
            raise CredentialsRefused(f"{self} refused the user name or secret: {answer.status}")
        if _document(answer).get("code") in OUR_FAULT:
            raise MailboxMisconfigured(words)
        if answer.status // 100 == 3:
            raise ServerFault(words)

    def _words(self, answer: Answer) -> str:
        """`400 21211: The 'To' number ...`, one bounded line, without our secret in it."""
        document = _document(answer)
        code, message = document.get("code"), str(document.get("message") or "")
        number = f" {code}" if isinstance(code, int) else ""
        line = printable_line(message)[:200]
        said = f"{answer.status}{number}" + (f": {line}" if line else "")
        return said.replace(self.endpoint.password, "***") if self.endpoint.password else said


def _document(answer: Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.raw)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_ours(listed: dict[str, Any], recipient: str, text: str, since: datetime) -> bool:
    sid, created = listed.get("sid"), _instant(listed.get("date_created"))
    return (
        isinstance(sid, str)
        and _SID.fullmatch(sid) is not None
        and listed.get("to") == recipient
        and listed.get("body") == text
        and str(listed.get("direction")).startswith("outbound")
        and created is not None
        and created >= since - CLOCKS_APART
    )


def _instant(text: object) -> datetime | None:
    """RFC 2822, as Twilio writes it: Thu, 24 Aug 2023 05:01:45 +0000."""
    try:
        at = parsedate_to_datetime(str(text))
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
