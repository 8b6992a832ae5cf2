"""An index on the follow-ups that wait for a person, for manage.py report."""

import sqlalchemy as sa

from alembic import op

revision = "0055"
down_revision = "0050"

HELD = sa.text("auto_state = 'held'")


def upgrade() -> None:
    op.create_index(
        "ix_followups_held",
        "followups",
        ["company_id"],
        sqlite_where=HELD,
        postgresql_where=HELD,
    )


def downgrade() -> None:
    op.drop_index("ix_followups_held", "followups")
