"""Clients that were erased: mails that must not come back, and files still to be removed."""

import sqlalchemy as sa

from alembic import op

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NOW = sa.text("(CURRENT_TIMESTAMP)")

revision = "0056"
down_revision = "0055"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "erased_mails",
        sa.Column("company_id", BIG, nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["company_id"], ["companies.id"], name="fk_erased_mails_company_id"
        ),
        sa.PrimaryKeyConstraint("company_id", "fingerprint", name="pk_erased_mails"),
    )
    op.create_table(
        "erased_files",
        sa.Column("company_id", BIG, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(
            ["company_id"], ["companies.id"], name="fk_erased_files_company_id"
        ),
        sa.PrimaryKeyConstraint("company_id", "sha256", name="pk_erased_files"),
    )
    op.create_index(
        "ix_message_attachments_content", "message_attachments", ["company_id", "sha256"]
    )


def downgrade() -> None:
    op.drop_index("ix_message_attachments_content", "message_attachments")
    op.drop_table("erased_files")
    op.drop_table("erased_mails")
