"""A way back from an answer, waits for a client's gap, and the facts that a decision rested on"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
INSTANT = sa.DateTime(timezone=True)

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("followups", sa.Column("answers_seen_at", INSTANT, nullable=True))
    op.add_column("followups", sa.Column("client_gap_until", INSTANT, nullable=True))
    op.add_column("followup_history", sa.Column("facts", JSON, nullable=True))
    op.add_column("outbox", sa.Column("facts", JSON, nullable=True))


def downgrade() -> None:
    op.drop_column("outbox", "facts")
    op.drop_column("followup_history", "facts")
    op.drop_column("followups", "client_gap_until")
    op.drop_column("followups", "answers_seen_at")
