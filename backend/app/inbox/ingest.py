"""One mail, prepared, into the shared inbox: one transaction.

Lock order: the mailbox's lease, the client, the conversation, the message.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy.orm import Session

from backend.app.errors import RaceLost
from backend.app.inbox.placement import Placement, PlacementFacts, place
from backend.app.inbox.prepare import Intake, PreparedMail
from backend.app.mail.message import Address, MailKind, ParsedMail
from backend.app.mail.subject import read_subject
from backend.app.models import LedgerState
from backend.app.store import clients, conversations, erased, leases, ledger, messages, senders
from backend.app.store.background import Background, SameSubject, load_background
from backend.app.store.checkpoints import advance_checkpoint
from backend.app.store.records import Checkpoint, Place

SUBJECT_JOINS_WITHIN = timedelta(days=30)
CLOCKS_DIFFER = timedelta(days=1)  # an answer may be dated before what it answers
MAX_REFERENCES = 32
STORM_NOTE = f"one of a flood: more than {senders.STORM_MAILS} mails of its sender within the hour"
# Whose mails make their senders clients: people, and people's vacation notices.
CLIENT_KINDS = frozenset({MailKind.HUMAN, MailKind.AUTO_REPLY})


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of a mail. message_id is None when it was not for this worker any more."""

    state: LedgerState
    message_id: int | None = None
    conversation_id: int | None = None
    reason: str = ""
    storm_begins: bool = False


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
    leases.hold_lease(session, intake.lease)
    if checkpoint is not None and not advance_checkpoint(session, checkpoint, where.uid):
        return Ingested(LedgerState.IGNORED, reason="already read")
    item, background = _recognise(session, intake, where, item)
    if background.same is not None:
        ledger.record(session, where, LedgerState.DUPLICATE, message_id=background.same)
        return Ingested(LedgerState.DUPLICATE, background.same, reason="same mail")
    if background.is_erased:
        return _leave_erased(session, intake, where, item)
    result = _store(session, intake, item, background)
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
) -> tuple[PreparedMail, Background]:
    """The mail and what is known around it; under a fingerprint of its own if it needs one.

    Two copies of a mail in two folders may differ by a footer. Two in one folder that say
    different things are two mails, though Message-ID, From, Date and Subject are the same.
    """
    mail, background = item.mail, _look_around(session, intake, item)
    known = background.same
    if known is None or not ledger.holds(session, where, known):
        return item, background
    digests = frozenset(file.sha256 for file in item.files)
    if messages.says_the_same(session, known, mail.text, digests):
        return item, background
    own = hashlib.sha256("\0".join((mail.fingerprint, mail.text, *sorted(digests))).encode())
    item = replace(item, mail=replace(mail, fingerprint=own.hexdigest()))
    return item, _look_around(session, intake, item)


def _look_around(session: Session, intake: Intake, item: PreparedMail) -> Background:
    mail, wanted = item.mail, _referred_to(item)
    party = _client_address(intake, item)
    return load_background(
        session,
        intake.company_id,
        fingerprint=mail.fingerprint,
        message_id=mail.message_id,
        references=wanted,
        of_ours=[*wanted, mail.message_id] if item.is_ours else wanted,
        party_key=party.key if party else None,
        subject=_same_subject(item) if party else None,
    )


def _same_subject(item: PreparedMail) -> SameSubject | None:
    subject = read_subject(item.mail.subject)
    if not subject.is_reply or not subject.key:
        return None
    return SameSubject(
        subject.key,
        since=item.sent_at - SUBJECT_JOINS_WITHIN,
        until=item.sent_at + CLOCKS_DIFFER,
    )


def _store(
    session: Session, intake: Intake, item: PreparedMail, background: Background
) -> Ingested:
    mail, ours = item.mail, item.is_ours
    count = 0
    if mail.sender is not None and not ours and not intake.is_history(item):
        count = senders.count_mail(session, intake.company_id, mail.sender.key, item.arrived_at)
    quiet = count > senders.STORM_MAILS
    if quiet:
        mail = replace(mail, notes=(*mail.notes, STORM_NOTE))
    placement = place(_facts(intake, item, background))
    said = _said(intake, item, background, quiet)
    conversation_id = placement.conversation_id
    if conversation_id is None or not conversations.append(session, conversation_id, **said):
        conversation_id = _open_conversation(session, intake, item, background, placement, said)
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


def _said(
    intake: Intake, item: PreparedMail, background: Background, quiet: bool
) -> dict[str, Any]:
    """What a conversation takes note of; see conversations.append.

    quiet: one mail of a flood, which asks for nobody's attention.
    """
    quiet = quiet or _is_spam(item, background)
    history = intake.is_history(item)
    return {
        "at": item.arrived_at,
        "unread": not item.is_ours and not quiet and not history,
        "awaits_us": None if quiet else _awaits_us(item.classification.kind),
        "history": history,
        "folder_id": _drawer_id(intake, item, background),
    }


def _facts(intake: Intake, item: PreparedMail, background: Background) -> PlacementFacts:
    mail = item.mail
    return PlacementFacts(
        message_id=mail.message_id,
        sender_key=mail.sender.key if mail.sender else "",
        recipient_keys=frozenset(address.key for address in mail.recipients),
        own_keys=intake.own_keys,
        ours=item.is_ours,
        references=_nearest_first(mail),
        bounce_of=item.classification.about_message_id,
        known=background.known,
        reminders=background.reminders,
        answers=background.answers,
        subject=mail.subject,
        by_person=item.classification.kind in (MailKind.HUMAN, MailKind.OWN),
        same_subject=background.same_subject,
    )


def _referred_to(item: PreparedMail) -> list[str]:
    about = item.classification.about_message_id
    return [*_nearest_first(item.mail), *([about] if about else [])]


def _nearest_first(mail: ParsedMail) -> tuple[str, ...]:
    """In-Reply-To, then References from the last one back (RFC 5322, 3.6.4), each once."""
    ordered = (*mail.in_reply_to, *reversed(mail.references))
    return tuple(dict.fromkeys(ordered))[:MAX_REFERENCES]


def _client_address(intake: Intake, item: PreparedMail) -> Address | None:
    """The outside party: who wrote, or whom we wrote to first."""
    if not item.is_ours:
        return item.mail.sender
    outside = (a for a in item.mail.recipients if a.key not in intake.own_keys)
    return next(outside, None)


def _open_conversation(
    session: Session,
    intake: Intake,
    item: PreparedMail,
    background: Background,
    placement: Placement,
    said: dict[str, Any],
) -> int:
    thread: dict[str, Any] = {
        "company_id": intake.company_id,
        "subject": item.mail.subject,
        "subject_key": read_subject(item.mail.subject).key,
    }
    reminder = placement.reminder
    if reminder is not None:
        clients.lock_client(session, reminder.client_id)
        opened = conversations.find_or_open_for_reminder(
            session, **thread, client_id=reminder.client_id, folder_id=said["folder_id"]
        )
    else:
        thread["client_id"] = _held_client(session, intake, item, background)
        thread["thread_key"] = conversations.mail_thread(item.mail.fingerprint)
        new = conversations.open_by_mail(session, **thread, **said)
        if new is not None:
            return new
        opened = conversations.find_or_open(session, **thread, folder_id=said["folder_id"])
    conversations.append(session, opened, **said)
    return opened


def _held_client(
    session: Session, intake: Intake, item: PreparedMail, background: Background
) -> int | None:
    """The client behind the mail, whose row is held until the commit; None for nobody."""
    if background.client_id is not None:
        clients.lock_client(session, background.client_id)
        return background.client_id
    party, kind = _client_address(intake, item), item.classification.kind
    welcome = kind in CLIENT_KINDS and not _is_spam(item, background)
    if party is None or not (welcome or item.is_ours):
        return None
    return clients.create_client(session, intake.company_id, party)


def _drawer_id(intake: Intake, item: PreparedMail, background: Background) -> int:
    filed = item.filed
    if filed.unless_client is None or _is_spam(item, background):
        return intake.drawers[filed.slug]
    return intake.drawers[filed.unless_client]


def _is_spam(item: PreparedMail, background: Background) -> bool:
    """A filter's verdict on somebody whom the company knows is wrong: it may be an answer.

    Never asked of a mail of ours, so that the outside party is the sender.
    """
    return item.filed.unless_client is not None and background.client_id is None


def _awaits_us(kind: MailKind) -> bool | None:
    if kind is MailKind.OWN:
        return False
    return True if kind is MailKind.HUMAN else None
