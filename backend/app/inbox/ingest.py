"""One mail into the shared inbox: prepared without the database, then one transaction.

Lock order: the mailbox's lease, the client, the conversation, the message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy.orm import Session

from backend.app.errors import RaceLost
from backend.app.inbox.files import save_attachments
from backend.app.inbox.filing import Filed, choose_drawer
from backend.app.inbox.placement import Placement, PlacementFacts, place
from backend.app.inbox.rules import NO_RULES, FilingRules
from backend.app.mail.classify import classify
from backend.app.mail.message import Address, Classification, MailKind, ParsedMail
from backend.app.mail.parse import parse_mail
from backend.app.mail.subject import read_subject
from backend.app.models import LedgerState
from backend.app.store import clients, conversations, erased, ledger, mailboxes, messages, senders
from backend.app.store.checkpoints import advance_checkpoint
from backend.app.store.records import Checkpoint, Lease, Place, StoredFile

SUBJECT_JOINS_WITHIN = timedelta(days=30)
CLOCKS_DIFFER = timedelta(days=1)  # an answer may be dated before what it answers
MAX_REFERENCES = 32
EARLIEST_DATE = datetime(1990, 1, 1, tzinfo=UTC)
STORM_NOTE = f"one of a flood: more than {senders.STORM_MAILS} mails of its sender within the hour"
# Whose mails make their senders clients: people, and people's vacation notices.
CLIENT_KINDS = frozenset({MailKind.HUMAN, MailKind.AUTO_REPLY})


@dataclass(frozen=True, slots=True)
class Intake:
    """What is the same for every mail of one visit to a mailbox. drawers: slug -> folder id.

    history_before: what arrived before this instant was there long before us (aware UTC).
    """

    lease: Lease
    company_id: int
    own_keys: frozenset[str]
    drawers: Mapping[str, int]
    attachments_dir: Path
    rules: FilingRules = NO_RULES
    rules_error: str | None = None
    history_before: datetime | None = None

    def is_history(self, item: PreparedMail) -> bool:
        """Old mail comes as read and answered: nobody has to look at it."""
        return self.history_before is not None and item.arrived_at < self.history_before


@dataclass(frozen=True, slots=True)
class PreparedMail:
    """A mail that only needs the database now: its attachments are on disk already."""

    mail: ParsedMail
    classification: Classification
    files: tuple[StoredFile, ...]
    filed: Filed
    sent_at: datetime
    arrived_at: datetime


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of a mail. message_id is None when it was not for this worker any more."""

    state: LedgerState
    message_id: int | None = None
    conversation_id: int | None = None
    reason: str = ""
    storm_begins: bool = False


def prepare(
    intake: Intake, raw: bytes, arrived_at: datetime, notes: tuple[str, ...] = ()
) -> PreparedMail:
    """Parse, classify, and put the attachments on disk. Raises StorageFault.

    notes: what people should know of how it was fetched, besides what the parser says.
    """
    mail = parse_mail(raw)
    if notes:
        mail = replace(mail, notes=(*notes, *mail.notes))
    classification = classify(mail, intake.own_keys)
    return PreparedMail(
        mail=mail,
        classification=classification,
        files=save_attachments(intake.attachments_dir, intake.company_id, mail.attachments),
        filed=choose_drawer(classification.kind, mail, intake.rules),
        sent_at=held_date(mail.date, arrived_at),
        arrived_at=arrived_at,
    )


def held_date(date: datetime | None, arrived_at: datetime) -> datetime:
    """The Date header, but never after the arrival and never absurdly old."""
    if date is None or date < EARLIEST_DATE:
        return arrived_at
    return min(date, arrived_at)


def held_arrival(internal_date: datetime | None, now: datetime) -> datetime:
    """INTERNALDATE, but never in the future and never absurdly old: `now` then, or without one.

    APPEND lets anybody with the mailbox's password choose it (RFC 3501, 6.3.11), and a
    conversation's last_message_at never goes back.
    """
    if internal_date is None or internal_date < EARLIEST_DATE:
        return now
    return min(internal_date, now)


def ingest(
    session: Session,
    intake: Intake,
    checkpoint: Checkpoint | None,
    where: Place,
    item: PreparedMail,
) -> Ingested:
    """Store one mail, its ledger row and the checkpoint. A function for db.write.

    checkpoint is None for a mail of the history, or out of quarantine. Raises LeaseLost, RaceLost.
    """
    mailboxes.hold_lease(session, intake.lease)
    if checkpoint is not None and not advance_checkpoint(session, checkpoint, where.uid):
        return Ingested(LedgerState.IGNORED, reason="already read")
    item, known = _recognise(session, intake, where, item)
    if known is not None:
        ledger.record(session, where, LedgerState.DUPLICATE, message_id=known)
        return Ingested(LedgerState.DUPLICATE, known, reason="same mail")
    # Under the fingerprint that it was stored with, which may be one of its own.
    if erased.is_erased(session, intake.company_id, item.mail.fingerprint):
        return _leave_erased(session, intake, where, item)
    result = _store(session, intake, item)
    ledger.record(
        session, where, LedgerState.STORED, message_id=result.message_id, reason=result.reason
    )
    return result


def _leave_erased(session: Session, intake: Intake, where: Place, item: PreparedMail) -> Ingested:
    """A mail of a client who was erased, met again at the server: it does not come back."""
    ledger.record(session, where, LedgerState.IGNORED, reason=ledger.ERASED)
    digests = [file.sha256 for file in item.files]
    erased.want_removed(session, intake.company_id, digests)
    return Ingested(LedgerState.IGNORED, reason=ledger.ERASED)


def _recognise(
    session: Session, intake: Intake, where: Place, item: PreparedMail
) -> tuple[PreparedMail, int | None]:
    """The message that this mail is already, or None and the mail under a fingerprint of its own.

    Two copies of a mail in two folders may differ by a footer. Two in one folder that say
    different things are two mails, though Message-ID, From, Date and Subject are the same.
    """
    mail = item.mail
    known = messages.find_message(session, intake.company_id, mail.fingerprint)
    if known is None or not ledger.holds(session, where, known):
        return item, known
    digests = frozenset(file.sha256 for file in item.files)
    if messages.says_the_same(session, known, mail.text, digests):
        return item, known
    own = hashlib.sha256("\0".join((mail.fingerprint, mail.text, *sorted(digests))).encode())
    item = replace(item, mail=replace(mail, fingerprint=own.hexdigest()))
    return item, messages.find_message(session, intake.company_id, item.mail.fingerprint)


def _store(session: Session, intake: Intake, item: PreparedMail) -> Ingested:
    mail, kind = item.mail, item.classification.kind
    ours = kind is MailKind.OWN
    count = 0
    if mail.sender is not None and not ours and not intake.is_history(item):
        count = senders.count_mail(session, intake.company_id, mail.sender.key, item.arrived_at)
    quiet = count > senders.STORM_MAILS
    if quiet:
        mail = replace(mail, notes=(*mail.notes, STORM_NOTE))
    placement = place(_facts(session, intake, item, ours))
    conversation_id = placement.conversation_id
    if conversation_id is None or not _append(session, intake, item, conversation_id, quiet):
        conversation_id = _open_conversation(session, intake, item, placement)
        _append(session, intake, item, conversation_id, quiet)
    message_id = messages.insert_message(
        session,
        mail,
        item.classification,
        company_id=intake.company_id,
        integration_id=intake.lease.integration_id,
        conversation_id=conversation_id,
        placement=placement.reason,
        is_from_client=not ours,
        sent_at=item.sent_at,
        arrived_at=item.arrived_at,
        read=ours or quiet or intake.is_history(item),
    )
    if message_id is None:
        raise RaceLost("the same mail came through another mailbox at this instant")
    messages.insert_attachments(session, intake.company_id, message_id, item.files)
    begins = count == senders.STORM_MAILS + 1
    return Ingested(
        LedgerState.STORED, message_id, conversation_id, placement.reason, storm_begins=begins
    )


def _append(
    session: Session, intake: Intake, item: PreparedMail, conversation_id: int, quiet: bool
) -> bool:
    """quiet: one mail of a flood, which asks for nobody's attention."""
    kind = item.classification.kind
    quiet = quiet or _is_spam(session, intake, item)
    return conversations.append(
        session,
        conversation_id,
        at=item.arrived_at,
        unread=kind is not MailKind.OWN and not quiet and not intake.is_history(item),
        awaits_us=None if quiet else _awaits_us(kind),
        history=intake.is_history(item),
        folder_id=_drawer_id(session, intake, item),
    )


def _facts(session: Session, intake: Intake, item: PreparedMail, ours: bool) -> PlacementFacts:
    mail, about = item.mail, item.classification.about_message_id
    references = _nearest_first(mail)
    wanted = [*references, *([about] if about else [])]
    candidates = [*wanted, mail.message_id] if ours else wanted
    return PlacementFacts(
        message_id=mail.message_id,
        sender_key=mail.sender.key if mail.sender else "",
        recipient_keys=frozenset(address.key for address in mail.recipients),
        own_keys=intake.own_keys,
        ours=ours,
        references=references,
        bounce_of=about,
        known=messages.find_known(session, intake.company_id, wanted),
        reminders=messages.find_reminders(session, intake.company_id, candidates),
        answers=messages.find_answers_to(session, intake.company_id, mail.message_id),
        subject=mail.subject,
        by_person=item.classification.kind in (MailKind.HUMAN, MailKind.OWN),
        same_subject=_same_subject(session, intake, item, ours),
    )


def _nearest_first(mail: ParsedMail) -> tuple[str, ...]:
    """In-Reply-To, then References from the last one back (RFC 5322, 3.6.4), each once."""
    ordered = (*mail.in_reply_to, *reversed(mail.references))
    return tuple(dict.fromkeys(ordered))[:MAX_REFERENCES]


def _same_subject(session: Session, intake: Intake, item: PreparedMail, ours: bool) -> int | None:
    subject = read_subject(item.mail.subject)
    party = _client_address(intake, item, ours)
    if not subject.is_reply or not subject.key or party is None:
        return None
    client_id = clients.find_client(session, intake.company_id, party.key)
    if client_id is None:
        return None
    return conversations.find_by_subject(
        session,
        intake.company_id,
        client_id,
        subject.key,
        since=item.sent_at - SUBJECT_JOINS_WITHIN,
        until=item.sent_at + CLOCKS_DIFFER,
    )


def _client_address(intake: Intake, item: PreparedMail, ours: bool) -> Address | None:
    """The outside party: who wrote, or whom we wrote to first."""
    if not ours:
        return item.mail.sender
    outside = (a for a in item.mail.recipients if a.key not in intake.own_keys)
    return next(outside, None)


def _open_conversation(
    session: Session, intake: Intake, item: PreparedMail, placement: Placement
) -> int:
    subject = item.mail.subject
    subject_key = read_subject(subject).key
    folder_id = _drawer_id(session, intake, item)
    if placement.reminder is not None:
        clients.lock_client(session, placement.reminder.client_id)
        return conversations.find_or_open_for_reminder(
            session,
            company_id=intake.company_id,
            client_id=placement.reminder.client_id,
            subject=subject,
            subject_key=subject_key,
            folder_id=folder_id,
        )
    client_id = _client_of(session, intake, item)
    if client_id is not None:
        clients.lock_client(session, client_id)
    return conversations.find_or_open(
        session,
        company_id=intake.company_id,
        thread_key=conversations.mail_thread(item.mail.fingerprint),
        client_id=client_id,
        subject=subject,
        subject_key=subject_key,
        folder_id=folder_id,
    )


def _client_of(session: Session, intake: Intake, item: PreparedMail) -> int | None:
    kind = item.classification.kind
    party = _client_address(intake, item, kind is MailKind.OWN)
    if party is None:
        return None
    welcome = kind in CLIENT_KINDS and not _is_spam(session, intake, item)
    if welcome or kind is MailKind.OWN:
        return clients.find_or_create_client(session, intake.company_id, party)
    return clients.find_client(session, intake.company_id, party.key)


def _drawer_id(session: Session, intake: Intake, item: PreparedMail) -> int:
    filed = item.filed
    if filed.unless_client is None or _is_spam(session, intake, item):
        return intake.drawers[filed.slug]
    return intake.drawers[filed.unless_client]


def _is_spam(session: Session, intake: Intake, item: PreparedMail) -> bool:
    """A filter's verdict on somebody whom the company knows is wrong: it may be an answer."""
    if item.filed.unless_client is None:
        return False
    sender = item.mail.sender
    return sender is None or clients.find_client(session, intake.company_id, sender.key) is None


def _awaits_us(kind: MailKind) -> bool | None:
    if kind is MailKind.OWN:
        return False
    return True if kind is MailKind.HUMAN else None
