"""first tables"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
INSTANT = sa.DateTime(timezone=True)
NOW = sa.text("(CURRENT_TIMESTAMP)")

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "companies",
        sa.Column("id", BIG, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("timezone", sa.String(length=64), server_default="Europe/Paris", nullable=False),
        sa.Column("locale", sa.String(length=16), server_default="fr_FR", nullable=False),
        sa.Column("country", sa.String(length=2), server_default="FR", nullable=False),
        sa.Column("created_at", INSTANT, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_companies"),
    )
    op.create_table(
        "cron_runs",
        sa.Column("id", BIG, nullable=False),
        sa.Column("script", sa.String(length=20), nullable=False),
        sa.Column("host", sa.String(length=100), nullable=False),
        sa.Column("pid", BIG, nullable=False),
        sa.Column("started_at", INSTANT, server_default=NOW, nullable=False),
        sa.Column("finished_at", INSTANT, nullable=True),
        sa.Column("exit_status", BIG, nullable=True),
        sa.Column("counts", JSON, server_default="{}", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_cron_runs"),
    )
    op.create_index("ix_cron_runs_recent", "cron_runs", ["script", "started_at"], unique=False)

    op.create_table(
        "clients",
        sa.Column("id", BIG, nullable=False),
        sa.Column("company_id", BIG, nullable=False),
        sa.Column("name", sa.String(length=200), server_default="", nullable=False),
        sa.Column("email", sa.String(length=320), nullable=True),
        sa.Column("email_key", sa.String(length=320), nullable=True),
        sa.Column("language", sa.String(length=8), nullable=True),
        sa.Column("created_at", INSTANT, server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(["company_id"], ["companies.id"], name="fk_clients_company_id"),
        sa.PrimaryKeyConstraint("id", name="pk_clients"),
        sa.UniqueConstraint("company_id", "email_key", name="uq_clients_company_id_email_key"),
        sa.UniqueConstraint("company_id", "id", name="uq_clients_company_id_id"),
    )
    op.create_table(
        "company_settings",
        sa.Column("company_id", BIG, nullable=False),
        sa.Column("settings", JSON, server_default="{}", nullable=False),
        sa.Column("updated_at", INSTANT, server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(
            ["company_id"], ["companies.id"], name="fk_company_settings_company_id"
        ),
        sa.PrimaryKeyConstraint("company_id", name="pk_company_settings"),
    )
    op.create_table(
        "inbox_folders",
        sa.Column("id", BIG, nullable=False),
        sa.Column("company_id", BIG, nullable=False),
        sa.Column("slug", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("position", BIG, server_default="0", nullable=False),
        sa.Column("created_at", INSTANT, server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(
            ["company_id"], ["companies.id"], name="fk_inbox_folders_company_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_inbox_folders"),
        sa.UniqueConstraint("company_id", "id", name="uq_inbox_folders_company_id_id"),
        sa.UniqueConstraint("company_id", "slug", name="uq_inbox_folders_company_id_slug"),
    )
    op.create_table(
        "inbox_integrations",
        sa.Column("id", BIG, nullable=False),
        sa.Column("company_id", BIG, nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("from_name", sa.String(length=200), server_default="", nullable=False),
        sa.Column("aliases", JSON, server_default="[]", nullable=False),
        sa.Column("imap_host", sa.String(length=255), nullable=False),
        sa.Column("imap_port", BIG, server_default="993", nullable=False),
        sa.Column("imap_security", sa.String(length=8), server_default="tls", nullable=False),
        sa.Column("username", sa.String(length=320), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("sent_folder", sa.String(length=255), nullable=True),
        sa.Column("smtp_host", sa.String(length=255), nullable=True),
        sa.Column("smtp_port", BIG, server_default="465", nullable=False),
        sa.Column("smtp_security", sa.String(length=8), server_default="tls", nullable=False),
        sa.Column("smtp_username", sa.String(length=320), nullable=True),
        sa.Column("smtp_secret", sa.Text(), nullable=True),
        sa.Column("is_active", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("created_at", INSTANT, server_default=NOW, nullable=False),
        sa.CheckConstraint(
            "imap_security IN ('tls', 'starttls', 'plain')",
            name=op.f("ck_inbox_integrations_imap_security"),
        ),
        sa.CheckConstraint(
            "smtp_security IN ('tls', 'starttls', 'plain')",
            name=op.f("ck_inbox_integrations_smtp_security"),
        ),
        sa.ForeignKeyConstraint(
            ["company_id"], ["companies.id"], name="fk_inbox_integrations_company_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_inbox_integrations"),
        sa.UniqueConstraint("company_id", "email", name="uq_inbox_integrations_company_id_email"),
        sa.UniqueConstraint("company_id", "id", name="uq_inbox_integrations_company_id_id"),
    )
    op.create_table(
        "conversations",
        sa.Column("id", BIG, nullable=False),
        sa.Column("company_id", BIG, nullable=False),
        sa.Column("client_id", BIG, nullable=True),
        sa.Column("source", sa.String(length=20), server_default="email", nullable=False),
        sa.Column("thread_key", sa.String(length=80), nullable=False),
        sa.Column("subject", sa.String(length=500), server_default="", nullable=False),
        sa.Column("subject_key", sa.String(length=200), server_default="", nullable=False),
        sa.Column("status", sa.String(length=10), server_default="open", nullable=False),
        sa.Column("folder_id", BIG, nullable=True),
        sa.Column("unread_count", BIG, server_default="0", nullable=False),
        sa.Column("last_message_at", INSTANT, nullable=True),
        sa.Column("created_at", INSTANT, server_default=NOW, nullable=False),
        sa.CheckConstraint(
            "status IN ('open', 'waiting', 'closed')", name=op.f("ck_conversations_status")
        ),
        sa.ForeignKeyConstraint(
            ["company_id", "client_id"],
            ["clients.company_id", "clients.id"],
            name="fk_conversations_company_id_client_id",
        ),
        sa.ForeignKeyConstraint(
            ["company_id", "folder_id"],
            ["inbox_folders.company_id", "inbox_folders.id"],
            name="fk_conversations_company_id_folder_id",
        ),
        sa.ForeignKeyConstraint(
            ["company_id"], ["companies.id"], name="fk_conversations_company_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_conversations"),
        sa.UniqueConstraint("company_id", "id", name="uq_conversations_company_id_id"),
        sa.UniqueConstraint(
            "company_id",
            "source",
            "thread_key",
            name="uq_conversations_company_id_source_thread_key",
        ),
    )
    op.create_index(
        "ix_conversations_client", "conversations", ["client_id", "last_message_at"], unique=False
    )
    op.create_index(
        "ix_conversations_recent", "conversations", ["company_id", "last_message_at"], unique=False
    )

    op.create_table(
        "folder_checkpoints",
        sa.Column("id", BIG, nullable=False),
        sa.Column("integration_id", BIG, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("uidvalidity", sa.BigInteger(), nullable=False),
        sa.Column("last_uid", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("highestmodseq", sa.BigInteger(), nullable=True),
        sa.Column("recognise_until", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["integration_id"],
            ["inbox_integrations.id"],
            name="fk_folder_checkpoints_integration_id",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_folder_checkpoints"),
        sa.UniqueConstraint(
            "integration_id", "name", name="uq_folder_checkpoints_integration_id_name"
        ),
    )
    op.create_table(
        "mailbox_states",
        sa.Column("integration_id", BIG, autoincrement=False, nullable=False),
        sa.Column("company_id", BIG, nullable=False),
        sa.Column("lease_owner", sa.String(length=120), nullable=True),
        sa.Column("lease_token", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_until", INSTANT, nullable=True),
        sa.Column("next_sync_at", INSTANT, server_default=NOW, nullable=False),
        sa.Column("last_attempt_at", INSTANT, nullable=True),
        sa.Column("last_success_at", INSTANT, nullable=True),
        sa.Column("fresh_at", INSTANT, nullable=True),
        sa.Column("backlog", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("failures", BIG, server_default="0", nullable=False),
        sa.Column("error_kind", sa.String(length=20), nullable=True),
        sa.Column("error", sa.String(length=500), nullable=True),
        sa.Column("error_since", INSTANT, nullable=True),
        sa.ForeignKeyConstraint(
            ["company_id", "integration_id"],
            ["inbox_integrations.company_id", "inbox_integrations.id"],
            name="fk_mailbox_states_company_id_integration_id",
        ),
        sa.PrimaryKeyConstraint("integration_id", name="pk_mailbox_states"),
    )
    op.create_table(
        "followups",
        sa.Column("id", BIG, nullable=False),
        sa.Column("company_id", BIG, nullable=False),
        sa.Column("client_id", BIG, nullable=False),
        sa.Column("conversation_id", BIG, nullable=True),
        sa.Column("integration_id", BIG, nullable=True),
        sa.Column("type", sa.String(length=40), nullable=False),
        sa.Column("source_type", sa.String(length=40), nullable=True),
        sa.Column("source_id", sa.String(length=64), nullable=True),
        sa.Column("source_label", sa.String(length=200), server_default="", nullable=False),
        sa.Column("amount", sa.Numeric(precision=12, scale=2), nullable=True),
        sa.Column("currency", sa.String(length=3), server_default="EUR", nullable=False),
        sa.Column("due_date", sa.Date(), nullable=True),
        sa.Column("status", sa.String(length=20), server_default="pending", nullable=False),
        sa.Column("auto_enabled", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("auto_stop_on_response", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("auto_stop_on_paid", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("auto_stop_on_refused", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("auto_state", sa.String(length=10), server_default="active", nullable=False),
        sa.Column("auto_reason", sa.String(length=200), nullable=True),
        sa.Column("steps_sent", BIG, server_default="0", nullable=False),
        sa.Column("last_step_at", INSTANT, nullable=True),
        sa.Column("next_action_at", INSTANT, server_default=NOW, nullable=False),
        sa.Column("created_at", INSTANT, server_default=NOW, nullable=False),
        sa.CheckConstraint(
            "auto_state IN ('active', 'held', 'stopped', 'completed')",
            name=op.f("ck_followups_auto_state"),
        ),
        sa.ForeignKeyConstraint(
            ["company_id", "client_id"],
            ["clients.company_id", "clients.id"],
            name="fk_followups_company_id_client_id",
        ),
        sa.ForeignKeyConstraint(
            ["company_id", "conversation_id"],
            ["conversations.company_id", "conversations.id"],
            name="fk_followups_company_id_conversation_id",
        ),
        sa.ForeignKeyConstraint(
            ["company_id", "integration_id"],
            ["inbox_integrations.company_id", "inbox_integrations.id"],
            name="fk_followups_company_id_integration_id",
        ),
        sa.ForeignKeyConstraint(["company_id"], ["companies.id"], name="fk_followups_company_id"),
        sa.PrimaryKeyConstraint("id", name="pk_followups"),
        sa.UniqueConstraint("company_id", "id", name="uq_followups_company_id_id"),
    )
    op.create_index("ix_followups_client", "followups", ["client_id"], unique=False)
    op.create_index("ix_followups_company", "followups", ["company_id", "auto_state"], unique=False)
    op.create_index(
        "ix_followups_due",
        "followups",
        ["next_action_at", "id"],
        unique=False,
        sqlite_where=sa.text("auto_state = 'active' AND auto_enabled"),
        postgresql_where=sa.text("auto_state = 'active' AND auto_enabled"),
    )

    op.create_table(
        "inbox_messages",
        sa.Column("id", BIG, nullable=False),
        sa.Column("company_id", BIG, nullable=False),
        sa.Column("conversation_id", BIG, nullable=False),
        sa.Column("integration_id", BIG, nullable=True),
        sa.Column("source", sa.String(length=20), server_default="email", nullable=False),
        sa.Column("external_id", sa.String(length=320), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("in_reply_to", sa.String(length=320), nullable=True),
        sa.Column("about_external_id", sa.String(length=320), nullable=True),
        sa.Column("from_name", sa.String(length=200), server_default="", nullable=False),
        sa.Column("from_email", sa.String(length=320), server_default="", nullable=False),
        sa.Column("from_key", sa.String(length=320), server_default="", nullable=False),
        sa.Column("recipients", JSON, server_default="[]", nullable=False),
        sa.Column("subject", sa.String(length=500), server_default="", nullable=False),
        sa.Column("content", sa.Text(), server_default="", nullable=False),
        sa.Column("reply_content", sa.Text(), nullable=True),
        sa.Column("content_html", sa.Text(), nullable=True),
        sa.Column("is_from_client", sa.Boolean(), nullable=False),
        sa.Column("read", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("kind_reason", sa.String(length=60), server_default="", nullable=False),
        sa.Column("placement", sa.String(length=40), nullable=False),
        sa.Column("notes", JSON, server_default="[]", nullable=False),
        sa.Column("sent_at", INSTANT, nullable=False),
        sa.Column("arrived_at", INSTANT, nullable=False),
        sa.Column("created_at", INSTANT, server_default=NOW, nullable=False),
        sa.CheckConstraint(
            "kind IN ('human', 'auto_reply', 'bounce', 'complaint', 'list', 'receipt', 'own')",
            name=op.f("ck_inbox_messages_kind"),
        ),
        sa.ForeignKeyConstraint(
            ["company_id", "conversation_id"],
            ["conversations.company_id", "conversations.id"],
            name="fk_inbox_messages_company_id_conversation_id",
        ),
        sa.ForeignKeyConstraint(
            ["company_id"], ["companies.id"], name="fk_inbox_messages_company_id"
        ),
        sa.ForeignKeyConstraint(
            ["company_id", "integration_id"],
            ["inbox_integrations.company_id", "inbox_integrations.id"],
            name="fk_inbox_messages_company_id_integration_id",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_inbox_messages"),
        sa.UniqueConstraint(
            "company_id", "fingerprint", name="uq_inbox_messages_company_id_fingerprint"
        ),
        sa.UniqueConstraint("company_id", "id", name="uq_inbox_messages_company_id_id"),
    )
    op.create_index(
        "ix_inbox_messages_about",
        "inbox_messages",
        ["company_id", "about_external_id"],
        unique=False,
    )
    op.create_index(
        "ix_inbox_messages_answers",
        "inbox_messages",
        ["company_id", "from_key", "arrived_at"],
        unique=False,
    )
    op.create_index(
        "ix_inbox_messages_conversation",
        "inbox_messages",
        ["conversation_id", "sent_at"],
        unique=False,
    )
    op.create_index(
        "ix_inbox_messages_external_id",
        "inbox_messages",
        ["company_id", "external_id"],
        unique=False,
    )
    op.create_index(
        "ix_inbox_messages_in_reply_to",
        "inbox_messages",
        ["company_id", "in_reply_to"],
        unique=False,
    )

    op.create_table(
        "followup_history",
        sa.Column("id", BIG, nullable=False),
        sa.Column("company_id", BIG, nullable=False),
        sa.Column("followup_id", BIG, nullable=False),
        sa.Column("conversation_id", BIG, nullable=True),
        sa.Column("step", BIG, nullable=False),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("message_type", sa.String(length=20), server_default="email", nullable=False),
        sa.Column("status", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=True),
        sa.Column("sent_by_name", sa.String(length=200), server_default="", nullable=False),
        sa.Column("sent_at", INSTANT, nullable=False),
        sa.CheckConstraint(
            "status IN ('sent', 'failed', 'uncertain', 'held', 'stopped', 'completed', 'released')",
            name=op.f("ck_followup_history_status"),
        ),
        sa.ForeignKeyConstraint(
            ["company_id", "conversation_id"],
            ["conversations.company_id", "conversations.id"],
            name="fk_followup_history_company_id_conversation_id",
        ),
        sa.ForeignKeyConstraint(
            ["company_id", "followup_id"],
            ["followups.company_id", "followups.id"],
            name="fk_followup_history_company_id_followup_id",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_followup_history"),
    )
    op.create_index(
        "ix_followup_history_followup_id", "followup_history", ["followup_id"], unique=False
    )
    op.create_index(
        "uq_followup_history_sent_step",
        "followup_history",
        ["followup_id", "step"],
        unique=True,
        sqlite_where=sa.text("status = 'sent'"),
        postgresql_where=sa.text("status = 'sent'"),
    )

    op.create_table(
        "message_attachments",
        sa.Column("id", BIG, nullable=False),
        sa.Column("company_id", BIG, nullable=False),
        sa.Column("message_id", BIG, nullable=False),
        sa.Column("position", BIG, nullable=False),
        sa.Column("filename", sa.String(length=255), nullable=False),
        sa.Column("content_type", sa.String(length=120), nullable=False),
        sa.Column("content_id", sa.String(length=320), nullable=True),
        sa.Column("inline", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["company_id", "message_id"],
            ["inbox_messages.company_id", "inbox_messages.id"],
            name="fk_message_attachments_company_id_message_id",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_message_attachments"),
        sa.UniqueConstraint(
            "message_id", "position", name="uq_message_attachments_message_id_position"
        ),
    )
    op.create_table(
        "message_ledger",
        sa.Column("integration_id", BIG, nullable=False),
        sa.Column("folder", sa.String(length=255), nullable=False),
        sa.Column("uidvalidity", sa.BigInteger(), nullable=False),
        sa.Column("uid", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("message_id", BIG, nullable=True),
        sa.Column("reason", sa.String(length=200), nullable=True),
        sa.Column("created_at", INSTANT, server_default=NOW, nullable=False),
        sa.CheckConstraint(
            "state IN ('stored', 'duplicate', 'ignored', 'quarantined')",
            name=op.f("ck_message_ledger_state"),
        ),
        sa.ForeignKeyConstraint(
            ["integration_id"], ["inbox_integrations.id"], name="fk_message_ledger_integration_id"
        ),
        sa.ForeignKeyConstraint(
            ["message_id"], ["inbox_messages.id"], name="fk_message_ledger_message_id"
        ),
        sa.PrimaryKeyConstraint(
            "integration_id", "folder", "uidvalidity", "uid", name="pk_message_ledger"
        ),
    )
    op.create_index("ix_message_ledger_message_id", "message_ledger", ["message_id"], unique=False)

    op.create_table(
        "outbox",
        sa.Column("id", BIG, nullable=False),
        sa.Column("company_id", BIG, nullable=False),
        sa.Column("followup_id", BIG, nullable=False),
        sa.Column("client_id", BIG, nullable=False),
        sa.Column("step", BIG, nullable=False),
        sa.Column("integration_id", BIG, nullable=False),
        sa.Column("conversation_id", BIG, nullable=True),
        sa.Column("message_id", sa.String(length=320), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("recipient", sa.String(length=320), nullable=False),
        sa.Column("subject", sa.String(length=500), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("token", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("owner", sa.String(length=120), nullable=True),
        sa.Column("lease_until", INSTANT, nullable=True),
        sa.Column("attempts", BIG, server_default="1", nullable=False),
        sa.Column("next_attempt_at", INSTANT, nullable=True),
        sa.Column("sending_at", INSTANT, nullable=True),
        sa.Column("sent_at", INSTANT, nullable=True),
        sa.Column("needs_person", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("smtp_code", BIG, nullable=True),
        sa.Column("error", sa.String(length=500), nullable=True),
        sa.Column("created_at", INSTANT, server_default=NOW, nullable=False),
        sa.CheckConstraint(
            "state IN ('planned', 'claimed', 'sending', 'sent', 'failed', 'cancelled', 'uncertain')",
            name=op.f("ck_outbox_state"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('claimed', 'sending') OR (owner IS NOT NULL AND lease_until IS NOT NULL)",
            name=op.f("ck_outbox_owner"),
        ),
        sa.ForeignKeyConstraint(
            ["company_id", "conversation_id"],
            ["conversations.company_id", "conversations.id"],
            name="fk_outbox_company_id_conversation_id",
        ),
        sa.ForeignKeyConstraint(
            ["company_id", "followup_id"],
            ["followups.company_id", "followups.id"],
            name="fk_outbox_company_id_followup_id",
        ),
        sa.ForeignKeyConstraint(
            ["company_id", "client_id"],
            ["clients.company_id", "clients.id"],
            name="fk_outbox_company_id_client_id",
        ),
        sa.ForeignKeyConstraint(
            ["company_id", "integration_id"],
            ["inbox_integrations.company_id", "inbox_integrations.id"],
            name="fk_outbox_company_id_integration_id",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.UniqueConstraint("followup_id", "step", name="uq_outbox_followup_id_step"),
        sa.UniqueConstraint("message_id", name="uq_outbox_message_id"),
    )
    op.create_index(
        "ix_outbox_unsettled",
        "outbox",
        ["state", "lease_until"],
        unique=False,
        sqlite_where=sa.text("state IN ('claimed', 'sending', 'uncertain')"),
        postgresql_where=sa.text("state IN ('claimed', 'sending', 'uncertain')"),
    )

    op.create_table(
        "quarantined_mails",
        sa.Column("id", BIG, nullable=False),
        sa.Column("integration_id", BIG, nullable=False),
        sa.Column("folder", sa.String(length=255), nullable=False),
        sa.Column("uidvalidity", sa.BigInteger(), nullable=False),
        sa.Column("uid", sa.BigInteger(), nullable=False),
        sa.Column("sender_key", sa.String(length=320), nullable=True),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("arrived_at", INSTANT, nullable=False),
        sa.Column("error", sa.String(length=500), nullable=False),
        sa.Column("attempts", BIG, server_default="1", nullable=False),
        sa.Column("next_attempt_at", INSTANT, nullable=True),
        sa.Column("created_at", INSTANT, server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(
            ["integration_id", "folder", "uidvalidity", "uid"],
            [
                "message_ledger.integration_id",
                "message_ledger.folder",
                "message_ledger.uidvalidity",
                "message_ledger.uid",
            ],
            name="fk_quarantined_mails_integration_id_folder_uidvalidity_uid",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_quarantined_mails"),
        sa.UniqueConstraint(
            "integration_id",
            "folder",
            "uidvalidity",
            "uid",
            name="uq_quarantined_mails_integration_id_folder_uidvalidity_uid",
        ),
    )
    op.create_index(
        "ix_quarantined_mails_sender",
        "quarantined_mails",
        ["sender_key", "integration_id"],
        unique=False,
    )
    op.create_index(
        "ix_quarantined_mails_sync",
        "quarantined_mails",
        ["integration_id", "next_attempt_at"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_index(
        "ix_quarantined_mails_sync",
        table_name="quarantined_mails",
    )
    op.drop_index(
        "ix_quarantined_mails_sender",
        table_name="quarantined_mails",
    )

    op.drop_table("quarantined_mails")
    op.drop_index(
        "ix_outbox_unsettled",
        table_name="outbox",
        sqlite_where=sa.text("state IN ('claimed', 'sending', 'uncertain')"),
        postgresql_where=sa.text("state IN ('claimed', 'sending', 'uncertain')"),
    )

    op.drop_table("outbox")
    op.drop_index(
        "ix_message_ledger_message_id",
        table_name="message_ledger",
    )

    op.drop_table("message_ledger")
    op.drop_table("message_attachments")
    op.drop_index(
        "uq_followup_history_sent_step",
        table_name="followup_history",
        sqlite_where=sa.text("status = 'sent'"),
        postgresql_where=sa.text("status = 'sent'"),
    )
    op.drop_index(
        "ix_followup_history_followup_id",
        table_name="followup_history",
    )

    op.drop_table("followup_history")
    op.drop_index(
        "ix_inbox_messages_in_reply_to",
        table_name="inbox_messages",
    )
    op.drop_index(
        "ix_inbox_messages_external_id",
        table_name="inbox_messages",
    )
    op.drop_index(
        "ix_inbox_messages_conversation",
        table_name="inbox_messages",
    )
    op.drop_index(
        "ix_inbox_messages_answers",
        table_name="inbox_messages",
    )
    op.drop_index(
        "ix_inbox_messages_about",
        table_name="inbox_messages",
    )

    op.drop_table("inbox_messages")
    op.drop_index(
        "ix_followups_due",
        table_name="followups",
        sqlite_where=sa.text("auto_state = 'active' AND auto_enabled"),
        postgresql_where=sa.text("auto_state = 'active' AND auto_enabled"),
    )
    op.drop_index(
        "ix_followups_company",
        table_name="followups",
    )
    op.drop_index(
        "ix_followups_client",
        table_name="followups",
    )

    op.drop_table("followups")
    op.drop_table("mailbox_states")
    op.drop_table("folder_checkpoints")
    op.drop_index(
        "ix_conversations_recent",
        table_name="conversations",
    )
    op.drop_index(
        "ix_conversations_client",
        table_name="conversations",
    )

    op.drop_table("conversations")
    op.drop_table("inbox_integrations")
    op.drop_table("inbox_folders")
    op.drop_table("company_settings")
    op.drop_table("clients")
    op.drop_index(
        "ix_cron_runs_recent",
        table_name="cron_runs",
    )

    op.drop_table("cron_runs")
    op.drop_table("companies")
