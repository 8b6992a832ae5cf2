"""Address headers (RFC 5322, 3.4) as they are met, not as they should be."""

from __future__ import annotations

import re

from backend.app.mail.charsets import clean_line, decode_text
from backend.app.mail.message import Address
from backend.app.mail.words import decode_words

_LONGEST = 100_000
_LONGEST_NAME = 200
_LONGEST_EMAIL = 254  # RFC 5321, 4.5.3.1.3 less the angle brackets
_TOKEN = re.compile(
    r'"(?P<quoted>(?:[^"\\]|\\.)*)"'
    r"|<(?P<angle>[^<>]*)>?"
    r"|\((?P<comment>(?:[^()\\]|\\.)*)\)"
    r"|(?P<end>[,;])"
    r"|(?P<group>:)"
    r'|(?P<text>[^",;:<>()]+)'
    r"|(?P<junk>.)",
    re.DOTALL,
)
_BARE = re.compile(r"[^\s@<>(),;:\"\[\]\\]+@[^\s@<>(),;:\"\\]+")


def parse_addresses(raw: bytes, most: int = 500, charset: str = "") -> tuple[Address, ...]:
    """The mailboxes of a raw header value, at most `most`, in order; groups are flattened.

    Never raises. What holds no `local@domain` is left out, so `undisclosed-recipients:;` gives
    nothing. The name is decoded after the structure is read: a comma inside an encoded word is
    no separator.
    """
    text = raw.decode("ascii") if raw.isascii() else decode_text(raw, charset)[0]
    text = text[:_LONGEST]
    found = _read_list(text, most)
    if not found and "=?" in text:  # the whole `Name <a@b>` in one encoded word
        found = _read_list(decode_words(text), most)
    return tuple(found)


# A comma before one of these parts no surname from a given name.
_AFTER_A_NAME = re.compile(
    r"(sarl|sas|sasu|sa|eurl|sci|snc|scop|inc|ltd|llc|llp|plc|corp|co|gmbh|ag|kg|bv|nv|srl|spa|"
    r"jr|sr|phd|md|mba|esq|[ivx]+)\.?",
    re.IGNORECASE,
)
_PART = re.compile(r"[^\W\d_]+(?:[ '’.-]+[^\W\d_]+){0,2}\.?")


def spoken_name(name: str) -> str:
    """`Durand, Élise`, as directories and Outlook write it, in the order in which one says it.

    Anything that may be something else (a firm, a list, a title) stays as it is.
    """
    family, comma, given = (part.strip() for part in name.partition(","))
    two_parts = comma and _PART.fullmatch(family) and _PART.fullmatch(given)
    if not two_parts or _AFTER_A_NAME.fullmatch(given):
        return name
    return f"{given} {family}"


class _Mailbox:
    """One mailbox while its words are collected."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.comment = ""
        self.email: str | None = None

    def starts_anew(self, kind: str, text: str) -> bool:
        """Whether a token belongs to the next mailbox: at a comma or where one lacks."""
        if kind == "end":
            return True
        return self.email is not None and (kind == "angle" or (kind == "text" and text != ""))

    def take(self, kind: str, text: str) -> None:
        if kind == "angle":
            self.email = text
        elif kind == "comment":
            self.comment = text
        elif kind == "group" and "@" not in "".join(self.words):
            self.words = []  # the name of a group
        elif kind in ("quoted", "text"):
            self.words.append(re.sub(r"\\(.)", r"\1", text) if kind == "quoted" else text)


def _read_list(text: str, most: int) -> list[Address]:
    found: list[Address] = []
    mailbox = _Mailbox()
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "junk"
        token = match[kind].strip()
        if mailbox.starts_anew(kind, token):
            _add(found, mailbox)
            if len(found) >= most:
                return found
            mailbox = _Mailbox()
        mailbox.take(kind, token)
    _add(found, mailbox)
    return found


def _add(found: list[Address], mailbox: _Mailbox) -> None:
    name = " ".join(" ".join(mailbox.words).split())
    email = mailbox.email
    if email is None or "@" not in email:
        bare = _BARE.search(name)
        if bare is None:
            return
        email, name = bare[0], name.replace(bare[0], " ").strip()
    email = _clean_email(email)
    if not email:
        return
    name = clean_line(decode_words(name or mailbox.comment)).strip("\"' ")[:_LONGEST_NAME]
    found.append(Address(email=email, name=name))


def _clean_email(email: str) -> str:
    email = clean_line(decode_words(email)) if "=?" in email else clean_line(email)
    email = email.replace(" ", "").removeprefix("mailto:").strip("'\"<>.,;")
    local, at, domain = email.rpartition("@")
    if not at or not local or not domain or len(email) > _LONGEST_EMAIL:
        return ""
    return email
