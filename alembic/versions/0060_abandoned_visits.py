"""Visits to a mailbox that never gave it back: what a mail that ends its run leaves behind"""

import sqlalchemy as sa

from alembic import op

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

revision = "0060"
down_revision = "0056"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "mailbox_states",
        sa.Column("abandoned", BIG, server_default="0", nullable=False),
    )


def downgrade() -> None:
    with op.batch_alter_table("mailbox_states") as states:
        states.drop_column("abandoned")
