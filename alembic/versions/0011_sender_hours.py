"""How many mails each sender sent in each hour: floods are flagged"""

import sqlalchemy as sa

from alembic import op

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.DateTime(timezone=True)

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sender_hours",
        sa.Column("company_id", BIG, nullable=False),
        sa.Column("sender_key", sa.String(length=320), nullable=False),
        sa.Column("hour", INSTANT, nullable=False),
        sa.Column("mails", BIG, server_default="1", nullable=False),
        sa.ForeignKeyConstraint(
            ["company_id"], ["companies.id"], name="fk_sender_hours_company_id"
        ),
        sa.PrimaryKeyConstraint("company_id", "sender_key", "hour", name="pk_sender_hours"),
    )


def downgrade() -> None:
    op.drop_table("sender_hours")
