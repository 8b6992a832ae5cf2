"""Content transfer encodings (RFC 2045, 6) undone, and uuencoded files found in text."""

from __future__ import annotations

import binascii
import re

from backend.app.mail.words import decode_base64

_WORDS = re.compile(rb"[A-Za-z] {1,3}[A-Za-z]")
_UU_BEGIN = re.compile(r"^begin [0-7]{3,4} ([^\n]{1,200})\n(?=[!-`])", re.MULTILINE)
_UU_END = re.compile(r"^(?:`|\s*)\n?end[ \t]*$", re.MULTILINE)
_MOST_UU_FILES = 20


def decode_transfer(data: bytes, encoding: str) -> bytes:
    """A part's bytes with its Content-Transfer-Encoding undone.

    Never raises: what is broken is decoded as far as it goes, and an unknown encoding is none
    (RFC 2045, 6.4 would hide the part, which helps nobody).
    """
    encoding = encoding.split(";")[0].strip(" \t\"'").lower()
    if encoding == "base64":
        # Plain text under a false label: encoded lines have no words in them.
        return data if _WORDS.search(data, 0, 1_000) else decode_base64(data)
    if encoding == "quoted-printable":
        return binascii.a2b_qp(data)
    if encoding in ("x-uuencode", "uuencode", "x-uue", "uue"):
        files = split_uuencoded(data.decode("latin-1").replace("\r\n", "\n"))[1]
        return files[0][1] if files else data
    return data


def split_uuencoded(text: str) -> tuple[str, list[tuple[str, bytes]]]:
    """Take uuencoded files (`begin 644 name` to `end`) out of a text: what is left, the files."""
    files: list[tuple[str, bytes]] = []
    kept: list[str] = []
    at = 0
    for _ in range(_MOST_UU_FILES):
        begin = _UU_BEGIN.search(text, at)
        if begin is None:
            break
        end = _UU_END.search(text, begin.end())
        if end is None:
            break
        content = _decode_uu_lines(text[begin.end() : end.start()])
        if content is None:
            kept.append(text[at : end.end()])
        else:
            kept.append(text[at : begin.start()])
            files.append((begin[1].strip(), content))
        at = end.end()
    kept.append(text[at:])
    return "".join(kept), files


def _decode_uu_lines(block: str) -> bytes | None:
    """The bytes of a uuencoded block; None when it is ordinary text after all."""
    out = bytearray()
    for line in block.split("\n"):
        if not line.strip():
            continue
        data = line.rstrip("\r").encode("latin-1", "replace")
        try:
            out += binascii.a2b_uu(data)
        except binascii.Error:
            # Some encoders pad lines wrongly: decode the length that the line itself states.
            stated = (((data[0] - 32) & 63) * 4 + 5) // 3
            try:
                out += binascii.a2b_uu(data[:stated])
            except binascii.Error:
                return None
    return bytes(out)
