"""What makes a mail itself: the fingerprint, and an ID for a mail that came without one."""

from __future__ import annotations

import unicodedata
from hashlib import sha256

from backend.app.mail.addresses import parse_addresses
from backend.app.mail.dates import parse_date
from backend.app.mail.headers import Fields, first
from backend.app.mail.msgid import clean_message_id
from backend.app.mail.words import decode_header

SYNTHETIC_DOMAIN = "synthetic.invalid"  # RFC 2606: never a real host


def read_message_id(fields: Fields) -> str | None:
    """The mail's own Message-ID, cleaned; None when it has none or an unusable one."""
    raw = first(fields, "message-id")
    return clean_message_id(raw.decode("utf-8", "replace")) if raw else None


def make_synthetic_id(fields: Fields, body: memoryview) -> str:
    """An ID made of everything the mail says: the same bytes, the same ID, elsewhere too.

    Trace fields are left out, since each way to the mailbox writes its own.
    """
    digest = sha256()
    for name in ("from", "to", "cc", "date", "subject", "content-type"):
        value = b" ".join(first(fields, name).split())
        digest.update(b"%s:%d:%s\n" % (name.encode(), len(value), value))
    digest.update(body)
    return f"{digest.hexdigest()[:40]}@{SYNTHETIC_DOMAIN}"


def make_fingerprint(message_id: str, fields: Fields) -> str:
    """64 hex digits over Message-ID, From, Date and Subject, as two servers would both say them.

    Servers fold headers anew, re-encode encoded words and change zone comments, so the
    *meaning* is hashed: address key, instant, decoded subject without any white space.
    """
    senders = parse_addresses(first(fields, "from"), most=1)
    date_text = decode_header(first(fields, "date"))
    date = parse_date(date_text)
    subject = unicodedata.normalize("NFC", decode_header(first(fields, "subject")))
    parts = (
        message_id,
        senders[0].key if senders else "",
        date.isoformat() if date else "".join(date_text.split()),
        "".join(subject.split()),
    )
    return sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()
