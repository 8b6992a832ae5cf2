"""A mail that went out, as a message of the shared inbox."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from backend.app.errors import RaceLost
from backend.app.mail.message import Classification, MailKind
from backend.app.mail.parse import parse_mail
from backend.app.mail.subject import read_subject
from backend.app.store import clients, conversations, messages
from backend.app.store.records import DueFollowup, OutboxClaim

OWN_REMINDER = Classification(MailKind.OWN, "reminder")


def file_mail(
    session: Session,
    claimed: OutboxClaim,
    followup: DueFollowup,
    sent_at: datetime,
    *,
    proven: bool,
) -> int:
    """Into its conversation, unless its copy in Sent is there already. The conversation's id.

    proven: not by the server's word just now. What a restored database had forgotten was worded
    anew, with another Date than that of the mail which went out.
    """
    mail = parse_mail(claimed.raw)
    clients.lock_client(session, followup.client_id)
    filed = messages.find_conversation_of(session, claimed.company_id, mail.fingerprint)
    if filed is None and proven:
        filed = messages.find_copy(session, claimed.company_id, claimed.message_id)
    if filed is not None:
        return filed
    # As its copy in Sent would say it: in whole seconds, so that an answer or a bounce of the same
    # second does not come before it.
    said_at = mail.date or sent_at
    conversation_id = claimed.conversation_id
    if conversation_id is None or not _append(session, conversation_id, said_at):
        conversation_id = conversations.find_or_open_for_reminder(
            session,
            company_id=claimed.company_id,
            client_id=followup.client_id,
            subject=mail.subject,
            subject_key=read_subject(mail.subject).key,
            folder_id=None,
        )
        _append(session, conversation_id, said_at)
    inserted = messages.insert_message(
        session,
        mail,
        OWN_REMINDER,
        company_id=claimed.company_id,
        integration_id=claimed.integration_id,
        conversation_id=conversation_id,
        placement="own_reminder",
        is_from_client=False,
        read=True,
        sent_at=said_at,
        arrived_at=said_at,
    )
    if inserted is None:
        raise RaceLost("the copy in Sent was filed at this instant")
    return conversation_id


def _append(session: Session, conversation_id: int, at: datetime) -> bool:
    return conversations.append(session, conversation_id, at=at, unread=False, awaits_us=False)
