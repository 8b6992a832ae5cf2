"""audit: the ledger is held against the server each hour; renumberings in a row are counted"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("audit_uid", "renumberings"):
        op.add_column(
            "folder_checkpoints",
            sa.Column(name, sa.BigInteger(), server_default="0", nullable=False),
        )
    op.add_column(
        "mailbox_states", sa.Column("audited_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.add_column("mailbox_states", sa.Column("audit", JSON, nullable=True))


def downgrade() -> None:
    op.drop_column("mailbox_states", "audit")
    op.drop_column("mailbox_states", "audited_at")
    op.drop_column("folder_checkpoints", "renumberings")
    op.drop_column("folder_checkpoints", "audit_uid")
