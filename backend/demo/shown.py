"""Mails, conversations and follow-ups as a person reads them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from email.message import EmailMessage
from zoneinfo import ZoneInfo

from backend.app.followups.reasons import ReasonCode
from backend.app.mail.message import MailKind
from backend.app.store.admin_records import FollowupRow, MessageRow
from backend.demo.correspondent import text_of
from backend.demo.paper import Paper
from backend.demo.rows import Thread
from backend.demo.story import TIME_ZONE

FIRST_LINES = {MailKind.OWN: 2}  # of a reminder; the first one is shown in full elsewhere
MOST_LINES = 6
HEADERS = ("From", "To", "Subject", "Date", "In-Reply-To", "Auto-Submitted")
WHAT_IT_IS = {
    MailKind.OWN: "our reminder",
    MailKind.AUTO_REPLY: "an automatic reply, which is no answer",
    MailKind.BOUNCE: "came back undelivered, which is no answer",
    MailKind.HUMAN: "written by a person",
}
WHY_HERE = {
    "own_reminder": "",
    "reminder": "it refers to our reminder",
    "bounce_of": "it returns our reminder",
    "references": "it refers to an earlier mail",
    "subject": "same client, same subject",
    "new_thread": "it opens a conversation",
}


def local(moment: datetime | None) -> str:
    """`24 Nov 14:05` of the company's wall clock; '-' for None."""
    return f"{moment.astimezone(ZoneInfo(TIME_ZONE)):%-d %b %H:%M}" if moment else "-"


def show_mail(paper: Paper, mail: EmailMessage) -> None:
    """A mail in a mailbox: its headers and its whole text."""
    for name in HEADERS:
        if mail[name]:
            paper.prose(f"{name}: {mail[name]}", indent="  | ", hanging="  |    ")
    paper.letter(f"\n{text_of(mail)}")


def show_thread(paper: Paper, thread: Thread) -> None:
    """A conversation: who, when, why there, and the first lines."""
    row = thread.row
    paper.gap()
    paper.heading(f"{row.client_name or row.client_email or 'nobody we know'}: {row.subject}")
    unread = f", {row.unread_count} unread" if row.unread_count else ""
    folder = f"in « {row.folder} »" if row.folder else "in no folder yet"
    paper.prose(f"{row.status}{unread}, {folder}", indent="  ")
    for message in thread.messages:
        _show_message(paper, message)


def _show_message(paper: Paper, message: MessageRow) -> None:
    kind = MailKind(message.kind)
    words = [WHAT_IT_IS.get(kind, kind.value), WHY_HERE.get(message.placement, message.placement)]
    about = "; ".join(word for word in words if word)
    who = message.from_name or message.from_email
    paper.prose(f"{local(message.sent_at)}  {who} ({about})", indent="  ", hanging="      ")
    text = message.content if message.reply_content is None else message.reply_content
    lines = [line for line in text.splitlines() if line.strip()]
    many = FIRST_LINES.get(kind, MOST_LINES)
    for line in lines[:many]:
        paper.prose(line, indent="    | ")
    if len(lines) > many:
        paper.prose("[...]", indent="    | ")
    for file in message.attachments:
        paper.prose(f"{file.filename}, {file.content_type}, {file.size} bytes", indent="    + ")


def show_followups(paper: Paper, followups: Iterable[FollowupRow]) -> None:
    """The state of every follow-up, and the reason."""
    paper.table(
        ("CLIENT", "ABOUT", "SENT", "STATE", "WHY"),
        [
            (row.client_name, row.source_label, str(row.steps_sent), row.auto_state, _why(row))
            for row in followups
        ],
    )


def _why(row: FollowupRow) -> str:
    code = (row.auto_reason or "").partition(":")[0]
    meaning = ReasonCode(code).meaning if code in list(ReasonCode) else code
    if row.auto_state != "active":
        return meaning
    next_look = f"next look {local(row.next_action_at)}"
    return f"{meaning}; {next_look}" if meaning else next_look
