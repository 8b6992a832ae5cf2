"""Raw bytes to a `ParsedMail`. No bytes make it raise; what was repaired stands in `notes`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from backend.app.mail.addresses import parse_addresses
from backend.app.mail.body import gather_content, make_readable
from backend.app.mail.dates import parse_date
from backend.app.mail.headers import Fields, first, split_fields
from backend.app.mail.identity import make_fingerprint, make_synthetic_id, read_message_id
from backend.app.mail.limits import DEFAULT_LIMITS, Limits
from backend.app.mail.message import Address, ParsedMail
from backend.app.mail.mime import Part, Reading, read_tree, start_reading
from backend.app.mail.msgid import parse_message_ids
from backend.app.mail.quoting import split_reply
from backend.app.mail.words import decode_header


@dataclass(frozen=True, slots=True)
class HeaderSummary:
    """What the headers alone tell, to recognise a known mail without fetching its body.

    message_id    None when the mail has none or an unusable one
    fingerprint   equal to `ParsedMail.fingerprint` of the same mail; None without a Message-ID,
                  because the body is then part of the identity
    The rest as in `ParsedMail`.
    """

    message_id: str | None
    fingerprint: str | None
    sender: Address | None
    subject: str
    date: datetime | None
    in_reply_to: tuple[str, ...]
    references: tuple[str, ...]


def parse_headers(raw_headers: bytes) -> HeaderSummary:
    """Read a header block: all of it, or the answer to `BODY.PEEK[HEADER.FIELDS (...)]`.

    Ask the server for Message-ID, From, Sender, Date, Subject, In-Reply-To and References.
    Never raises.
    """
    raw_headers = _with_newlines(raw_headers)
    fields, _, _ = split_fields(raw_headers, 0, len(raw_headers))
    message_id = read_message_id(fields)
    return HeaderSummary(
        message_id=message_id,
        fingerprint=make_fingerprint(message_id, fields) if message_id else None,
        sender=_read_sender(fields, ""),
        subject=decode_header(first(fields, "subject"))[: DEFAULT_LIMITS.header_chars],
        date=parse_date(decode_header(first(fields, "date"))),
        in_reply_to=_read_ids(fields, "in-reply-to"),
        references=_read_ids(fields, "references"),
    )


def parse_mail(raw: bytes, limits: Limits = DEFAULT_LIMITS) -> ParsedMail:
    """Read one mail, once. Never raises, whatever the bytes; no clock, no I/O.

    Past a bound of `limits` the mail is cut and a note says so.
    """
    size = len(raw)
    raw = _with_newlines(raw)
    reading = start_reading(raw, limits)
    root = read_tree(reading)
    content = gather_content(reading, root)
    readable = make_readable(reading, content.segments)
    fields = root.fields
    charset = root.params.get("charset", "")
    found_id = read_message_id(fields)
    message_id = found_id or make_synthetic_id(fields, memoryview(raw)[root.start :])
    return ParsedMail(
        message_id=message_id,
        synthetic_id=found_id is None,
        fingerprint=make_fingerprint(message_id, fields),
        sender=_read_sender(fields, charset),
        reply_to=_read_addresses(reading, root, "reply-to"),
        to=_read_addresses(reading, root, "to"),
        cc=_read_addresses(reading, root, "cc"),
        bcc=_read_addresses(reading, root, "bcc"),
        subject=decode_header(first(fields, "subject"), charset)[: limits.header_chars],
        date=parse_date(decode_header(first(fields, "date"))),
        in_reply_to=_read_ids(fields, "in-reply-to"),
        references=_read_ids(fields, "references"),
        text=readable.text,
        reply_text=split_reply(readable.text, readable.marked_from),
        html=readable.html,
        attachments=tuple(content.attachments),
        reports=tuple(content.reports),
        headers=_decode_headers(fields, charset, limits),
        size=size,
        notes=tuple(reading.notes),
    )


def _with_newlines(raw: bytes) -> bytes:
    """Mails whose lines end in a bare CR (old Macs, broken exports) get line ends."""
    return raw.replace(b"\r", b"\n") if b"\r" in raw and b"\n" not in raw else raw


def _read_sender(fields: Fields, charset: str) -> Address | None:
    for name in ("from", "sender"):
        found = parse_addresses(first(fields, name), most=1, charset=charset)
        if found:
            return found[0]
    return None


def _read_addresses(reading: Reading, root: Part, name: str) -> tuple[Address, ...]:
    value = b", ".join(value for field, value in root.fields if field == name)
    if not value:
        return ()
    found = parse_addresses(value, reading.limits.addresses, root.params.get("charset", ""))
    if len(found) >= reading.limits.addresses:
        reading.note(f"{name}: only the first {reading.limits.addresses} addresses kept")
    return found


def _read_ids(fields: Fields, name: str) -> tuple[str, ...]:
    value = first(fields, name)
    return parse_message_ids(value.decode("utf-8", "replace")) if value else ()


def _decode_headers(fields: Fields, charset: str, limits: Limits) -> dict[str, tuple[str, ...]]:
    headers: dict[str, tuple[str, ...]] = {}
    for name, value in fields:
        bounded = value[: limits.header_chars * 4]
        text = decode_header(bounded, charset)[: limits.header_chars]
        headers[name] = (*headers.get(name, ()), text)
    return headers
