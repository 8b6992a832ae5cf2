"""what a reminder may carry: links, a document, and whether its client is a professional"""

import sqlalchemy as sa

from alembic import op

revision = "0030"
down_revision = "0020"
branch_labels = None
depends_on = None

LINKS = ("payment_link", "signature_link")


def upgrade() -> None:
    with op.batch_alter_table("followups") as table:
        for name in LINKS:
            table.add_column(sa.Column(name, sa.String(length=2000), nullable=True))
        table.add_column(sa.Column("document", sa.String(length=400), nullable=True))
    with op.batch_alter_table("clients") as table:
        table.add_column(sa.Column("is_professional", sa.Boolean(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("clients") as table:
        table.drop_column("is_professional")
    with op.batch_alter_table("followups") as table:
        table.drop_column("document")
        for name in LINKS:
            table.drop_column(name)
