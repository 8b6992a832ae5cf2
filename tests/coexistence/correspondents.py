"""People who write to the companies all the time, and what must become of each of their mails."""

from __future__ import annotations

import random
import secrets
from dataclasses import dataclass, field
from typing import Any

from backend.app.mail.parse import parse_mail
from backend.app.models import Conversation, InboxMessage
from tests.coexistence.scenes import Mailbox, mail_with_file
from tests.installation import Installation, mail
from tests.servers.faulty_smtp import FaultySmtpServer


@dataclass(frozen=True)
class Letter:
    """A mail on a server. thread: the Message-ID of the mail that opened its conversation, None
    where only the company's own mail did."""

    company_id: int
    sender: str
    message_id: str
    thread: str | None


@dataclass
class Correspondents:
    """Each call of write_one() puts one mail somewhere.

    reminded: companies and addresses to which reminders are due, or were; it may grow meanwhile.
    """

    imap: Any
    smtp: FaultySmtpServer
    boxes: list[Mailbox]
    random: random.Random
    reminded: list[tuple[int, str]]
    letters: list[Letter] = field(default_factory=list)
    copies: int = 0  # in a second mailbox of the same company
    _threads: list[tuple[Mailbox, Letter]] = field(default_factory=list)

    def write_one(self) -> None:
        kinds = (
            self._open,
            self._go_on,
            self._answer,
            self._write_first,
            self._copy,
            self._notice,
            self._file,
        )
        self.random.choices(kinds, weights=(4, 5, 2, 2, 2, 1, 2))[0]()

    def _open(self) -> None:
        box = self.random.choice(self.boxes)
        letter = self._send([box], f"c-{secrets.token_hex(6)}@client.test", None)
        self._threads.append((box, letter))

    def _go_on(self) -> None:
        if not self._threads:
            return self._open()
        box, first = self.random.choice(self._threads)
        self._send([box], first.sender, first.message_id)
        return None

    def _answer(self) -> None:
        """To a reminder, by whoever got it."""
        if not (taken_over := self.smtp.accepted()):
            return self._open()
        reminder = self.random.choice(taken_over)
        box = next(b for b in self.boxes if b.account.address == reminder.mail_from)
        self._send([box], reminder.recipients[0], None, In_Reply_To=reminder.message_id or "")
        return None

    def _write_first(self) -> None:
        """Somebody who is about to be reminded."""
        if self.reminded:
            company_id, sender = self.random.choice(self.reminded[-60:])
            box = self.random.choice([b for b in self.boxes if b.company_id == company_id])
            self._send([box], sender, None)

    def _copy(self) -> None:
        """The same mail to both mailboxes of a company."""
        company_id = self.random.choice(self.boxes).company_id
        both = [box for box in self.boxes if box.company_id == company_id]
        self._send(both, f"c-{secrets.token_hex(6)}@client.test", None)
        self.copies += len(both) - 1

    def _notice(self) -> None:
        """That somebody is away: no answer."""
        if self._threads:
            box, first = self.random.choice(self._threads)
            self._send([box], first.sender, first.message_id, Auto_Submitted="auto-replied")

    def _file(self) -> None:
        box, sender = self.random.choice(self.boxes), f"c-{secrets.token_hex(6)}@client.test"
        message_id = f"<{secrets.token_hex(8)}@client.test>"
        raw = mail_with_file(sender=sender, to=box.account.address, message_id=message_id)
        self._put([box], raw, Letter(box.company_id, sender, message_id, message_id))

    def _send(
        self, boxes: list[Mailbox], sender: str, thread: str | None, **headers: str
    ) -> Letter:
        message_id = f"<{secrets.token_hex(8)}@client.test>"
        answers = "In_Reply_To" in headers
        subject = f"Devis {message_id[1:9]}"
        if thread is not None:
            headers["In_Reply_To"], subject = thread, f"Re: Devis {thread[1:9]}"
        to = ", ".join(box.account.address for box in boxes)
        raw = mail(sender=sender, to=to, subject=subject, message_id=message_id, **headers)
        opened = None if answers else thread or message_id
        return self._put(boxes, raw, Letter(boxes[0].company_id, sender, message_id, opened))

    def _put(self, boxes: list[Mailbox], raw: bytes, letter: Letter) -> Letter:
        assert parse_mail(raw).message_id == letter.message_id.strip("<>")
        for box in boxes:
            self.imap.append(box.account, raw)
        self.letters.append(letter)
        return letter


def misplaced(installation: Installation, letters: list[Letter]) -> list[str]:
    """Letters that are no message, or stand with a stranger's, or apart from their own thread."""
    rows = {(row.company_id, row.external_id): row for row in installation.rows(InboxMessage)}
    client_of = {row.id: row.client_id for row in installation.rows(Conversation)}
    place: dict[tuple[int, str], int] = {}
    people: dict[int, str] = {}
    lines: list[str] = []
    for letter in letters:
        row = rows.get((letter.company_id, letter.message_id.strip("<>")))
        if row is None:
            lines.append(f"{letter} is lost")
            continue
        here, client = row.conversation_id, client_of[row.conversation_id]
        if people.setdefault(here, letter.sender) != letter.sender:
            lines.append(f"{letter} stands in the conversation {here} of {people[here]}")
        if client is None:
            lines.append(f"{letter} stands in a conversation {here} of nobody")
        if letter.thread is not None:
            home = place.setdefault((letter.company_id, letter.thread), here)
            if home != here:
                lines.append(f"{letter} stands in {here}, its thread in {home}")
    return lines
