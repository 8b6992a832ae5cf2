"""history: a mailbox is read from its newest mail back to a horizon

Mailboxes that are there already were read whole from their first UID: nothing of theirs is left.
"""

import sqlalchemy as sa

from alembic import op

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("history_uid", "history_top", "history_left"):
        op.add_column(
            "folder_checkpoints",
            sa.Column(name, sa.BigInteger(), server_default="0", nullable=False),
        )
    op.add_column("folder_checkpoints", sa.Column("history_since", sa.Date(), nullable=True))
    op.add_column(
        "mailbox_states", sa.Column("connected_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.add_column("inbox_integrations", sa.Column("history_days", BIG, nullable=True))


def downgrade() -> None:
    op.drop_column("inbox_integrations", "history_days")
    op.drop_column("mailbox_states", "connected_at")
    for name in ("history_since", "history_left", "history_top", "history_uid"):
        op.drop_column("folder_checkpoints", name)
