"""Which drawer of the shared inbox a new conversation goes into, and why. Pure.

The first that fits:

 1. the first of the company's own rules that matches                              rule <name>
 2. the company's mail server took it for spam, and no known client sent it        spam
 3. a newsletter or a list                                                         newsletters
 4. what mail systems say of deliveries                                            notices
 5. else the inbox                                                                 inbox
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from backend.app.inbox.rules import FilingRules, find_rule
from backend.app.mail.message import MailKind, ParsedMail


@dataclass(frozen=True, slots=True)
class Drawer:
    """slug: its stable name; French and English are what people read."""

    slug: str
    french: str
    english: str

    def name(self, language: str) -> str:
        return self.english if language == "en" else self.french


INBOX = Drawer("inbox", "Boîte de réception", "Inbox")
NEWSLETTERS = Drawer("newsletters", "Newsletters", "Newsletters")
NOTICES = Drawer("notices", "Avis de messagerie", "Delivery notices")
SPAM = Drawer("spam", "Indésirables", "Spam")
DRAWERS = (INBOX, NEWSLETTERS, NOTICES, SPAM)


@dataclass(frozen=True, slots=True)
class Filed:
    """A drawer's slug. unless_client: where the mail goes instead when a known client sent it."""

    slug: str
    reason: str
    unless_client: str | None = None


def choose_drawer(kind: MailKind, mail: ParsedMail, rules: FilingRules) -> Filed:
    """People's mail lies in the inbox; newsletters, machines and spam do not crowd it."""
    rule = find_rule(rules, mail)
    if rule is not None:
        return Filed(rule.folder, f"rule {rule.name}")
    by_kind = _by_kind(kind)
    if kind is not MailKind.OWN and is_marked_spam(mail):
        return Filed(SPAM.slug, "spam", unless_client=by_kind.slug)
    return Filed(by_kind.slug, by_kind.slug)


def drawer_names(rules: FilingRules, language: str) -> Mapping[str, str]:
    """Every drawer that a mail may go into: slug -> what people read."""
    named = {rule.folder: rule.folder for rule in rules.rules}
    named |= {drawer.slug: drawer.name(language) for drawer in DRAWERS}
    return named | dict(rules.folders)


def _by_kind(kind: MailKind) -> Drawer:
    if kind is MailKind.LIST:
        return NEWSLETTERS
    if kind in (MailKind.BOUNCE, MailKind.COMPLAINT, MailKind.RECEIPT):
        return NOTICES
    return INBOX


# What filters write: SpamAssassin, rspamd, Barracuda, OVH and Vade, Exchange (SFV of
# X-Forefront-Antispam-Report, and SCL of 5 and more).
_VERDICTS = {
    "x-spam-flag": re.compile(r"\s*yes\b", re.IGNORECASE),
    "x-spam-status": re.compile(r"\s*yes\b", re.IGNORECASE),
    "x-spam": re.compile(r"\s*(?:yes|true|spam)\b", re.IGNORECASE),
    "x-barracuda-spam-flag": re.compile(r"\s*yes\b", re.IGNORECASE),
    "x-ovh-spam-status": re.compile(r"\s*spam\b", re.IGNORECASE),
    "x-vr-spamstate": re.compile(r"\s*spam\b", re.IGNORECASE),
    "x-forefront-antispam-report": re.compile(r"(?:.*;)?\s*SFV:SP[MB]\b", re.IGNORECASE),
    "x-ms-exchange-organization-scl": re.compile(r"\s*[5-9]\s*$"),
}


def is_marked_spam(mail: ParsedMail) -> bool:
    """Whether the topmost verdict of some filter says spam: the company's server wrote last."""
    return any(pattern.match(mail.header(name)) for name, pattern in _VERDICTS.items())
