"""Partial indexes, apart from their tables: for whoever makes or compares tables, and no run.

SQLAlchemy checks the options of such an index when it is declared, and loads every dialect that
one is for: PostgreSQL's costs a run on SQLite a tenth of its idle minute.
"""

from typing import Any

import sqlalchemy as sa

from backend.app.models.base import Base
from backend.app.models.followup import Followup, FollowupHistory, OutboxMail
from backend.app.models.inbox import InboxMessage
from backend.app.models.sent_copy import SentCopy


def _index(
    model: type[Base], name: str, condition: str, *columns: str, unique: bool = False
) -> None:
    where: Any = sa.text(condition)
    table = model.__table__
    sa.Index(
        name,
        *(table.c[column] for column in columns),
        unique=unique,
        sqlite_where=where,
        postgresql_where=where,
    )


# send_automatic_followups: the due ones, oldest first
_index(
    Followup, "ix_followups_due", "auto_state = 'active' AND auto_enabled", "next_action_at", "id"
)
# manage.py report: what waits for a person
_index(Followup, "ix_followups_held", "auto_state = 'held'", "company_id")
# send_automatic_followups: the steps that go in the mail of one
_index(OutboxMail, "ix_outbox_carried_by", "carried_by IS NOT NULL", "carried_by")
# send_automatic_followups: what a killed run left, and what is uncertain
_index(
    OutboxMail,
    "ix_outbox_unsettled",
    "state IN ('claimed', 'sending', 'uncertain')",
    "state",
    "lease_until",
)
_index(
    FollowupHistory,
    "uq_followup_history_sent_step",
    "status = 'sent'",
    "followup_id",
    "step",
    unique=True,
)
_index(
    InboxMessage,
    "ix_inbox_messages_about",
    "about_external_id IS NOT NULL",
    "company_id",
    "about_external_id",
)
# send_automatic_followups: how many of the company's mails came back today
_index(InboxMessage, "ix_inbox_messages_bounces", "kind = 'bounce'", "company_id", "arrived_at")
# sync_emails_periodic: what a mailbox still wants
_index(SentCopy, "ix_sent_copies_wanted", "state = 'wanted'", "integration_id", "next_attempt_at")
