"""the index of bounces and complaints holds them alone: nearly every mail is about no other"""

import sqlalchemy as sa

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

NAME, TABLE, COLUMNS = (
    "ix_inbox_messages_about",
    "inbox_messages",
    ["company_id", "about_external_id"],
)


def upgrade() -> None:
    op.drop_index(NAME, TABLE)
    op.create_index(
        NAME,
        TABLE,
        COLUMNS,
        sqlite_where=sa.text("about_external_id IS NOT NULL"),
        postgresql_where=sa.text("about_external_id IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index(NAME, TABLE)
    op.create_index(NAME, TABLE, COLUMNS)
