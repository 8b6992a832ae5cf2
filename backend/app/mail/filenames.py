"""Names of attached files: what the sender claims, made safe to show and to save under."""

from __future__ import annotations

import re

from backend.app.mail.charsets import clean_line

_LONGEST = 150
_UNSAFE = re.compile(r'[<>:"|?*\x00-\x1f]')
# Bidirectional controls turn `fdp.exe` into `exe.pdf` on a screen.
_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)


def safe_filename(claimed: str) -> str:
    """The last path component of a claimed file name, without control or reserved characters.

    '' when nothing is left. Never `.` or `..`, at most 150 characters, the extension kept.
    """
    name = _INVISIBLE.sub("", clean_line(claimed))
    name = re.split(r"[/\\]", name)[-1]
    name = _UNSAFE.sub("_", name).strip(" .")
    if _RESERVED.fullmatch(name):
        name = f"_{name}"
    if len(name) > _LONGEST:
        stem, dot, extension = name.rpartition(".")
        short = dot and len(extension) <= 10
        name = f"{stem[: _LONGEST - 11]}.{extension}" if short else name[:_LONGEST]
    return name
