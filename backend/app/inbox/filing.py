"""Which drawer of the shared inbox a new conversation goes into. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from backend.app.mail.message import MailKind


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
DRAWERS = (INBOX, NEWSLETTERS, NOTICES)


def choose_drawer(kind: MailKind) -> Drawer:
    """People's mail lies in the inbox; newsletters and what machines say do not crowd it."""
    if kind is MailKind.LIST:
        return NEWSLETTERS
    if kind in (MailKind.BOUNCE, MailKind.COMPLAINT, MailKind.RECEIPT):
        return NOTICES
    return INBOX
