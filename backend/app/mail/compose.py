"""`OutgoingMail` to the bytes of an RFC 5322 mail. Pure: the same mail, the same bytes.

Written by hand over the standard library's encoders: its `EmailMessage` folds a long
References header into encoded words, which no mail program reads back as Message-IDs.
"""

from __future__ import annotations

import re
from base64 import encodebytes
from email.utils import format_datetime
from hashlib import sha256

from backend.app.mail.encoding import encode_body, encode_phrase, encode_text, format_params
from backend.app.mail.message import Address, Attachment, OutgoingMail
from backend.app.mail.msgid import MOST_REFERENCES

_CONTROL = re.compile("[\r\n\0]")
_LOCAL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}")
_DOMAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_MESSAGE_ID = re.compile(r"[!-;=?-~]{1,250}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,75}")
_CONTENT_TYPE = re.compile(r"[A-Za-z0-9.+_-]{1,60}/[A-Za-z0-9.+_-]{1,100}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*")
_OURS = frozenset(
    (
        "from",
        "to",
        "cc",
        "bcc",
        "subject",
        "date",
        "message-id",
        "in-reply-to",
        "references",
        "reply-to",
        "sender",
        "mime-version",
        "auto-submitted",
        "content-language",
    )
)


def compose(mail: OutgoingMail) -> bytes:
    """A mail ready for SMTP: CRLF, 7-bit, no line over 998 characters (RFC 5321, 4.5.3.1.6).

    Ancestors whose Message-ID no header can carry (some programs put anything there) are left
    out of References. A domain in national letters is written in its ASCII form (RFC 5890).

    :raises ValueError: a field that can't be written, named at the beginning of the message: CR,
        LF or NUL in it, no address, a date without a zone
    """
    lines = [
        f"From: {_mailbox('sender', mail.sender)}",
        f"To: {_mailbox('recipient', mail.recipient)}",
        f"Subject: {encode_text(_plain('subject', mail.subject), used=9)}",
        f"Date: {_date(mail)}",
        f"Message-ID: <{_message_id('message_id', mail.message_id)}>",
    ]
    if mail.reply_to is not None:
        lines.append(f"Reply-To: {_mailbox('reply_to', mail.reply_to)}")
    lines += _ancestors(mail)
    if mail.auto_submitted:
        lines.append("Auto-Submitted: auto-generated")
    if not _LANGUAGE.fullmatch(mail.language):
        raise ValueError(f"language: no language tag (RFC 5646): {mail.language[:40]!r}")
    lines.append(f"Content-Language: {mail.language}")
    lines += [_extra_header(name, value) for name, value in mail.extra_headers.items()]
    lines.append("MIME-Version: 1.0")
    head = "\r\n".join(lines).encode("ascii")
    return head + b"\r\n" + _body(mail)


def is_writable(email: str) -> bool:
    """Say whether `compose` takes this address."""
    try:
        _mailbox("recipient", Address(email))
    except ValueError:
        return False
    return True


def ascii_domain(domain: str) -> str:
    """Return the form that mail carries: A-labels for national letters (RFC 5890).

    :raises ValueError: no domain can be written so
    """
    return domain if domain.isascii() else domain.encode("idna").decode("ascii")


def _plain(field: str, value: str) -> str:
    """The value, known to stay within its header."""
    if _CONTROL.search(value):
        raise ValueError(f"{field}: line break or NUL in it")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"{field}: lone surrogate in it") from None
    return value


def _mailbox(field: str, address: Address) -> str:
    email = _plain(field, address.email)
    local, _, domain = email.rpartition("@")
    try:
        domain = ascii_domain(domain)
    except UnicodeError:
        raise ValueError(f"{field}: no domain: {domain[:100]!r}") from None
    if not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(domain):
        raise ValueError(f"{field}: no address that can be written to: {email[:254]!r}")
    name = _plain(field, address.name)
    return (
        f"{encode_phrase(name, used=12)}\r\n <{local}@{domain}>" if name else f"<{local}@{domain}>"
    )


def _message_id(field: str, value: str) -> str:
    _plain(field, value)
    if not _MESSAGE_ID.fullmatch(value):
        raise ValueError(f"{field}: no Message-ID: {value[:100]!r}")
    return value


def _ancestors(mail: OutgoingMail) -> list[str]:
    lines = []
    parent = _plain("in_reply_to", mail.in_reply_to or "")
    if _MESSAGE_ID.fullmatch(parent):
        lines.append(f"In-Reply-To: <{parent}>")
    references = [_plain("references", value) for value in mail.references]
    writable = [value for value in references if _MESSAGE_ID.fullmatch(value)][-MOST_REFERENCES:]
    if writable:
        lines.append("References: " + "\r\n ".join(f"<{value}>" for value in writable))
    return lines


def _date(mail: OutgoingMail) -> str:
    if mail.date.tzinfo is None or mail.date.utcoffset() is None:
        raise ValueError("date: without a time zone")
    return format_datetime(mail.date)


def _extra_header(name: str, value: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError(f"extra_headers: no header name: {name[:76]!r}")
    if name.lower() in _OURS or name.lower().startswith("content-"):
        raise ValueError(f"extra_headers: {name} is set from its own field")
    return f"{name}: {encode_text(_plain(f'extra_headers: {name}', value), used=len(name) + 2)}"


def _body(mail: OutgoingMail) -> bytes:
    """Content headers and content: text alone, or the multiparts that html and files need."""
    _check_text("text", mail.text)
    part = encode_body(mail.text, "plain")
    # `=_` stands in no quoted-printable or base64 line, so no content can hold the boundary.
    seed = f"=_{sha256(mail.message_id.encode()).hexdigest()[:32]}"
    pictures = [file for file in mail.attachments if mail.html and file.inline and file.content_id]
    if mail.html is not None:
        _check_text("html", mail.html)
        html = encode_body(mail.html, "html")
        if pictures:
            html = _multipart("related", f"{seed}r", [html, *map(_attachment, pictures)])
        part = _multipart("alternative", f"{seed}a", [part, html])
    files = [file for file in mail.attachments if file not in pictures]
    if files:
        part = _multipart("mixed", f"{seed}m", [part, *map(_attachment, files)])
    return part


def _check_text(field: str, text: str) -> None:
    _plain(field, text.replace("\r", "").replace("\n", ""))


def _multipart(subtype: str, boundary: str, parts: list[bytes]) -> bytes:
    marker = boundary.encode("ascii")
    out = [b'Content-Type: multipart/%s;\r\n boundary="%s"\r\n' % (subtype.encode(), marker)]
    out += [b"\r\n--%s\r\n%s" % (marker, part) for part in parts]
    out.append(b"\r\n--%s--\r\n" % marker)
    return b"".join(out)


def _attachment(file: Attachment) -> bytes:
    """A file in base64. A mail as a file travels as bytes: RFC 2046 (5.2.1) forbids encoding it."""
    _plain("attachments: content_type", file.content_type)
    if not _CONTENT_TYPE.fullmatch(file.content_type):
        raise ValueError(f"attachments: no content type: {file.content_type[:100]!r}")
    content_type = file.content_type
    if content_type.lower().startswith(("message/", "multipart/")):
        content_type = "application/octet-stream"
    name = _plain("attachments: filename", file.filename)
    lines = [
        f"Content-Type: {content_type}{format_params('name', name)}",
        "Content-Transfer-Encoding: base64",
        f"Content-Disposition: {'inline' if file.inline else 'attachment'}"
        f"{format_params('filename', name)}",
    ]
    if file.content_id:
        lines.append(f"Content-ID: <{_message_id('attachments: content_id', file.content_id)}>")
    head = "\r\n".join(lines).encode("ascii")
    return head + b"\r\n\r\n" + encodebytes(file.content).replace(b"\n", b"\r\n")
