"""What stops, puts off and holds a reminder: away, bounced, promised, postponed, approved"""

import sqlalchemy as sa

from alembic import op

revision = "0020"
down_revision = "0011"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)
BEFORE = ("sent", "failed", "uncertain", "held", "stopped", "completed", "released")
AFTER = (*BEFORE, "waiting", "skipped", "postponed")


def _allow(statuses: tuple[str, ...]) -> None:
    words = ", ".join(f"'{status}'" for status in statuses)
    name = op.f("ck_followup_history_status")
    with op.batch_alter_table("followup_history") as history:
        history.drop_constraint(name, type_="check")
        history.create_check_constraint(name, f"status IN ({words})")


def upgrade() -> None:
    op.add_column("followups", sa.Column("promised_until", sa.Date(), nullable=True))
    op.add_column("followups", sa.Column("postponed_until", sa.Date(), nullable=True))
    op.add_column("followups", sa.Column("approved_at", INSTANT, nullable=True))
    op.add_column(
        "clients",
        sa.Column("do_not_contact", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.add_column("inbox_messages", sa.Column("back_on", sa.Date(), nullable=True))
    op.add_column("inbox_messages", sa.Column("bounce_hard", sa.Boolean(), nullable=True))
    _allow(AFTER)
    # The budgets: what a client, a mailbox and a company were sent lately.
    op.create_index("ix_outbox_client_sent", "outbox", ["client_id", "sending_at"])
    op.create_index("ix_outbox_mailbox_sent", "outbox", ["integration_id", "sending_at"])
    op.create_index("ix_outbox_company_sent", "outbox", ["company_id", "sending_at"])
    op.create_index(
        "ix_inbox_messages_bounces",
        "inbox_messages",
        ["company_id", "arrived_at"],
        sqlite_where=sa.text("kind = 'bounce'"),
        postgresql_where=sa.text("kind = 'bounce'"),
    )


def downgrade() -> None:
    op.drop_index("ix_inbox_messages_bounces", table_name="inbox_messages")
    op.drop_index("ix_outbox_company_sent", table_name="outbox")
    op.drop_index("ix_outbox_mailbox_sent", table_name="outbox")
    op.drop_index("ix_outbox_client_sent", table_name="outbox")
    words = ", ".join(f"'{status}'" for status in BEFORE)
    op.execute(f"DELETE FROM followup_history WHERE status NOT IN ({words})")  # noqa: S608
    _allow(BEFORE)
    op.drop_column("inbox_messages", "bounce_hard")
    op.drop_column("inbox_messages", "back_on")
    op.drop_column("clients", "do_not_contact")
    op.drop_column("followups", "approved_at")
    op.drop_column("followups", "postponed_until")
    op.drop_column("followups", "promised_until")
