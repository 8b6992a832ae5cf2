"""traffic: how many bytes were fetched from each mailbox today"""

import sqlalchemy as sa

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("mailbox_states", sa.Column("traffic_day", sa.Date(), nullable=True))
    op.add_column(
        "mailbox_states",
        sa.Column("traffic_bytes", sa.BigInteger(), server_default="0", nullable=False),
    )


def downgrade() -> None:
    op.drop_column("mailbox_states", "traffic_bytes")
    op.drop_column("mailbox_states", "traffic_day")
