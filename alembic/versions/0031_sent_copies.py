"""copies of our reminders in the Sent folder, where the provider files none"""

import sqlalchemy as sa

from alembic import op

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.DateTime(timezone=True)
NOW = sa.text("(CURRENT_TIMESTAMP)")

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sent_copies",
        sa.Column("outbox_id", BIG, autoincrement=False, nullable=False),
        sa.Column("integration_id", BIG, nullable=False),
        sa.Column("state", sa.String(length=10), server_default="wanted", nullable=False),
        sa.Column("attempts", BIG, server_default="0", nullable=False),
        sa.Column("next_attempt_at", INSTANT, nullable=False),
        sa.Column("error", sa.String(length=500), nullable=True),
        sa.Column("created_at", INSTANT, server_default=NOW, nullable=False),
        sa.CheckConstraint(
            "state IN ('wanted', 'found', 'appended', 'given_up')",
            name=op.f("ck_sent_copies_state"),
        ),
        sa.ForeignKeyConstraint(["outbox_id"], ["outbox.id"], name="fk_sent_copies_outbox_id"),
        sa.ForeignKeyConstraint(
            ["integration_id"], ["inbox_integrations.id"], name="fk_sent_copies_integration_id"
        ),
        sa.PrimaryKeyConstraint("outbox_id", name="pk_sent_copies"),
    )
    op.create_index(
        "ix_sent_copies_wanted",
        "sent_copies",
        ["integration_id", "next_attempt_at"],
        sqlite_where=sa.text("state = 'wanted'"),
        postgresql_where=sa.text("state = 'wanted'"),
    )


def downgrade() -> None:
    op.drop_table("sent_copies")
