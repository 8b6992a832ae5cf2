"""The new part of a reply, told from what it quotes. Linear in the text, line by line.

A mail program puts an attribution before what it quotes, and either marks each quoted line
(`> `) or quotes to the end. So: marked lines go, with their attribution; an unmarked quote goes
from its attribution to the end; a forwarded mail stays, since its sender means it to be read.
"""

from __future__ import annotations

import re

_ATTRIBUTION_START = re.compile(r"(?:on|le|am|il|el|op|em|den|dne|w dniu)\s+\S", re.IGNORECASE)
_ATTRIBUTION_END = re.compile(
    r"(?:wrote|écrit|écrivait|schrieb|scritto|escribió|escreveu|schreef|skrev|napisał|pisze"
    r"|napsal)\b[^:]{0,200}:\s*$|(?:wrote|écrit|schrieb)\s*:?\s*$",
    re.IGNORECASE,
)
_MOST_LOOKS = 2_000  # a mail of nothing but beginnings of quotes is kept as it is
# Every line that can begin a quote begins with one of these; all others are kept unseen.
_SUSPECT = re.compile(
    r"[>#_-]|\s*[-_#*]|\s*(?:on|le|am|il|el|op|em|den|dne|w dniu|from|de|von|da|van|från|fra|od"
    r"|forwarded|message|weitergeleitete|begin|début|anfang)\b|[^\n]{3,200}@[^\n]{1,200}:\s*$",
    re.IGNORECASE,
)
_HAS_DATE = re.compile(r"\d")
_NAME_WROTE = re.compile(
    r"[^\n]{3,200}<[^<>@\s]+@[^<>\s]+>[^\n]{0,60}(?:wrote|a écrit|schrieb|geschrieben)\s?:\s*"
    # An older Gmail: 2025-03-03 9:00 GMT+01:00 Ventes <v@s.example>:
    r"|\d{4}-\d\d-\d\d \d{1,2}:\d\d [^\n]{1,200}<[^<>@\s]+@[^<>\s]+>\s?:\s*"
)

_SEPARATOR = re.compile(
    r"\s*[-_]{2,}\s*(?:original message|message d['’]origine|message original"
    r"|ursprüngliche nachricht|originalnachricht|mensaje original|messaggio originale"
    r"|oorspronkelijk bericht|mensagem original|reply message|message initial)\s*[-_]{2,}\s*",
    re.IGNORECASE,
)
_FORWARD = re.compile(
    r"\s*(?:[-_]{2,}\s*)?(?:forwarded message|message transféré|weitergeleitete nachricht"
    r"|begin forwarded message|début du message transféré|anfang der weitergeleiteten"
    r"|message réexpédié|forwarded by)\b.*",
    re.IGNORECASE,
)
_RULE = re.compile(r"\s*[_-]{10,}\s*")
_FROM = re.compile(r"\s*\**(?:from|de|von|da|van|från|fra|od)\s?\**\s?:\**\s?\S", re.IGNORECASE)
_OTHER_FIELD = re.compile(
    r"\s*\**(?:sent|date|to|cc|subject|envoyé(?: le)?|à|a|objet|gesendet|datum|an|betreff|inviato"
    r"|oggetto|enviado(?: el)?|para|asunto|verzonden|aan|onderwerp|reply-to|répondre à)"
    r"\s?\**\s?:",
    re.IGNORECASE,
)
_REPLY_LINE = re.compile(
    r"\s*[#_-]{2,}.{0,60}(?:above this line|au-dessus de cette ligne|über dieser zeile).*",
    re.IGNORECASE,
)


def split_reply(text: str, marked_from: int | None = None) -> str:
    """The text without what it quotes; the whole text when nothing else would be left.

    :param marked_from: offset at which the HTML of the mail marked its quote, if it did
    """
    head = text if marked_from is None else text[:marked_from]
    # Nothing above a marked quote: the answer stands below it.
    return _drop_quotes(head.split("\n")) or _drop_quotes(text.split("\n")) or text


def _drop_quotes(lines: list[str]) -> str:
    kept: list[str] = []
    at = 0
    looks = 0
    while at < len(lines):
        line = lines[at]
        if line.startswith(">"):
            at += 1
            continue
        if not _SUSPECT.match(line):
            kept.append(line)
            at += 1
            continue
        looks += 1
        if _FORWARD.fullmatch(line) or looks > _MOST_LOOKS:
            kept.extend(lines[at:])
            break
        length = _attribution_length(lines, at)
        if length:
            at += length
            if not _quote_is_marked(lines, at):
                break
            continue
        if _starts_unmarked_quote(lines, at):
            break
        kept.append(line)
        at += 1
    return "\n".join(kept).strip()


def _attribution_length(lines: list[str], at: int) -> int:
    """How many lines from here are an attribution: 0 for none, else one to four."""
    line = lines[at].strip()
    if len(line) > 500:
        return 0
    if _NAME_WROTE.fullmatch(line):
        return 1
    if not _ATTRIBUTION_START.match(line):
        return 0
    joined = ""
    for length, more in enumerate(lines[at : at + 4], start=1):
        if not more.strip() and length > 1:
            return 0
        joined = f"{joined} {more.strip()}".strip()
        if len(joined) > 800:
            return 0
        if _ATTRIBUTION_END.search(joined) and _HAS_DATE.search(joined):
            return length
    return 0


def _quote_is_marked(lines: list[str], at: int) -> bool:
    following = next((line for line in lines[at : at + 5] if line.strip()), "")
    return following.startswith(">")


def _starts_unmarked_quote(lines: list[str], at: int) -> bool:
    line = lines[at]
    if len(line) > 500:
        return False
    if _SEPARATOR.fullmatch(line) or _REPLY_LINE.fullmatch(line):
        return True
    if _RULE.fullmatch(line):
        return _is_header_block(lines, _next_text(lines, at + 1))
    return _is_header_block(lines, at)


def _next_text(lines: list[str], at: int) -> int:
    for offset in range(3):
        if at + offset < len(lines) and lines[at + offset].strip():
            return at + offset
    return at


def _is_header_block(lines: list[str], at: int) -> bool:
    """Outlook's `From: Sent: To: Subject:` block: a first field and two others close below."""
    if at >= len(lines) or not _FROM.match(lines[at]):
        return False
    others = sum(1 for line in lines[at + 1 : at + 9] if _OTHER_FIELD.match(line[:500]))
    return others >= 2
