"""Machine-readable reports: their fields, and what kind of report a mail is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from backend.app.mail.message import ParsedMail, ReportPart
from backend.app.mail.msgid import clean_message_id

_DELIVERY: tuple[str, ...] = (
    "message/delivery-status",
    "message/global-delivery-status",
    "message/xdelivery-status",
)
_DISPOSITION = ("message/disposition-notification", "message/global-disposition-notification")
_QUOTED: tuple[str, ...] = (
    "message/rfc822",
    "message/global",
    "text/rfc822-headers",
    "text/rfc822-header",
)
_QUOTED += ("message/rfc822-headers", "message/global-headers", "text/rfc822")
# `deliverable` is what a mail system answers that was asked to verify an address.
_SUCCESS = {"delivered", "relayed", "expanded", "deliverable"}
_FIELD = re.compile(
    r"^([A-Za-z][A-Za-z0-9-]{1,60}):[ \t]*([^\n]*(?:\n[ \t]+[^\s][^\n]*)*)", re.MULTILINE
)
_MESSAGE_ID = re.compile(
    r"^[> \t]{0,8}(?:Original-)?Message-ID:\s*(<[^>]{3,2000}>|\S{3,2000})", re.I | re.M
)
_TO = re.compile(r"^To:\s*([^\n]*(?:\n[ \t][^\n]*)*)", re.I | re.M)

ReportKind = Literal["feedback", "disposition", "delivered", "delivery"]
Group = dict[str, str]


@dataclass(frozen=True, slots=True)
class Original:
    """What is known of the mail that a report is about; '' where nothing is."""

    message_id: str | None = None
    to: str = ""


def report_type(mail: ParsedMail) -> ReportKind | None:
    """Which report a mail is; None for a mail that is none or whose report part is missing."""
    kinds = {report.content_type for report in mail.reports}
    content_type = mail.header("content-type").lower()
    if "message/feedback-report" in kinds or "feedback-report" in content_type:
        return "feedback"
    if kinds.intersection(_DISPOSITION) or "disposition-notification" in content_type:
        return "disposition"
    actions = {group.get("action", "").lower() for group in recipient_groups(mail)} - {""}
    if actions and actions <= _SUCCESS:
        return "delivered"
    return "delivery" if kinds.intersection(_DELIVERY) else None


def recipient_groups(mail: ParsedMail) -> list[Group]:
    """The per-recipient fields of a delivery report (RFC 3464, 2.3), names in lower case.

    Senders put blank lines anywhere, so a group begins where a field is met for the second
    time or a recipient is named, not only at a blank line.
    """
    groups: list[Group] = []
    for report in mail.reports:
        if report.content_type in _DELIVERY:
            groups += _split_groups(report)
    return [group for group in groups if "action" in group or "status" in group]


def _split_groups(report: ReportPart) -> list[Group]:
    groups: list[Group] = [{}]
    for block in re.split(r"\n\s*\n", report.text):
        for match in _FIELD.finditer(block):
            name, value = match[1].lower(), " ".join(match[2].split())
            if name in groups[-1]:
                groups.append({})
            groups[-1][name] = value
        if "action" in groups[-1] or "status" in groups[-1]:
            groups.append({})
    return groups


def find_original(mail: ParsedMail, *told: str) -> Original:
    """What a report or bounce tells of the mail it returns: from its parts, else from `told`."""
    texts = [report.text for report in mail.reports if report.content_type in _QUOTED]
    texts += [report.text for report in mail.reports if report.content_type not in _QUOTED]
    texts += told
    found: str | None = None
    to = ""
    for text in texts:
        match = _MESSAGE_ID.search(text)
        if match is not None and found is None:
            found = clean_message_id(match[1])
        addressed = _TO.search(text)
        if addressed is not None and not to:
            to = " ".join(addressed[1].split())[:1_000]
    if found is None:
        found = next(iter((*mail.in_reply_to, *reversed(mail.references))), None)
    return Original(found, to)


def has_original(mail: ParsedMail) -> bool:
    """Whether the mail carries another mail, or its headers, as a part."""
    return any(report.content_type in _QUOTED for report in mail.reports)
