"""Who can prove that an uncertain step went out: the inbox for a mail, the provider for a text."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from backend.app import db
from backend.app.channel import Channel
from backend.app.errors import CredentialsUnreadable, MailboxError
from backend.app.followups.provider import sms_provider
from backend.app.runtime import Run
from backend.app.store import messages, sms_accounts, unsettled
from backend.app.store.records import OutboxClaim

log = logging.getLogger("relance.followups")


@dataclass(frozen=True, slots=True)
class Proof:
    """It went out. provider_id: what the provider calls a text message."""

    provider_id: str | None = None


def find_proof(run: Run, claimed: OutboxClaim) -> Proof | None:
    """None proves nothing: a person has to say in the end."""
    if claimed.channel is Channel.SMS:
        return _ask_provider(run, claimed)
    seen = db.read(messages.is_proof, claimed.company_id, claimed.message_id)
    return Proof() if seen else None


def _ask_provider(run: Run, claimed: OutboxClaim) -> Proof | None:
    """A message to this number with this text, of that time, which no other step of ours is."""
    access = db.read(sms_accounts.find_account, claimed.company_id)
    since = db.read(unsettled.load_sending_at, claimed.id)
    if access is None or not access.is_active or since is None:
        return None
    try:
        provider = sms_provider(access, run.settings, run.vault)
        found = provider.find_messages(claimed.recipient, claimed.content, since)
    except (MailboxError, CredentialsUnreadable) as error:
        log.warning("outbox=%d no word of its fate: %s", claimed.id, error)
        return None
    others = db.read(unsettled.list_provider_ids, claimed.company_id, [each.sid for each in found])
    unknown = [each.sid for each in found if each.sid not in others]
    return Proof(unknown[0]) if unknown else None
