"""what a reminder may carry: links, a document, and whether its client is a professional"""

import sqlalchemy as sa

from alembic import op

revision = "0030"
down_revision = "0020"
branch_labels = None
depends_on = None

LINKS = ("payment_link", "signature_link")


def upgrade() -> None:
    for name in LINKS:
        op.add_column("followups", sa.Column(name, sa.String(length=2000), nullable=True))
    op.add_column("followups", sa.Column("document", sa.String(length=400), nullable=True))
    op.add_column("clients", sa.Column("is_professional", sa.Boolean(), nullable=True))


def downgrade() -> None:
    # Not in a batch: SQLite would make another table, and rows refer to the one that goes.
    op.drop_column("clients", "is_professional")
    op.drop_column("followups", "document")
    for name in LINKS:
        op.drop_column("followups", name)
