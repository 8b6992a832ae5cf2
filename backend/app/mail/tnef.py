"""winmail.dat: the TNEF wrapper (MS-OXTNEF) in which Outlook hides a text and its attachments.

Read here rather than by the tnefparse library: that one loops four thousand million times over
a count that sixteen hostile bytes state, and copies the rest of the file for every attribute.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from backend.app.mail.charsets import decode_text

_SIGNATURE = 0x223E9F78
_HEADER = struct.Struct("<BHHI")  # level, id, type, length
_MOST_ATTRIBUTES = 10_000

_ATT_BODY = 0x800C
_ATT_DATA = 0x800F
_ATT_TITLE = 0x8010
_ATT_REND_DATA = 0x9002  # begins a new attachment
_ATT_MAPI_PROPS = 0x9003
_ATT_ATTACHMENT = 0x9005  # MAPI properties of the attachment
_ATT_CODEPAGE = 0x9007

_PROP_BODY = 0x1000
_PROP_HTML = 0x1013
_PROP_LONG_FILENAME = 0x3707
_PROP_FILENAME = 0x3704
_PROP_DATA = 0x3701

_FIXED = {0x01: 0, 0x02: 4, 0x03: 4, 0x04: 4, 0x0A: 4, 0x0B: 4, 0x05: 8, 0x06: 8, 0x07: 8}
_FIXED |= {0x14: 8, 0x40: 8, 0x48: 16}
_VARIABLE = {0x00, 0x0D, 0x1E, 0x1F, 0x102}
_UNICODE = 0x1F
_MULTIPLE = 0x1000


@dataclass(slots=True)
class TnefFile:
    """One file of a TNEF part."""

    name: str = ""
    content: bytes = b""


@dataclass(slots=True)
class TnefContent:
    """What a TNEF part holds; `text` and `html` may be empty. A text kept as RTF is not read."""

    text: str
    html: str
    files: list[TnefFile]


def unpack_tnef(data: bytes) -> TnefContent | None:
    """Unpack a winmail.dat; None when it is no TNEF. One that breaks off is read up to there.

    What comes out is never longer than what went in: TNEF compresses nothing but RTF.
    """
    if len(data) < 6 or int.from_bytes(data[:4], "little") != _SIGNATURE:
        return None
    found = TnefContent("", "", [])
    codepage = "cp1252"
    for attribute, value in _read_attributes(memoryview(data)):
        if attribute == _ATT_CODEPAGE and len(value) >= 4:
            codepage = f"cp{int.from_bytes(value[:4], 'little')}"
        elif attribute == _ATT_BODY:
            found.text = _decode(value, codepage)
        elif attribute == _ATT_MAPI_PROPS:
            _take_message_properties(found, value, codepage)
        elif attribute == _ATT_REND_DATA:
            found.files.append(TnefFile())
        elif found.files:
            _take_file_attribute(found.files[-1], attribute, value, codepage)
    found.files = [file for file in found.files if file.content]
    return found


def _read_attributes(view: memoryview) -> Iterator[tuple[int, memoryview]]:
    at = 6
    for _ in range(_MOST_ATTRIBUTES):
        if at + _HEADER.size > len(view):
            return
        _, attribute, _, length = _HEADER.unpack_from(view, at)
        at += _HEADER.size
        yield attribute, view[at : at + length]
        at += length + 2  # a checksum follows, which nobody gains by checking


def _take_message_properties(found: TnefContent, value: memoryview, codepage: str) -> None:
    for prop, kind, data in _read_properties(value):
        if prop == _PROP_BODY:
            found.text = _decode_property(kind, data, codepage)
        elif prop == _PROP_HTML:
            found.html = _decode_property(kind, data, codepage)


def _take_file_attribute(file: TnefFile, attribute: int, value: memoryview, codepage: str) -> None:
    if attribute == _ATT_TITLE:
        file.name = file.name or _decode(value, codepage)
    elif attribute == _ATT_DATA:
        file.content = bytes(value)
    elif attribute == _ATT_ATTACHMENT:
        for prop, kind, data in _read_properties(value):
            if prop == _PROP_LONG_FILENAME or (prop == _PROP_FILENAME and not file.name):
                file.name = _decode_property(kind, data, codepage)
            elif prop == _PROP_DATA and not file.content:
                file.content = bytes(data)


def _read_properties(view: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """The MAPI properties (MS-OXTNEF 2.1.3.4) up to the first that makes no sense."""
    at = 4
    while at + 4 <= len(view):
        kind, prop = struct.unpack_from("<HH", view, at)
        at += 4
        if prop >= 0x8000:
            at = _skip_name(view, at)
        multiple, kind = bool(kind & _MULTIPLE), kind & ~_MULTIPLE
        if kind not in _FIXED and kind not in _VARIABLE:
            return
        count = 1
        if multiple or kind in _VARIABLE:
            count, at = _read_count(view, at)
        for _ in range(min(count, len(view))):
            size = _FIXED.get(kind)
            if size is None:
                size, at = _read_count(view, at)
            if at + size > len(view):
                return
            yield prop, kind, view[at : at + size]
            at += size + -size % 4


def _read_count(view: memoryview, at: int) -> tuple[int, int]:
    return int.from_bytes(view[at : at + 4], "little"), at + 4


def _skip_name(view: memoryview, at: int) -> int:
    """A named property carries a GUID, then a number or a name."""
    by_name, at = _read_count(view, at + 16)
    length, at = _read_count(view, at)
    return at + length + -length % 4 if by_name else at


def _decode_property(kind: int, data: memoryview, codepage: str) -> str:
    return _decode(data, "utf-16-le" if kind == _UNICODE else codepage)


def _decode(data: memoryview, charset: str) -> str:
    return decode_text(bytes(data), charset)[0].rstrip("\0")
