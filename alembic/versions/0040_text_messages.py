"""Text messages: a client's number, a company's account, and the outbox's channel"""

import sqlalchemy as sa

from alembic import op

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.DateTime(timezone=True)
NOW = sa.text("(CURRENT_TIMESTAMP)")

revision = "0040"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("clients", sa.Column("phone", sa.String(length=20), nullable=True))
    with op.batch_alter_table("outbox") as outbox:
        outbox.add_column(
            sa.Column("channel", sa.String(length=8), server_default="email", nullable=False)
        )
        outbox.add_column(sa.Column("provider_id", sa.String(length=64), nullable=True))
        outbox.create_check_constraint(op.f("ck_outbox_channel"), "channel IN ('email', 'sms')")
    op.create_table(
        "sms_accounts",
        sa.Column("company_id", BIG, nullable=False),
        sa.Column("provider", sa.String(length=20), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("sender", sa.String(length=20), nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("created_at", INSTANT, server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(
            ["company_id"], ["companies.id"], name="fk_sms_accounts_company_id"
        ),
        sa.PrimaryKeyConstraint("company_id", name="pk_sms_accounts"),
    )


def downgrade() -> None:
    op.drop_table("sms_accounts")
    with op.batch_alter_table("outbox") as outbox:
        outbox.drop_constraint(op.f("ck_outbox_channel"), type_="check")
        outbox.drop_column("provider_id")
        outbox.drop_column("channel")
    op.drop_column("clients", "phone")
