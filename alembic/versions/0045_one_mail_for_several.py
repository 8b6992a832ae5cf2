"""Several reminders of a client in one mail: outbox rows that are carried by another's mail"""

import sqlalchemy as sa

from alembic import op

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MESSAGE_ID = sa.String(length=320)

revision = "0045"
down_revision = "0041"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("outbox") as outbox:
        outbox.add_column(sa.Column("carried_by", BIG, nullable=True))
        outbox.alter_column("message_id", existing_type=MESSAGE_ID, nullable=True)
        outbox.create_check_constraint(
            op.f("ck_outbox_mail"), "carried_by IS NOT NULL OR message_id IS NOT NULL"
        )
        outbox.create_check_constraint(op.f("ck_outbox_carried_by"), "carried_by <> id")
        outbox.create_unique_constraint("uq_outbox_company_id_id", ["company_id", "id"])
        outbox.create_foreign_key(
            "fk_outbox_company_id_carried_by",
            "outbox",
            ["company_id", "carried_by"],
            ["company_id", "id"],
        )
    op.create_index(
        "ix_outbox_carried_by",
        "outbox",
        ["carried_by"],
        sqlite_where=sa.text("carried_by IS NOT NULL"),
        postgresql_where=sa.text("carried_by IS NOT NULL"),
    )


def downgrade() -> None:
    """What went in another's mail keeps its row, under a Message-ID that no mail bears."""
    op.drop_index("ix_outbox_carried_by", table_name="outbox")
    op.execute(
        "UPDATE outbox SET message_id = 'carried-' || id || '@invalid' WHERE message_id IS NULL"
    )
    with op.batch_alter_table("outbox") as outbox:
        outbox.drop_constraint("fk_outbox_company_id_carried_by", type_="foreignkey")
        outbox.drop_constraint("uq_outbox_company_id_id", type_="unique")
        outbox.drop_constraint(op.f("ck_outbox_carried_by"), type_="check")
        outbox.drop_constraint(op.f("ck_outbox_mail"), type_="check")
        outbox.alter_column("message_id", existing_type=MESSAGE_ID, nullable=False)
        outbox.drop_column("carried_by")
