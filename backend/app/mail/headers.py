"""Header blocks: fields split (RFC 5322, 2.2) and parameters read (RFC 2045, 2231)."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from backend.app.mail.charsets import clean_line, decode_text
from backend.app.mail.limits import DEFAULT_LIMITS, Limits
from backend.app.mail.words import decode_words

Fields = list[tuple[str, bytes]]

# A field with its folded lines. Space before the colon is forbidden and met (RFC 5322, 4.5.8).
_FIELD = re.compile(rb"([!-9;-~]{1,200})[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)\n?")
_LINE = re.compile(rb"[^\n]*\n?")
_BLANK = re.compile(rb"\n\r?\n")
_UNFOLD = re.compile(rb"[\r\n]+")
# Kept whatever the number of headers before them, so that a mail's identity is the same when
# a server is asked for these fields alone.
_IDENTITY = frozenset(
    (b"message-id", b"from", b"sender", b"date", b"subject", b"in-reply-to", b"references")
)

_PARAM = re.compile(
    r';?\s*([^\s=;"]{1,100})\s*=\s*(?:"((?:[^"\\]|\\.)*)"?|([^;]*?)(?=;|\s+[\w*-]+=|$))', re.DOTALL
)
_MOST_PARAMS = 100
_CONTENT_TYPE = re.compile(r"\s*([\w.+-]+)\s*/\s*([\w.+-]+)")
_LONGEST_PARAMS = 10_000


def find_body(raw: bytes, start: int, end: int, limits: Limits = DEFAULT_LIMITS) -> int:
    """Where the header block that starts at `start` is over: the offset of the blank line's end.

    A block without any header is no block (offset `start`); one that runs on past the bound is
    cut at its last line end.
    """
    if raw[start : start + 1] == b"\n":
        return start + 1
    if raw[start : start + 2] == b"\r\n":
        return start + 2
    blank = _BLANK.search(raw, start, min(end, start + limits.header_bytes))
    if blank is not None:
        return blank.end()
    if end - start <= limits.header_bytes:
        return end
    return raw.rfind(b"\n", start, start + limits.header_bytes) + 1 or start + limits.header_bytes


def split_fields(
    raw: bytes, start: int, end: int, limits: Limits = DEFAULT_LIMITS
) -> tuple[Fields, int, bool]:
    """The fields of the block raw[start:end], where it really ends, and whether some were dropped.

    A line that is no field joins the field above when more fields follow (a fold that lost its
    space); otherwise the body starts there (a lost blank line).
    """
    fields: Fields = []
    seen: set[bytes] = set()
    cut = False
    at = _skip_envelope(raw, start, end)
    while at < end:
        match = _FIELD.match(raw, at, end)
        if match is None:
            line = _LINE.match(raw, at, end)
            assert line is not None  # noqa: S101 - the pattern matches the empty string
            if not line[0].strip():
                break
            if not fields and not _field_follows(raw, line.end(), end):
                return [], start, cut
            if fields and not _field_follows(raw, line.end(), end):
                return fields, at, cut
            if fields and len(fields[-1][1]) < limits.header_chars:
                fields[-1] = (fields[-1][0], fields[-1][1] + b" " + line[0].strip())
            at = line.end()
            continue
        name = match[1].lower()
        if len(fields) < limits.headers or (name in _IDENTITY and name not in seen):
            seen.add(name)
            fields.append((name.decode("ascii"), _unfold(match[2])))
        else:
            cut = True
        at = match.end()
    return fields, end, cut


def _skip_envelope(raw: bytes, start: int, end: int) -> int:
    """Past an mbox `From ` line and blank space that some stores leave before the headers."""
    while start < end and raw[start] in b" \t\r\n":
        start += 1
    if raw.startswith((b"From ", b">From "), start):
        line = raw.find(b"\n", start, end)
        return end if line < 0 else line + 1
    return start


def _field_follows(raw: bytes, at: int, end: int) -> bool:
    """Whether one of the next few lines is a field; text with a colon in it seldom passes."""
    for _ in range(3):
        match = _FIELD.match(raw, at, end)
        if match is not None:
            return b"-" in match[1] or match[2][:1] in (b" ", b"\t")
        line = _LINE.match(raw, at, end)
        if line is None or line.end() >= end:
            return False
        at = line.end()
    return False


def _unfold(value: bytes) -> bytes:
    if b"\n" in value or b"\r" in value:
        value = _UNFOLD.sub(b"", value)
    return value.strip()


def first(fields: Fields, name: str) -> bytes:
    """The first value of a field (`name` in lower case), b'' when it is absent."""
    for field, value in fields:
        if field == name:
            return value
    return b""


def parse_params(value: str) -> tuple[str, dict[str, str]]:
    """Split `text/plain; charset=x` into its value (lower case) and its parameters.

    Reads RFC 2231 continuations and charsets, encoded words in quotes (forbidden there, and
    what Outlook and Gmail send), missing semicolons and missing quotes. A parameter that is
    given twice counts once, the first time.
    """
    value = value[:_LONGEST_PARAMS]
    head, _, rest = value.partition(";")
    if "=" in head:  # `application/pdf name="x"`: the semicolon is missing
        words = head.split(None, 1)
        head, rest = words[0], (words[1] if len(words) > 1 else "") + ";" + rest
    found: dict[str, str] = {}
    for count, match in enumerate(_PARAM.finditer(rest)):
        if count == _MOST_PARAMS:
            break
        text = re.sub(r"\\(.)", r"\1", match[2]) if match[2] is not None else match[3].strip()
        found.setdefault(match[1].lower(), text)
    return clean_line(head).lower(), _join_continuations(found)


def _join_continuations(found: dict[str, str]) -> dict[str, str]:
    params: dict[str, str] = {}
    split: dict[str, list[tuple[int, bool, str]]] = {}
    for name, text in found.items():
        base, star, rest = name.partition("*")
        if not star:
            params.setdefault(base, clean_line(decode_words(text)))
            continue
        number = rest.rstrip("*")
        index = int(number) if number.isascii() and number.isdigit() else 0
        split.setdefault(base, []).append((index, name.endswith("*"), text))
    for base, pieces in split.items():
        # RFC 2231 is the better of two values where a plain one stands beside it (RFC 6266, 4.3).
        params[base] = _decode_pieces(sorted(pieces))
    return params


def _decode_pieces(pieces: list[tuple[int, bool, str]]) -> str:
    charset = ""
    data = b""
    for position, (_, encoded, text) in enumerate(pieces):
        piece = text
        if position == 0 and encoded and piece.count("'") >= 2:
            charset, _, piece = piece.split("'", 2)
        raw = piece.encode("utf-8", "replace")
        data += unquote_to_bytes(raw) if encoded else raw
    text = decode_text(data, charset or "utf-8")[0]
    return clean_line(decode_words(text))


def media_type(value: str) -> str:
    """`type/subtype` in lower case; '' when the value has none (RFC 2045, 5.2 then applies)."""
    match = _CONTENT_TYPE.match(value)
    return f"{match[1]}/{match[2]}".lower()[:100] if match else ""
