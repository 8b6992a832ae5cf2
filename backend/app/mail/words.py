"""Header values to text: encoded words (RFC 2047) in the forms that mail really has."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode

from backend.app.mail.charsets import clean_line, decode_text

# Wider than the grammar: spaces are met around the `?` and inside Q words, and RFC 2231 (5)
# puts a language after a `*` in the charset.
_WORD = re.compile(r"=\?\s*([^?*\s]{0,60})(?:\*[^?\s]*)?\s*\?\s*([bBqQ])\s*\?(.*?)\?=", re.DOTALL)
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")
_MOST_WORDS = 2_000


def decode_header(raw: bytes, charset: str = "") -> str:
    """The text of a raw header value: unfolded, words decoded, cleaned, on one line.

    `charset` is a hint for raw 8-bit headers (forbidden by RFC 5322, common in spam and in old
    software). Never raises.
    """
    text = raw.decode("ascii") if raw.isascii() else decode_text(raw, charset)[0]
    return clean_line(decode_words(text))


def decode_words(text: str) -> str:
    """Decode each encoded word of a text, once; what is none stays as it is.

    Some senders encode twice. Theirs is shown as it came, since decoding twice would change the
    subject of whoever writes about encoded words.
    """
    if "=?" not in text:
        return text
    out: list[str] = []
    pending: tuple[str, bytes] | None = None  # adjacent words of one charset, still in bytes
    at = 0
    for count, match in enumerate(_WORD.finditer(text)):
        if count == _MOST_WORDS:
            break
        gap = text[at : match.start()]
        at = match.end()
        word = (match[1].lower(), _word_bytes(match[2], match[3]))
        if pending is not None and not gap.strip():
            # Senders split in mid-character, against RFC 2047 (5): join before decoding.
            if pending[0] == word[0]:
                pending = (word[0], pending[1] + word[1])
                continue
            gap = ""
        if pending is not None:
            out.append(decode_text(pending[1], pending[0])[0])
        out.append(gap)
        pending = word
    if pending is not None:
        out.append(decode_text(pending[1], pending[0])[0])
    out.append(text[at:])
    return "".join(out)


def _word_bytes(encoding: str, payload: str) -> bytes:
    data = payload.encode("utf-8", "replace")
    if encoding in "bB":
        return decode_base64(data)
    return binascii.a2b_qp(data.replace(b"\n", b"").replace(b"\r", b""), header=True)


def decode_base64(data: bytes) -> bytes:
    """Base64 as far as it goes: junk skipped, padding missing or in the wrong place."""
    try:
        return binascii.a2b_base64(data)
    except binascii.Error:
        kept = _NOT_BASE64.sub(b"", data)
        kept = kept[: len(kept) - 1] if len(kept) % 4 == 1 else kept
        return b64decode(kept + b"=" * (-len(kept) % 4))
