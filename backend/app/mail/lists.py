"""Lists and newsletters, and what only looks like one: a person's mail through a list of ours."""

from __future__ import annotations

import re

from backend.app.mail.message import ParsedMail, address_key

# Of a list or a mass mailer for certain; the second line is what a CRM adds to one person's mail.
_LIST_MARKS = ("list-id", "list-post", "x-mlserver", "x-mailing-list", "x-csa-complaints")
_UNSUBSCRIBE = "list-unsubscribe"
_MASS = ("bulk", "list", "junk")
_MAILTO = re.compile(r"mailto:([^>?\s]{3,320})", re.IGNORECASE)
_LIST_ID = re.compile(r"<?([^<>\s]{3,255})>?\s*$")


def find_list(mail: ParsedMail, own_addresses: frozenset[str]) -> str | None:
    """Which mark of a list or newsletter there is (RFC 2919, RFC 2369); None for none that counts.

    A company may read its own address through a group (contact@ as a Google Group): what clients
    write to it then bears a list's headers, and is people's mail all the same.
    """
    if is_own_list(mail, own_addresses):
        return None
    for name in _LIST_MARKS:
        if mail.header(name):
            return name
    # A newsletter answers nobody; a client who writes through a CRM does.
    return _UNSUBSCRIBE if mail.header(_UNSUBSCRIBE) and not mail.in_reply_to else None


def find_mass_mail(mail: ParsedMail, own_addresses: frozenset[str]) -> str | None:
    """Old list programs and mass mailers that say so by Precedence alone (RFC 2076, 3.9)."""
    if is_own_list(mail, own_addresses):
        return None
    return "precedence" if mail.header("precedence").lower() in _MASS else None


def is_own_list(mail: ParsedMail, own_addresses: frozenset[str]) -> bool:
    """Whether the list is one of the company's own addresses."""
    posted = {address_key(match[1]) for match in _MAILTO.finditer(mail.header("list-post"))}
    if posted & own_addresses:
        return True
    named = _LIST_ID.search(mail.header("list-id"))
    return named is not None and named[1].casefold() in {
        address.replace("@", ".") for address in own_addresses
    }
