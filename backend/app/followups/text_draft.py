"""The text message of a step, worded and measured before anybody speaks to a provider."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from sqlalchemy.orm import Session

from backend.app.channel import Channel
from backend.app.errors import RelanceError
from backend.app.followups.particulars import word_text
from backend.app.followups.reasons import ReasonCode
from backend.app.followups.situation import Situation
from backend.app.sms.numbers import takes_names
from backend.app.sms.segments import Length, measure
from backend.app.store import sms_accounts
from backend.app.store.records import MailboxAccount


class TextUnusable(RelanceError):
    """The message cannot go out as it is, and must be held for `reason`."""

    def __init__(self, reason: ReasonCode, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class TextMessage:
    """sender: a name or a number; recipient: a number in E.164."""

    sender: str
    recipient: str
    text: str
    length: Length


def text_message(
    session: Session, situation: Situation, step: int, account: MailboxAccount, now: datetime
) -> TextMessage:
    """The message of any step, due or not. account: the mailbox in which its answer would arrive.

    Raises TextUnusable, and WordingUnusable.
    """
    followup = situation.followup
    sender = sms_accounts.find_sender(session, situation.company.id)
    if sender is None:
        raise TextUnusable(ReasonCode.NO_SMS_ACCOUNT, "")
    recipient = followup.client_phone or ""
    if not sender.startswith("+") and not takes_names(recipient):
        raise TextUnusable(ReasonCode.SENDER_NOT_CARRIED, f"{sender} to {recipient[:2]}…")
    text = word_text(situation, step, account, now)
    length, most = measure(text), situation.rules.sms.max_segments
    if length.segments > most:
        raise TextUnusable(ReasonCode.TEXT_TOO_LONG, f"{length}, sms.max_segments is {most}")
    return TextMessage(sender, recipient, text, length)


def text_columns(message: TextMessage, message_id: str) -> dict[str, object]:
    """The outbox row's columns, as far as they are the message's.

    The identity in the shared inbox is ours alone: networks keep none from one end to the other.
    """
    return {
        "channel": Channel.SMS.value,
        "message_id": message_id,
        "fingerprint": sha256(f"sms:{message_id}".encode()).hexdigest(),
        "recipient": message.recipient,
        "subject": "",
        "content": message.text,
        "raw": message.text.encode(),
    }
