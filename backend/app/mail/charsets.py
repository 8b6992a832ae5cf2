"""Bytes to text: charsets that are declared, misspelt, missing or a lie."""

from __future__ import annotations

import codecs
import re
from functools import lru_cache
from itertools import pairwise

# Names that mail programs write -> the codec that reads what they really send. Where a charset
# has a superset that software uses under its name (WHATWG Encoding, "labels"), the superset.
_ALIASES = {
    "iso-8859-1": "cp1252",
    "iso8859-1": "cp1252",
    "iso_8859-1": "cp1252",
    "iso-8859-1-windows-3.1-latin-1": "cp1252",
    "latin1": "cp1252",
    "latin-1": "cp1252",
    "l1": "cp1252",
    "ansi": "cp1252",
    "windows-1252http-equivcontent-type": "cp1252",
    "x-ansi": "cp1252",
    "iso-8859-8-i": "iso8859_8",
    "iso-8859-8-e": "iso8859_8",
    "iso-8859-9": "cp1254",
    "iso-8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gb_2312-80": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "cp936": "gb18030",
    "euc-cn": "gb18030",
    "ks_c_5601-1987": "cp949",
    "ks_c_5601": "cp949",
    "ksc5601": "cp949",
    "ksc_5601": "cp949",
    "euc-kr": "cp949",
    "korean": "cp949",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "sjis": "cp932",
    "x-sjis": "cp932",
    "windows-31j": "cp932",
    "iso-2022-jp": "iso2022_jp_ext",
    "iso-2022-jp-ms": "iso2022_jp_ext",
    "cp50220": "iso2022_jp_ext",
    "cp50221": "iso2022_jp_ext",
    "big5": "cp950",
    "x-x-big5": "cp950",
    "macintosh": "mac_roman",
    "x-mac-roman": "mac_roman",
    "x-mac-cyrillic": "mac_cyrillic",
    "unicode-1-1-utf-7": "utf_7",
    "unicode-1-1-utf-8": "utf_8",
    "x-utf8": "utf_8",
    "utf8mb4": "utf_8",
    "utf-8-mac": "utf_8",
    "ansi_x3.4-1968": "ascii",
    "646": "ascii",
}
# Codecs of Python that no mail means by its charset: programs, not alphabets.
_REFUSED = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"}
# Names that say only "some bytes".
_UNSAID = {"", "ascii", "us-ascii", "unknown-8bit", "x-unknown", "unknown", "8bit", "binary"}
_UNSAID |= {"default", "default_charset", "none", "null", "7bit", "x-user-defined"}

# Codecs in which bytes below 0x80 need not mean ASCII.
_NOT_ASCII = {"utf-7", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "hz"}

# What charset-normalizer may answer: what mail is really written in. Left free it finds
# EBCDIC and old DOS pages in short European texts.
_GUESSES = ["cp1252", "cp1251", "koi8_r", "cp1250", "cp1253", "cp1254", "cp1255", "cp1256"]
_GUESSES += ["gb18030", "big5", "cp932", "euc_jp", "cp949", "cp874", "iso8859_2"]
_GUESS_SAMPLE = 4_096

# C0 and C1 controls but tab and line ends, DEL, and lone surrogates. NUL is refused by
# PostgreSQL; the others can drive the terminal of whoever prints a mail.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufeff]")
_FORBIDDEN_ASCII = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SPACE = re.compile(r"\s+")


def clean_text(text: str) -> str:
    """Text without NUL, other control characters or lone surrogates, with `\\n` line ends."""
    pattern = _FORBIDDEN_ASCII if text.isascii() else _FORBIDDEN
    text = pattern.sub("", text)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text


def clean_line(text: str) -> str:
    """`clean_text` on one line: every run of white space is one space."""
    if text.isprintable() and "  " not in text:
        return text.strip()
    return _SPACE.sub(" ", clean_text(text)).strip()


def printable_line(text: str) -> str:
    """One line of what others said that a terminal obeys in nothing.

    Control and formatting characters become blanks, and a run of blanks is one.
    """
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.split())


@lru_cache(maxsize=256)
def find_codec(charset: str) -> str | None:
    """The Python codec for a charset name from a mail; None when the name means nothing."""
    name = charset.strip().strip("\"'").lower().replace(" ", "")
    if len(name) > 60 or not name.isascii() or "\0" in name:
        return None
    name = _ALIASES.get(name, name)
    try:
        info = codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    # `_is_text_encoding` keeps `zip`, `base64` and `hex` out: they are codecs by name too.
    if not getattr(info, "_is_text_encoding", True) or info.name in _REFUSED:
        return None
    return _ALIASES.get(info.name, info.name)


def decode_text(data: bytes, charset: str = "") -> tuple[str, str | None]:
    """Decode a part's bytes; the second value is a note when the charset had to be repaired.

    Never raises. A declared charset is believed when the bytes fit it, except that bytes which
    are valid UTF-8 beyond ASCII are read as UTF-8 even when an 8-bit charset is declared: real
    text in such a charset is practically never valid UTF-8.
    """
    codec = find_codec(charset)
    if data.isascii() and codec not in _NOT_ASCII and b"\x1b" not in data:
        return data.decode("ascii"), None
    declared = clean_line(charset).lower()[:60]
    if declared in _UNSAID or codec == "ascii":
        return _guess(data, f"charset {declared or 'missing'}", noted=False)
    if codec is None:
        return _guess(data, f"charset {declared} unknown", noted=True)
    return _decode_declared(data, codec, declared)


def _decode_declared(data: bytes, codec: str, declared: str) -> tuple[str, str | None]:
    if codec.startswith(("cp125", "iso8859", "koi8", "mac")):
        text = _strict(data, "utf-8")
        if text is not None:
            return text, f"charset {declared} read as utf-8"
    text = _strict(data, codec)
    if text is not None:
        return text, None
    if codec == "cp1252":  # five bytes are undefined there and mean controls in latin-1
        return data.decode("cp1252", "ignore"), None
    text = data.decode(codec, "replace")
    if text.count("\ufffd") * 50 <= len(text):  # a few broken bytes, not another charset
        return text, f"charset {declared}: broken bytes replaced"
    return _guess(data, f"charset {declared} wrong", noted=True)


def _strict(data: bytes, codec: str) -> str | None:
    try:
        return data.decode(codec)
    except (UnicodeError, ValueError):
        return None


def _guess(data: bytes, problem: str, *, noted: bool) -> tuple[str, str | None]:
    """Read bytes of an unknown charset: UTF-8, ISO-2022-JP, Western, or the best guess."""
    if b"\x1b$" in data or b"\x1b(" in data:
        text = _strict(data, "iso2022_jp_ext")
        if text is not None:
            return text, None
    text = _strict(data, "utf-8")
    if text is not None:
        return text, f"{problem}, read as utf-8" if noted else None
    text = data.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    if broken * 10 <= sum(1 for character in text[:_GUESS_SAMPLE] if character > "\x7f"):
        return text, f"{problem}, read as utf-8 with {broken} broken characters"
    codec = "cp1252" if _looks_western(data[:_GUESS_SAMPLE]) else _best_guess(data)
    return data.decode(codec, "replace"), f"{problem}, read as {codec}"


def _looks_western(sample: bytes) -> bool:
    """Whether high bytes stand alone between ASCII letters, as accents do.

    Spares the import of charset-normalizer (some 50 ms) for the usual case, and is the better
    judge of short texts.
    """
    high = sum(1 for byte in sample if byte >= 0x80)
    pairs = sum(1 for a, b in pairwise(sample) if a >= 0x80 and b >= 0x80)
    return high * 5 < len(sample) and pairs * 4 <= high


def _best_guess(data: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(data[:_GUESS_SAMPLE], cp_isolation=_GUESSES).best()
    return best.encoding if best is not None else "cp1252"
