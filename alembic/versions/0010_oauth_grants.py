"""OAuth2 grants: refreshed tokens, outside the host application's table"""

import sqlalchemy as sa

from alembic import op

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
INSTANT = sa.DateTime(timezone=True)
NOW = sa.text("(CURRENT_TIMESTAMP)")

revision = "0010"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "oauth_grants",
        sa.Column("integration_id", BIG, autoincrement=False, nullable=False),
        sa.Column("company_id", BIG, nullable=False),
        sa.Column("provider", sa.String(length=20), nullable=False),
        sa.Column("refresh_token", sa.Text(), nullable=False),
        sa.Column("access_token", sa.Text(), nullable=True),
        sa.Column("expires_at", INSTANT, nullable=True),
        sa.Column("version", BIG, server_default="1", nullable=False),
        sa.Column("refreshing_until", INSTANT, nullable=True),
        sa.Column("created_at", INSTANT, server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(
            ["company_id", "integration_id"],
            ["inbox_integrations.company_id", "inbox_integrations.id"],
            name="fk_oauth_grants_company_id_integration_id",
        ),
        sa.PrimaryKeyConstraint("integration_id", name="pk_oauth_grants"),
    )


def downgrade() -> None:
    op.drop_table("oauth_grants")
