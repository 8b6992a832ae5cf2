"""Bounces and complaints that Amazon SES sends through SNS: JSON in a mail of its own.

Fields are picked out one by one: a JSON parser would recurse as deep as the sender likes.
"""

from __future__ import annotations

import re

from backend.app.mail.message import BounceReport, ParsedMail, address_key
from backend.app.mail.msgid import clean_message_id

_LONGEST_LOOK = 20_000
_KIND = re.compile(r'"(?:notificationType|eventType)"\s*:\s*"(Bounce|Complaint|Delivery)"')
_MESSAGE_ID = re.compile(r'"(?:messageId|value)"\s*:\s*"(<[^"<>]{3,500}>)"')


def sns_kind(mail: ParsedMail) -> str | None:
    """'Bounce', 'Complaint' or 'Delivery' for such a notification, else None."""
    if "x-amz-sns-message-id" not in mail.headers:
        return None
    match = _KIND.search(mail.text[:_LONGEST_LOOK])
    return match[1] if match else None


def read_sns_bounce(mail: ParsedMail) -> BounceReport:
    """What a notification of kind Bounce tells."""
    text = mail.text[:_LONGEST_LOOK]
    recipient = _value(text, "emailAddress")
    return BounceReport(
        hard=_value(text, "bounceType") == "Permanent",
        recipient=address_key(recipient) if recipient else None,
        status=_value(text, "status"),
        diagnostic=_value(text, "diagnosticCode"),
        original_message_id=read_sns_original(mail),
    )


def read_sns_original(mail: ParsedMail) -> str | None:
    """The Message-ID of the mail that a notification is about."""
    original = _MESSAGE_ID.search(mail.text[:_LONGEST_LOOK])
    return clean_message_id(original[1]) if original else None


def _value(text: str, name: str) -> str | None:
    match = re.search(rf'"{name}"\s*:\s*"((?:[^"\\]|\\.){{1,1000}})"', text)
    return match[1] if match else None
