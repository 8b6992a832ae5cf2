"""The tree of MIME parts (RFC 2046) over one buffer: offsets, no copies, everything bounded.

Written over the bytes rather than over `email.parser`: that one walks line by line through one
nested generator per level, keeps everything as escaped text and has no bounds, which costs
several times more on a mail with an attachment and any amount on a hostile one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from backend.app.mail.charsets import decode_text
from backend.app.mail.headers import (
    Fields,
    find_body,
    first,
    media_type,
    parse_params,
    split_fields,
)
from backend.app.mail.limits import Limits

# The first line that looks like a delimiter, followed by a header: for a lost boundary.
_ANY_DELIMITER = re.compile(
    rb"^--([^\r\n]{1,200}?)[ \t]*\r?\n(?=[A-Za-z-]{3,40}:|\r?\n)", re.MULTILINE
)
_LOOKS_MULTIPART = re.compile(rb"^--[^\r\n]{1,200}\r?\nContent-", re.MULTILINE | re.IGNORECASE)
# Lines that begin like a delimiter without being one; each costs a look.
_MOST_CANDIDATES = 20_000


@dataclass(slots=True)
class Part:
    """One part: its headers and where its body lies in the buffer."""

    fields: Fields
    content_type: str
    params: dict[str, str]
    start: int
    end: int
    parent_type: str = ""
    children: list[Part] = field(default_factory=list)

    def header(self, name: str) -> str:
        """The first value of a field, '' when it is absent; raw 8-bit values are guessed at."""
        value = first(self.fields, name)
        return value.decode("ascii") if value.isascii() else decode_text(value)[0]

    def leaves(self) -> Iterator[Part]:
        """The parts without parts, in document order."""
        waiting = [self]
        while waiting:
            part = waiting.pop()
            if part.children:
                waiting.extend(reversed(part.children))
            else:
                yield part


@dataclass(slots=True)
class Reading:
    """One mail being read: the buffer, what is left of the bounds, and the notes so far."""

    raw: bytes
    limits: Limits
    parts_left: int
    decoded_left: int
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        if text not in self.notes and len(self.notes) < 50:
            self.notes.append(text)


def start_reading(raw: bytes, limits: Limits) -> Reading:
    return Reading(raw, limits, parts_left=limits.parts, decoded_left=limits.decoded_bytes)


def read_tree(reading: Reading) -> Part:
    """Split the whole mail. Iterative, so that no nesting can exhaust the stack."""
    root = _read_part(reading, 0, len(reading.raw), "", "text/plain")
    waiting = [(root, 0)]
    while waiting:
        part, depth = waiting.pop()
        if not part.content_type.startswith("multipart/"):
            continue
        if depth >= reading.limits.depth:
            reading.note(f"multiparts nested deeper than {reading.limits.depth} levels kept whole")
            part.content_type = "application/octet-stream"
            continue
        part.children = _split_multipart(reading, part)
        if not part.children:
            part.content_type = "text/plain"
        waiting.extend((child, depth + 1) for child in part.children)
    return root


def _read_part(reading: Reading, start: int, end: int, parent: str, default: str) -> Part:
    reading.parts_left -= 1
    raw = reading.raw
    body = find_body(raw, start, end, reading.limits)
    fields, stop, cut = split_fields(raw, start, body, reading.limits)
    if cut:
        reading.note(f"headers beyond the first {reading.limits.headers} dropped")
    if len(raw) and body - start >= reading.limits.header_bytes:
        reading.note("header block cut")
    content_type, params = _read_type(fields, default)
    part = Part(fields, content_type, params, min(stop, body), end, parent)
    if not content_type.startswith("multipart/") and not parent:
        _adopt_lost_multipart(reading, part)
    return part


def _read_type(fields: Fields, default: str) -> tuple[str, dict[str, str]]:
    value = first(fields, "content-type")
    if not value:
        return default, {}
    text = value.decode("ascii") if value.isascii() else decode_text(value)[0]
    head, params = parse_params(text)
    # RFC 2045, 5.2: an unreadable type is read as text/plain; `text` and `html` alone are met.
    return media_type(head) or {"html": "text/html"}.get(head, default), params


def _adopt_lost_multipart(reading: Reading, part: Part) -> None:
    """A mail without a Content-Type whose body plainly is a multipart becomes one again."""
    if first(part.fields, "content-type") or not part.fields:
        return
    if _LOOKS_MULTIPART.search(reading.raw, part.start, min(part.end, part.start + 10_000)):
        part.content_type = "multipart/mixed"
        reading.note("missing Content-Type: read as a multipart")


def _split_multipart(reading: Reading, part: Part) -> list[Part]:
    boundary = part.params.get("boundary", "").encode("utf-8", "replace")
    spans = _find_spans(reading, part, boundary) if boundary else []
    if not spans:
        guess = _ANY_DELIMITER.search(reading.raw, part.start, part.end)
        if guess is not None:
            spans = _find_spans(reading, part, guess[1])
            reading.note("multipart boundary missing or wrong: guessed")
    if not spans:
        reading.note("multipart without parts read as text")
        return []
    default = "message/rfc822" if part.content_type == "multipart/digest" else "text/plain"
    children = []
    for start, end in spans:
        if reading.parts_left <= 0:
            reading.note(f"more than {reading.limits.parts} parts: the rest is left out")
            break
        children.append(_read_part(reading, start, end, part.content_type, default))
    return children


def _find_spans(reading: Reading, part: Part, boundary: bytes) -> list[tuple[int, int]]:
    """The bodies between the delimiters of one multipart; the preamble and epilogue are no part.

    A delimiter is a whole line (RFC 2046, 5.1.1): `--a` is none of the boundary `ab`. The end of
    the multipart above ends an unfinished one.
    """
    raw, marker = reading.raw, b"--" + boundary
    spans: list[tuple[int, int]] = []
    opened = -1
    at = part.start
    for _ in range(_MOST_CANDIDATES):
        at = raw.find(marker, at, part.end)
        if at < 0:
            break
        after = at + len(marker)
        closing = raw[after : after + 2] == b"--"
        line_end = raw.find(b"\n", after, part.end)
        line_end = part.end if line_end < 0 else line_end
        rest = raw[after + 2 * closing : min(line_end, after + 200)]
        if (at == part.start or raw[at - 1 : at] == b"\n") and not rest.strip():
            if opened >= 0:
                spans.append((opened, _before_line_end(raw, opened, at)))
            opened = -1 if closing else min(line_end + 1, part.end)
            if closing or len(spans) >= reading.limits.parts + 1:
                break
        at = after
    if opened >= 0 and (opened < part.end or not spans):
        reading.note("multipart without its closing boundary")
        spans.append((opened, part.end))
    return spans


def _before_line_end(raw: bytes, start: int, at: int) -> int:
    """The line end before a delimiter belongs to the delimiter (RFC 2046, 5.1.1)."""
    if at > start and raw[at - 1 : at] == b"\n":
        at -= 1
        if at > start and raw[at - 1 : at] == b"\r":
            at -= 1
    return max(at, start)
