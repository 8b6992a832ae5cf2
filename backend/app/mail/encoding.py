"""Text to the 7-bit lines of a mail: encoded words, parameters, quoted-printable, base64."""

from __future__ import annotations

import re
from base64 import b64encode, encodebytes
from collections.abc import Iterator
from email.quoprimime import body_encode
from urllib.parse import quote

_LINE = 76
_PLAIN = re.compile(r"[ -~]*")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+")
_WORD_BYTES = 45  # 60 characters of base64 and 12 around them: within the 75 of RFC 2047 (2)
_LONG_LINE = re.compile(r"[^\n]{77}")


def encode_text(value: str, used: int) -> str:
    """An unstructured header value (RFC 5322, 3.2.5): as it is, or in encoded words.

    :param used: columns that the header's name takes on the first line
    """
    plain = _PLAIN.fullmatch(value) and "=?" not in value and value == " ".join(value.split())
    if plain and all(len(word) < _LINE for word in value.split(" ")):
        return fold(value, used)
    return "\r\n ".join(_encoded_words(value))


def encode_phrase(value: str, used: int) -> str:
    """A display name (RFC 5322, 3.2.5): atoms, a quoted string, or encoded words."""
    short = used + len(value) < _LINE and value == " ".join(value.split())
    if short and "=?" not in value:
        if _ATOMS.fullmatch(value):
            return value
        if _PLAIN.fullmatch(value):
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{escaped}"'
    return "\r\n ".join(_encoded_words(value))


def fold(value: str, used: int) -> str:
    """Break a value at spaces so that lines stay within 76 columns where they can."""
    lines, column = [], used
    line: list[str] = []
    for word in value.split(" "):
        if line and column + len(word) + 1 > _LINE:
            lines.append(" ".join(line))
            line, column = [], 0
        line.append(word)
        column += len(word) + 1
    lines.append(" ".join(line))
    return "\r\n ".join(lines)


def _encoded_words(value: str) -> Iterator[str]:
    """The value in encoded words of UTF-8 and base64, cut between characters (RFC 2047, 5)."""
    chunk = b""
    for character in value:
        data = character.encode("utf-8")
        if len(chunk) + len(data) > _WORD_BYTES:
            yield f"=?utf-8?b?{b64encode(chunk).decode('ascii')}?="
            chunk = b""
        chunk += data
    yield f"=?utf-8?b?{b64encode(chunk).decode('ascii')}?="


def format_params(name: str, value: str) -> str:
    """A MIME parameter, with its `;`: quoted, or in pieces as RFC 2231 wants it; '' for ''."""
    if not value:
        return ""
    if _PLAIN.fullmatch(value) and len(value) <= 60 and not set('"\\') & set(value):
        return f';\r\n {name}="{value}"'
    encoded = "utf-8''" + quote(value, safe="")
    pieces = [encoded[at : at + 60] for at in range(0, len(encoded), 60)]
    if len(pieces) == 1:
        return f";\r\n {name}*={encoded}"
    return "".join(f";\r\n {name}*{index}*={piece}" for index, piece in enumerate(pieces))


def encode_body(text: str, subtype: str) -> bytes:
    """A text part with its headers: 7bit when nothing on the way can hurt it, else encoded."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = text if text.endswith("\n") else text + "\n"
    if _survives_as_it_is(text):
        encoding, data = "7bit", text
    elif len(text.encode("utf-8")) * 2 > len(text) * 3:  # mostly not Latin
        encoding, data = "base64", encodebytes(text.encode("utf-8")).decode("ascii")
    else:
        # body_encode maps latin-1 code points to bytes: UTF-8 goes in disguised as latin-1.
        encoding, data = "quoted-printable", body_encode(text.encode("utf-8").decode("latin-1"))
    head = f"Content-Type: text/{subtype}; charset=utf-8\nContent-Transfer-Encoding: {encoding}\n\n"
    return (head + data).replace("\n", "\r\n").encode("ascii")


def _survives_as_it_is(text: str) -> bool:
    """ASCII, short lines, no space at a line's end, no `From ` or dot that relays change."""
    lines = text.split("\n")
    return (
        text.isascii()
        and text.replace("\n", "").replace("\t", "").isprintable()
        and not _LONG_LINE.search(text)
        and "=_" not in text
        and not any(line.startswith(("From ", ".")) or line != line.rstrip() for line in lines)
    )
