"""The values that the mail room hands around. All frozen, none of them touches anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Address:
    """One mailbox of a header (RFC 5322, 3.4).

    `email` is as written, without surrounding space; `key` is what two spellings
    of one mailbox have in common. `name` is decoded and may be empty.
    """

    email: str
    name: str = ""

    @property
    def key(self) -> str:
        return address_key(self.email)


def address_key(email: str) -> str:
    """The normalised form of an address, for comparisons and unique keys.

    The whole address is lowered: RFC 5321 (2.4) lets a server tell `Bob` from `bob`, but none
    that a company's clients use does, and one client per spelling would be worse.
    """
    return email.strip().casefold()


@dataclass(frozen=True, slots=True)
class Attachment:
    """A part that is kept as a file. `filename` is safe to show, never a path; it may be ''."""

    filename: str
    content_type: str
    content: bytes
    content_id: str | None = None
    inline: bool = False


@dataclass(frozen=True, slots=True)
class ReportPart:
    """A machine-readable part (RFC 3464, 5965, 8098) or the original mail or headers it quotes."""

    content_type: str
    text: str


@dataclass(frozen=True, slots=True)
class ParsedMail:
    """What one raw mail says, cleaned: no NUL, no lone surrogate, no unbounded field.

    message_id    without `<>`; made from the content when the mail has none (then `synthetic_id`)
    fingerprint   64 hex digits over Message-ID, From, Date and Subject; equal for the same mail in
                  two folders, different for two mails that share a Message-ID
    sender        None when no usable From (or Sender) is there
    date          aware UTC, None when absent or unreadable; not yet clamped to the time of arrival
    in_reply_to, references   Message-IDs without `<>`, in header order (the nearest ancestor last)
    text          the whole readable text; made from the HTML where there is no plain part
    reply_text    `text` without what it quotes; equal to `text` when nothing is quoted
    html          sanitised, None when there is no HTML part
    headers       lower-case name -> decoded values, in order, bounded
    notes         what was repaired, guessed or cut, for people: "charset x-unknown read as cp1252"
    """

    message_id: str
    synthetic_id: bool
    fingerprint: str
    sender: Address | None
    reply_to: tuple[Address, ...]
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    bcc: tuple[Address, ...]
    subject: str
    date: datetime | None
    in_reply_to: tuple[str, ...]
    references: tuple[str, ...]
    text: str
    reply_text: str
    html: str | None
    attachments: tuple[Attachment, ...]
    reports: tuple[ReportPart, ...]
    headers: Mapping[str, tuple[str, ...]]
    size: int
    notes: tuple[str, ...] = ()

    def header(self, name: str) -> str:
        """The first value of a header, '' when it is absent."""
        values = self.headers.get(name.lower(), ())
        return values[0] if values else ""

    @property
    def recipients(self) -> tuple[Address, ...]:
        return self.to + self.cc + self.bcc


class MailKind(StrEnum):
    """What a mail is. Only HUMAN counts as an answer."""

    HUMAN = "human"
    AUTO_REPLY = "auto_reply"  # RFC 3834: vacation notices, acknowledgements
    BOUNCE = "bounce"  # RFC 3464 and the common others
    COMPLAINT = "complaint"  # RFC 5965
    LIST = "list"  # newsletters and mailing lists
    RECEIPT = "receipt"  # RFC 8098
    OWN = "own"  # from one of the company's own addresses


@dataclass(frozen=True, slots=True)
class BounceReport:
    """What a bounce says of the mail that came back; None where it does not say.

    hard: True for a failure that another try won't cure, False for a delay or a passing one.
    status: RFC 3463 code such as '5.1.1'.
    """

    hard: bool
    recipient: str | None = None
    status: str | None = None
    diagnostic: str | None = None
    original_message_id: str | None = None


@dataclass(frozen=True, slots=True)
class Classification:
    """What a mail is, and the rule that said so (`reason`, a short code such as 'dsn').

    complaint_about: for a complaint, the Message-ID of the mail that was unwanted.
    """

    kind: MailKind
    reason: str
    bounce: BounceReport | None = None
    complaint_about: str | None = None
    back_on: date | None = None  # an out-of-office that gives the day of return

    @property
    def about_message_id(self) -> str | None:
        """The mail that came back or was complained about; None for other kinds, or unknown."""
        return self.bounce.original_message_id if self.bounce else self.complaint_about


@dataclass(frozen=True, slots=True)
class OutgoingMail:
    """A mail to compose. `message_id` and `references` are without `<>`; `date` is aware."""

    message_id: str
    sender: Address
    recipient: Address
    subject: str
    text: str
    date: datetime
    html: str | None = None
    reply_to: Address | None = None
    in_reply_to: str | None = None
    references: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    auto_submitted: bool = True
    language: str = "fr"
    extra_headers: Mapping[str, str] = field(default_factory=dict)
