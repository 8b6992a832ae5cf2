"""Tables and constraints, no behaviour. One module for each aggregate."""

from backend.app.models.base import Base
from backend.app.models.company import Client, Company, CompanySettings
from backend.app.models.erasure import ErasedFile, ErasedMail
from backend.app.models.followup import (
    AutoState,
    Followup,
    FollowupHistory,
    HistoryStatus,
    OutboxMail,
    OutboxState,
)
from backend.app.models.inbox import (
    Conversation,
    ConversationStatus,
    InboxFolder,
    InboxMessage,
    MessageAttachment,
    SenderHour,
)
from backend.app.models.installation import Installation
from backend.app.models.mailbox import (
    FolderCheckpoint,
    InboxIntegration,
    LedgerEntry,
    LedgerState,
    MailboxState,
    OAuthGrant,
    QuarantinedMail,
    Security,
)
from backend.app.models.run import CronRun
from backend.app.models.sent_copy import CopyState, SentCopy
from backend.app.models.sms import SmsAccount

__all__ = [
    "AutoState",
    "Base",
    "Client",
    "Company",
    "CompanySettings",
    "Conversation",
    "ConversationStatus",
    "CopyState",
    "CronRun",
    "ErasedFile",
    "ErasedMail",
    "FolderCheckpoint",
    "Followup",
    "FollowupHistory",
    "HistoryStatus",
    "InboxFolder",
    "InboxIntegration",
    "InboxMessage",
    "Installation",
    "LedgerEntry",
    "LedgerState",
    "MailboxState",
    "MessageAttachment",
    "OAuthGrant",
    "OutboxMail",
    "OutboxState",
    "QuarantinedMail",
    "Security",
    "SenderHour",
    "SentCopy",
    "SmsAccount",
]
