"""A text message that went out, as a message of the shared inbox."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from backend.app.errors import RaceLost
from backend.app.store import clients, conversations, messages, outbox, tenants
from backend.app.store.records import DueFollowup, OutboxClaim


def file_text_message(
    session: Session, claimed: OutboxClaim, followup: DueFollowup, sent_at: datetime
) -> int:
    """Into the follow-up's conversation, else the client's newest, else one of its own.

    Returns the conversation's id. Names the message as the provider does, where it is known.
    """
    clients.lock_client(session, followup.client_id)
    step = outbox.find_step(session, followup.id, claimed.step)
    assert step is not None  # noqa: S101 (it was settled a moment ago)
    filed = messages.find_conversation_of(session, claimed.company_id, step.fingerprint)
    if filed is not None:
        return filed
    conversation_id = _conversation(session, claimed, followup, sent_at)
    inserted = messages.insert_text_message(
        session,
        company_id=claimed.company_id,
        integration_id=claimed.integration_id,
        conversation_id=conversation_id,
        external_id=step.provider_id or claimed.message_id,
        fingerprint=step.fingerprint,
        from_name=tenants.load_company(session, claimed.company_id).name,
        recipient=claimed.recipient,
        content=claimed.content,
        sent_at=sent_at,
    )
    if not inserted:
        raise RaceLost("the text message was filed at this instant")
    return conversation_id


def _conversation(
    session: Session, claimed: OutboxClaim, followup: DueFollowup, sent_at: datetime
) -> int:
    meant = claimed.conversation_id
    if meant is not None and _append(session, meant, sent_at):
        return meant
    found = conversations.find_or_open_for_reminder(
        session,
        company_id=claimed.company_id,
        client_id=followup.client_id,
        subject=followup.source_label,
        subject_key="",
        folder_id=None,
        source=conversations.SMS,
    )
    _append(session, found, sent_at)
    return found


def _append(session: Session, conversation_id: int, at: datetime) -> bool:
    return conversations.append(session, conversation_id, at=at, unread=False, awaits_us=False)
