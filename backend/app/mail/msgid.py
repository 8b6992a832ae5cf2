"""Message-IDs (RFC 5322, 3.6.4): made, cleaned and read. Everywhere without `<>`."""

from __future__ import annotations

import hmac
import re
from hashlib import sha256

MAX_LENGTH = 250  # an identity has to fit a database column and an index
MOST_REFERENCES = 32
_LONGEST_HEADER = 64_000
_DOMAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")
_ANGLED = re.compile(r"<([^<>]*)>")
# Outlook and gateways write `[mailto:x]` or `[Mailto x]` after an ID they took for an address.
_MAILTO = re.compile(r"\[?mailto:[^\]\s>]*\]?", re.IGNORECASE)
_BARE_ID = re.compile(r"[^\s<>,;\"'()\[\]]+@[^\s<>,;\"'()]+")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0\ud800-\udfff]")


def make_message_id(domain: str, secret: str, what: str) -> str:
    """The Message-ID of what is sent, without `<>`: the same whenever it is made again.

    128 bits of a keyed hash: it tells who does not know the secret neither what nor when.

    :raises ValueError: `domain` is no host name
    """
    if not _DOMAIN.fullmatch(domain):
        raise ValueError(f"not a host name: {domain[:100]!r}")
    digest = hmac.new(secret.encode(), what.encode(), sha256).hexdigest()
    return f"{digest[:32]}@{domain.lower()}"


def clean_message_id(value: str) -> str | None:
    """One Message-ID as it is compared and stored; None when the value holds none.

    `<>`, white space and control characters go; case stays (the left side is opaque). An ID
    without `@` is broken and used all the same. One over 250 characters becomes its beginning
    and a hash of the whole, so that it stays an identity.
    """
    match = _ANGLED.search(value[:_LONGEST_HEADER])
    inner = match[1] if match else value[:_LONGEST_HEADER].strip().strip("<>")
    cleaned = _UNPRINTABLE.sub("", inner).strip("<>")
    if not cleaned or cleaned == "@":
        return None
    return _fit(cleaned)


def _fit(message_id: str) -> str:
    if len(message_id) <= MAX_LENGTH:
        return message_id
    digest = sha256(message_id.encode("utf-8", "replace")).hexdigest()
    return message_id[: MAX_LENGTH - len(digest) - 1] + "." + digest


def parse_message_ids(header_value: str) -> tuple[str, ...]:
    """The Message-IDs of In-Reply-To or References, in header order, each once.

    The last 32: the nearest ancestors stand at the end (RFC 5322, 3.6.4). In-Reply-To of old
    programs holds prose (`Your message of Monday <id>`), so what is in `<>` counts, and only
    without any `<>` what looks like `left@right`. An ID that is met twice counts where it
    stands last.
    """
    value = _MAILTO.sub(" ", header_value[-_LONGEST_HEADER:])
    found = _ANGLED.findall(value) or _BARE_ID.findall(value)
    if not found and header_value.strip() and " " not in header_value.strip():
        found = [header_value]
    cleaned = [message_id for item in found if (message_id := clean_message_id(item))]
    newest_first = dict.fromkeys(reversed(cleaned))
    return tuple(reversed(list(newest_first)[:MOST_REFERENCES]))
