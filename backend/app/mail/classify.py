"""What a mail is: see `MailKind`. The first rule that speaks decides, and says so."""

from __future__ import annotations

import re

from backend.app.mail.autoreply import find_auto_reply, find_auto_reply_by_words
from backend.app.mail.bounces import find_bounce, read_refusal
from backend.app.mail.lists import find_list, find_mass_mail
from backend.app.mail.message import Classification, MailKind, ParsedMail
from backend.app.mail.reports import find_original, has_original, report_type
from backend.app.mail.returns import find_return_date
from backend.app.mail.sns import read_sns_bounce, read_sns_original, sns_kind


def classify(mail: ParsedMail, own_addresses: frozenset[str]) -> Classification:
    """Say what a mail is, and by which rule.

    1. complaint: a feedback report (RFC 5965)
    2. receipt: a disposition notification (RFC 8098), a report of success (RFC 3464), or a report
       on a domain (RFC 7489, 8460)
    3. bounce: a report of failure or delay, by its format or by its evidence; a mail that the
       recipient's filter refused in the form of a disposition notification (RFC 5429)
    4. own: from one of the company's addresses; before auto-reply, since our own reminders
       are auto-submitted too
    5. auto-reply by its headers (RFC 3834 and the vendors' ways)
    6. list or newsletter by its headers (RFC 2919, 2369)
    7. auto-reply by its words
    8. mass mail by its Precedence
    9. else a human wrote it

    :param own_addresses: address keys of the company's mailboxes and aliases
    """
    kind = report_type(mail)
    notification = sns_kind(mail)
    if kind == "feedback" or notification == "Complaint" or _is_feedback_loop(mail):
        return _complaint(mail, "feedback-report" if kind == "feedback" else "feedback-loop")
    if kind == "disposition":
        refusal = read_refusal(mail)
        if refusal is not None:
            return Classification(MailKind.BOUNCE, "refused", bounce=refusal)
        return Classification(MailKind.RECEIPT, "disposition-notification")
    if kind == "delivered" or notification == "Delivery":
        return Classification(MailKind.RECEIPT, "delivery-report")
    if notification == "Bounce":
        return Classification(MailKind.BOUNCE, "sns", bounce=read_sns_bounce(mail))
    found = find_bounce(mail)
    if found is not None:
        return Classification(MailKind.BOUNCE, found[0], bounce=found[1])
    if _is_domain_report(mail):
        return Classification(MailKind.RECEIPT, "domain-report")
    if mail.sender is not None and mail.sender.key in own_addresses:
        return Classification(MailKind.OWN, "own-address")
    return _classify_the_rest(mail, own_addresses)


def _complaint(mail: ParsedMail, reason: str) -> Classification:
    about = read_sns_original(mail) if sns_kind(mail) else find_original(mail).message_id
    return Classification(MailKind.COMPLAINT, reason, complaint_about=about)


def _classify_the_rest(mail: ParsedMail, own_addresses: frozenset[str]) -> Classification:
    """Auto-reply, list or human: of those alone a program may take one for another."""
    by_header = find_auto_reply(mail)
    by_list = None if by_header else find_list(mail, own_addresses)
    by_words = None if by_header or by_list else find_auto_reply_by_words(mail)
    if reason := by_header or by_words:
        return Classification(MailKind.AUTO_REPLY, reason, back_on=find_return_date(mail))
    if reason := by_list or find_mass_mail(mail, own_addresses):
        return Classification(MailKind.LIST, reason)
    return Classification(MailKind.HUMAN, "no-automatic-mark")


def _is_feedback_loop(mail: ParsedMail) -> bool:
    """Microsoft's JMRP reports come without the report part of RFC 5965: a subject and the mail."""
    about = re.match(r"\s*complaint about message from \d", mail.subject, re.IGNORECASE)
    return about is not None and has_original(mail)


def _is_domain_report(mail: ParsedMail) -> bool:
    """What others say of mail in our domain's name: DMARC (RFC 7489, 7.2.1.1), TLS (RFC 8460)."""
    about = re.match(r"\s*report domain: \S{3,255}\s+submitter: ", mail.subject, re.IGNORECASE)
    return about is not None or "tls-report-domain" in mail.headers
