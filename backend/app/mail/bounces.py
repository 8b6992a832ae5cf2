"""Bounces: the standard ones by their format (RFC 3464), the others by what they have in common.

What they have in common: a machine sends them (null reverse-path, mailer-daemon), they speak of
a failed delivery (words, SMTP replies, RFC 3463 codes) and they bring the mail back. A person
who writes about a bounce has the words without the sender; an out-of-office has the sender
without the words.
"""

from __future__ import annotations

import re
from dataclasses import replace

from backend.app.mail.addresses import parse_addresses
from backend.app.mail.autoreply import answers_by_subject
from backend.app.mail.message import BounceReport, ParsedMail, address_key
from backend.app.mail.reports import Group, find_original, has_original, recipient_groups
from backend.app.mail.wording import (
    DAEMON_LOCAL,
    DAEMON_NAME,
    FAILURE,
    FAILURE_SUBJECT,
    LASTING,
    NO_REPLY_LOCAL,
    ORIGINAL_FOLLOWS,
    PASSING,
)

_LONGEST_LOOK = 20_000
_HEAD = 6_000  # reasons stand at the top; what is below is the returned mail
_STATUS = re.compile(r"(?<![\d.])([45]\.\d{1,3}\.\d{1,3})(?![\d.])")
_REPLY = re.compile(
    r"(?<![\d.,:/-])(4(?:2[126]|5\d|7[12])|5(?:0[0-4]|[1257]\d|41|30))[ -]+"
    r"(?:#?[45]\.\d{1,3}\.\d{1,3}|[A-Za-z<\[(\"'#-])"
)
_DIAGNOSTIC_TYPE = re.compile(r"^\s*(?:smtp|x-[\w-]+)\s*;\s*", re.IGNORECASE)
# Headers of a returned mail, quoted in the text. Systems also list To and Subject of the mail
# they write about, so one field that only mail programs write has to stand among them.
_BLOCK_START = re.compile(
    r"(?:Received|Return-Path|Message-ID|MIME-Version|DKIM-Signature|From|To|Date|Subject|Reply-To"
    r"|X-[\w-]+):",
    re.IGNORECASE,
)
_BLOCK_PROOF = re.compile(
    r"(?:Received|Message-ID|MIME-Version|Content-Type|Return-Path):", re.IGNORECASE
)
_BLOCK_LINE = re.compile(r"[ \t]|[A-Za-z][\w-]+:")
_BLOCK_LINES = 30
_QUOTE_SIGNS = re.compile(r"^[ \t]{0,4}(?:>[ \t]?){1,4}")
_ADDRESS = re.compile(r"(?<![\w.+=/-])[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
_UNSEEN = re.compile(
    r"^Disposition:\s*automatic-action/[^;\n]{1,60};\s*(?:deleted|failed|denied)", re.I | re.M
)
_RECIPIENT_FIELD = re.compile(
    r"^(Original-Recipient|Final-Recipient):[ \t]*([^\n]{1,500})$", re.I | re.M
)
_MESSAGE_ID_LINE = re.compile(r"^[^\n]{0,20}Message-ID\s?:[^\n]*$", re.I | re.M)
_QMAIL_BOUNCE = re.compile(r"\(qmail \d+ invoked (?:for bounce|from network for bounce)\)")
# Codes of class 5 that another try can cure all the same: mailbox full, time expired, congestion.
_PASSING_STATUS = re.compile(r"5\.(?:2\.2|4\.7|4\.5|3\.1|2\.4)$")


def find_bounce(mail: ParsedMail) -> tuple[str, BounceReport] | None:
    """The rule that says bounce, and what the bounce tells; None when the mail is none."""
    groups = [group for group in recipient_groups(mail) if _is_failure(group)]
    if groups:
        return "dsn", _read_dsn(mail, groups)
    found = _weigh(mail)
    if found is None:
        return None
    reason, head, quoted = found
    return reason, _read_text(mail, head, quoted)


def read_refusal(mail: ParsedMail) -> BounceReport | None:
    """A mail that the recipient's filter or quota refused; None for a person's receipt.

    Sieve's `reject` (RFC 5429, 2.1.2) and some delivery agents answer with a disposition
    notification: from the mail system, with a mail that was deleted or failed unseen.
    """
    text = "\n".join(report.text for report in mail.reports)
    unseen = _UNSEEN.search(text) is not None
    rejected = "rejected" in mail.header("auto-submitted").lower()
    if not (unseen and (rejected or _is_daemon(mail))):
        return None
    fields = {match[1].lower(): match[2] for match in _RECIPIENT_FIELD.finditer(text)}
    head, quoted = _split_original(mail.text[:_LONGEST_LOOK])
    return replace(_read_text(mail, head, quoted), recipient=_report_recipient(fields), status=None)


def _is_failure(group: Group) -> bool:
    action = group.get("action", "").lower()
    if action:
        return action.startswith(("fail", "delay", "undeliverable"))
    return group.get("status", "")[:1] in ("4", "5")


def _split_original(text: str) -> tuple[str, str]:
    """What the reporting system says, and the returned mail or headers below it."""
    cuts = [match.start() for match in (ORIGINAL_FOLLOWS.search(text),) if match]
    block = _find_header_block(text)
    cuts += [] if block is None else [block]
    at = min(cuts, default=len(text))
    return text[:at][:_HEAD], text[at:]


def _find_header_block(text: str) -> int | None:
    """Where the headers of a returned mail begin, line by line: a pattern for the whole block
    would try every way to share out the white space of its lines."""
    starts, lines = [], []
    at = 0
    for line in text.split("\n"):
        starts.append(at)
        lines.append(_QUOTE_SIGNS.sub("", line))
        at += len(line) + 1
    for first, line in enumerate(lines):
        if not _BLOCK_START.match(line.lstrip(" \t")):
            continue
        for following in lines[first + 1 : first + 2 + _BLOCK_LINES]:
            if _BLOCK_PROOF.match(following.lstrip(" \t")):
                return starts[first]
            if not _BLOCK_LINE.match(following):
                break
    return None


def _weigh(mail: ParsedMail) -> tuple[str, str, str] | None:
    """Why this is a bounce, what its sender says, and the mail it returns; None when it is none.

    The sender is looked at first: it is cheap, and most mails are from people.
    """
    daemon, null_sender = _is_daemon(mail), _is_null_sender(mail)
    attached = has_original(mail)
    automatic = _is_automatic(mail)
    failed = "x-failed-recipients" in mail.headers
    claims = FAILURE_SUBJECT.match(mail.subject) is not None
    if not (daemon or null_sender or attached or automatic or failed or claims):
        return None
    if not daemon and answers_by_subject(mail):  # an absence notice that quotes what it answers
        return None
    head, quoted = _split_original(mail.text[:_LONGEST_LOOK])
    if failed and (daemon or null_sender or automatic):
        return "failed-recipients", head, quoted
    subject = claims or bool(FAILURE_SUBJECT.search(mail.subject))
    words = bool(FAILURE.search(head))
    code = bool(_STATUS.search(head) or _REPLY.search(head))
    original = attached or bool(quoted)
    if daemon and (subject or words or original or code):
        return "mailer-daemon", head, quoted
    # In a language that we have no words of: the mail system, an empty reverse-path, an address.
    if daemon and null_sender and _names_an_outsider(mail, head):
        return "mailer-daemon", head, quoted
    if null_sender and (subject or words) and subject + words + code + original >= 2:
        return "null-sender", head, quoted
    # A parcel service's `could not be delivered` comes from a machine too, but brings no mail.
    if (automatic or claims) and original and subject + words + code >= 2:
        return "failure-wording", head, quoted
    return None


def _names_an_outsider(mail: ParsedMail, head: str) -> bool:
    known = {
        address.key for address in (*mail.recipients, *((mail.sender,) if mail.sender else ()))
    }
    return any(address_key(match[0]) not in known for match in _ADDRESS.finditer(head))


def _is_daemon(mail: ParsedMail) -> bool:
    """Whether the mail system itself wrote: mailer-daemon, postmaster and their likes."""
    returned_to = mail.header("return-path").lower()
    if "mailer-daemon" in returned_to or "<#@[]>" in returned_to:
        return True
    if any(_QMAIL_BOUNCE.search(value) for value in mail.headers.get("received", ())):
        return True
    if mail.sender is None:
        raw = mail.header("from")
        return bool(DAEMON_LOCAL.match(raw.strip(" <>\"'")) or DAEMON_NAME.search(raw))
    local = mail.sender.email.partition("@")[0]
    return bool(DAEMON_LOCAL.fullmatch(local) or DAEMON_NAME.search(mail.sender.name))


def _is_null_sender(mail: ParsedMail) -> bool:
    """RFC 5321 (4.5.5): notifications go out with an empty reverse-path."""
    return any(value.strip() in ("<>", "< >", "") for value in mail.headers.get("return-path", ()))


def _is_automatic(mail: ParsedMail) -> bool:
    submitted = mail.header("auto-submitted").lower()
    if submitted and not submitted.startswith("no"):
        return True
    local = mail.sender.email.partition("@")[0] if mail.sender else ""
    return bool(NO_REPLY_LOCAL.search(local))


def _read_dsn(mail: ParsedMail, groups: list[Group]) -> BounceReport:
    failed = [
        group for group in groups if group.get("action", "").lower().startswith(("fail", "undel"))
    ]
    group = (failed or groups)[0]
    diagnostic = _DIAGNOSTIC_TYPE.sub("", group.get("diagnostic-code", ""))[:1_000] or None
    status = _best_status(group.get("status", ""), diagnostic or "")
    head, quoted = _split_original(mail.text[:_LONGEST_LOOK])
    original = find_original(mail, quoted)
    return BounceReport(
        hard=bool(failed or "action" not in group) and _is_hard(status, diagnostic or head),
        recipient=_report_recipient(group) or _recipient_in_text(mail, head, original.to),
        status=status,
        diagnostic=diagnostic,
        original_message_id=original.message_id,
    )


def _best_status(stated: str, diagnostic: str) -> str | None:
    """The more telling of two codes: `5.0.0` says nothing that the server's answer may say."""
    found = _STATUS.search(stated)
    told = _STATUS.search(diagnostic)
    if found and not found[1].endswith(".0.0"):
        return found[1]
    if told:
        return told[1]
    return found[1] if found else None


def _report_recipient(group: Group) -> str | None:
    """The address that *we* wrote to where the report tells it (RFC 3464, 2.3.1)."""
    for name in ("original-recipient", "final-recipient", "x-actual-recipient"):
        found = _ADDRESS.search(group.get(name, "").partition(";")[2] or group.get(name, ""))
        if found:
            return address_key(found[0])
    return None


def _is_hard(status: str | None, words: str) -> bool:
    """Whether another try is useless, by the code where it is telling, else by the words."""
    if status is not None and not status.endswith(".0.0"):
        if status.startswith("4") or _PASSING_STATUS.match(status):
            return False
        return not PASSING.search(words)
    if LASTING.search(words):
        return True
    return not (status or "").startswith("4") and not PASSING.search(words)


def _read_text(mail: ParsedMail, head: str, quoted: str) -> BounceReport:
    original = find_original(mail, quoted, head)
    found = _STATUS.search(head)
    reply = _REPLY.search(head)
    status = found[1] if found else None
    passing_reply = status is None and reply is not None and reply[1].startswith("4")
    diagnostic = _diagnostic_line(head, found or reply)
    return BounceReport(
        hard=not passing_reply and _is_hard(status, diagnostic or f"{mail.subject}\n{head}"),
        recipient=_recipient_in_text(mail, head, original.to),
        status=status,
        diagnostic=diagnostic,
        original_message_id=original.message_id,
    )


def _diagnostic_line(head: str, found: re.Match[str] | None) -> str | None:
    if found is None:
        return None
    start = head.rfind("\n", 0, found.start()) + 1
    end = head.find("\n", found.end())
    return head[start : end if end >= 0 else len(head)].strip()[:1_000]


def _recipient_in_text(mail: ParsedMail, head: str, original_to: str) -> str | None:
    """Whom a bounce in prose is about: the addressee of the returned mail if it is named."""
    failed = parse_addresses(mail.header("x-failed-recipients").encode(), most=1)
    if failed:
        return failed[0].key
    ours = {address.key for address in mail.recipients}
    if mail.sender is not None:
        ours.add(mail.sender.key)
    # A Message-ID looks like an address.
    told = _MESSAGE_ID_LINE.sub("", head)
    named = [address_key(match[0]) for match in _ADDRESS.finditer(told)]
    named = [key for key in named if key not in ours and not DAEMON_LOCAL.match(key)]
    addressed = [address.key for address in parse_addresses(original_to.encode(), most=20)]
    both = [key for key in named if key in addressed]
    return next(iter(both + named + [key for key in addressed if key not in ours]), None)
