"""A mail as a file again, made from what the shared inbox keeps of it. Pure but for its files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from email import encoders
from email.generator import BytesGenerator
from email.header import Header
from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import format_datetime
from io import BytesIO
from typing import Any

from backend.app.mail.charsets import clean_line

# RFC 2045, 5.1, a token; of a mail fetched in pieces it is in the server's own words.
_TYPE = re.compile(r"[A-Za-z0-9]+/[A-Za-z0-9!#$&^_.+-]+")
MARK = "rebuilt from the shared inbox; the original is at the mail server"


def rebuild_mail(
    message: Mapping[str, Any], files: Sequence[tuple[Mapping[str, Any], bytes]]
) -> bytes:
    """RFC 5322, with the text, the HTML as it was sanitised, and the files given.

    Header lines that the inbox does not keep (Received, DKIM-Signature, ...) are not there; the
    line X-Relance-Note says so. `To` holds To, Cc and Bcc together, normalised.
    """
    mail = MIMEMultipart("mixed")
    name, address = clean_line(message["from_name"]), clean_line(message["from_email"])
    headers = {
        "From": f"{_word(name)} <{address}>" if name else address,
        "To": ", ".join(clean_line(each) for each in message["recipients"]),
        "Subject": clean_line(message["subject"]),
        "Date": format_datetime(message["sent_at"]),
        "Message-ID": f"<{clean_line(message['external_id'])}>",
        "In-Reply-To": f"<{clean_line(message['in_reply_to'])}>" if message["in_reply_to"] else "",
        "X-Relance-Note": MARK,
    }
    for header, value in headers.items():
        if value:
            mail[header] = value if value.isascii() else Header(value, "utf-8").encode()
    mail.attach(_words(message))
    for file, content in files:
        mail.attach(_file(file, content))
    out = BytesIO()
    BytesGenerator(out, mangle_from_=False).flatten(mail, linesep="\r\n")
    return out.getvalue()


def _word(name: str) -> str:
    """A display name: an encoded word (RFC 2047), or in quotes."""
    if not name.isascii():
        return Header(name, "utf-8").encode(linesep="").replace("\n", "")
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _words(message: Mapping[str, Any]) -> MIMEBase:
    text = MIMEText(_clean(message["content"]), "plain", "utf-8")
    if not message["content_html"]:
        return text
    both = MIMEMultipart("alternative")
    both.attach(text)
    both.attach(MIMEText(_clean(message["content_html"]), "html", "utf-8"))
    return both


def _clean(text: str) -> str:
    """Without halves of characters, which no encoding can write."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _file(file: Mapping[str, Any], content: bytes) -> MIMEBase:
    kind, _, subtype = file["content_type"].partition("/")
    usable = _TYPE.fullmatch(file["content_type"]) and kind not in ("multipart", "message")
    part = MIMEBase(*((kind, subtype) if usable else ("application", "octet-stream")))
    part.set_payload(content)
    encoders.encode_base64(part)
    how = "inline" if file["inline"] else "attachment"
    name = clean_line(file["filename"])
    part.add_header("Content-Disposition", how, filename=("utf-8", "", name))
    return part
