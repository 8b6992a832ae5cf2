"""What a mail is: see `MailKind`. The first rule that speaks decides, and says so."""

from __future__ import annotations

import re

from backend.app.mail.autoreply import find_auto_reply
from backend.app.mail.bounces import find_bounce
from backend.app.mail.message import Classification, MailKind, ParsedMail
from backend.app.mail.reports import has_original, report_type
from backend.app.mail.returns import find_return_date
from backend.app.mail.sns import read_sns_bounce, sns_kind


def classify(mail: ParsedMail, own_addresses: frozenset[str]) -> Classification:
    """Say what a mail is, and by which rule.

    1. complaint: a feedback report (RFC 5965)
    2. receipt: a disposition notification (RFC 8098) or a report of success (RFC 3464)
    3. bounce: a report of failure or delay, by its format or by its evidence
    4. own: from one of the company's addresses; before auto-reply, since our own reminders
       are auto-submitted too
    5. auto-reply (RFC 3834 and the vendors' ways)
    6. list or newsletter
    7. else a human wrote it

    :param own_addresses: address keys of the company's mailboxes and aliases
    """
    kind = report_type(mail)
    notification = sns_kind(mail)
    if kind == "feedback":
        return Classification(MailKind.COMPLAINT, "feedback-report")
    if notification == "Complaint" or _is_feedback_loop(mail):
        return Classification(MailKind.COMPLAINT, "feedback-loop")
    if kind == "disposition":
        return Classification(MailKind.RECEIPT, "disposition-notification")
    if kind == "delivered" or notification == "Delivery":
        return Classification(MailKind.RECEIPT, "delivery-report")
    if notification == "Bounce":
        return Classification(MailKind.BOUNCE, "sns", bounce=read_sns_bounce(mail))
    found = find_bounce(mail)
    if found is not None:
        return Classification(MailKind.BOUNCE, found[0], bounce=found[1])
    if mail.sender is not None and mail.sender.key in own_addresses:
        return Classification(MailKind.OWN, "own-address")
    reason = find_auto_reply(mail)
    if reason is not None:
        return Classification(MailKind.AUTO_REPLY, reason, back_on=find_return_date(mail))
    reason = _find_list(mail)
    if reason is not None:
        return Classification(MailKind.LIST, reason)
    return Classification(MailKind.HUMAN, "no-automatic-mark")


def _is_feedback_loop(mail: ParsedMail) -> bool:
    """Microsoft's JMRP reports come without the report part of RFC 5965: a subject and the mail."""
    about = re.match(r"\s*complaint about message from \d", mail.subject, re.IGNORECASE)
    return about is not None and has_original(mail)


def _find_list(mail: ParsedMail) -> str | None:
    """Which mark of a list or newsletter there is (RFC 2919, RFC 2369, Precedence)."""
    for name in ("list-id", "list-unsubscribe", "list-post", "x-mlserver", "x-mailing-list"):
        if mail.header(name):
            return name
    return "precedence" if mail.header("precedence").lower() in ("bulk", "list", "junk") else None
