"""manage.py conversation"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from backend.scripts.cli.commands import (
    ROW_ID,
    company_option,
    examples,
    id_argument,
    json_option,
    limit_option,
    tell_if_cut,
)
from backend.scripts.cli.terminal import clean_block, local_time, say, show_json, show_table

if TYPE_CHECKING:
    from backend.app.store.admin_records import ConversationRow, FollowupRow, MessageRow


@click.group(epilog=examples("conversation list --company 1", "conversation show 98"))
def command() -> None:
    """Conversations of the shared inbox."""


@command.command(
    "list", epilog=examples("conversation list --company 1", "conversation list --json")
)
@company_option()
@click.option("--client", "client_id", type=ROW_ID, metavar="ID", help="Only this client's.")
@limit_option()
@json_option
def list_(company_id: int | None, client_id: int | None, limit: int, as_json: bool) -> None:
    """List conversations, the latest first. Times are this host's.

    `--client ID` shows those of one client alone.
    """
    from backend.app import db
    from backend.app.store import admin_inbox
    from backend.scripts.cli.installation import opened

    with opened():
        rows = db.read(admin_inbox.list_conversations, company_id, limit, client_id)
    if as_json:
        show_json(rows)
    else:
        show_table(
            ("ID", "LAST MESSAGE", "STATUS", "MAILS", "UNREAD", "CLIENT", "SUBJECT"),
            [
                (
                    row.id,
                    local_time(row.last_message_at),
                    row.status,
                    row.messages,
                    row.unread_count,
                    _client(row),
                    row.subject,
                )
                for row in rows
            ],
        )
    tell_if_cut(len(rows), limit)


def _client(row: ConversationRow) -> str:
    return row.client_name or row.client_email or "-"


@command.command("show", epilog=examples("conversation show 98", "conversation show 98 --full"))
@id_argument("conversation_id")
@company_option()
@click.option("--full", is_flag=True, help="Show what each mail quotes, too.")
@limit_option()
@json_option
def show(
    conversation_id: int, company_id: int | None, full: bool, limit: int, as_json: bool
) -> None:
    """Show the newest messages of a conversation in order. Times are the company's."""
    from backend.app import db
    from backend.app.store import admin_followups, admin_inbox, admin_tenants
    from backend.scripts.cli.installation import opened

    with opened():
        row = db.read(admin_inbox.load_conversation, company_id, conversation_id)
        company = db.read(admin_tenants.load_company_row, row.company_id)
        messages = db.read(admin_inbox.list_messages, conversation_id, limit)
        followups = db.read(admin_followups.list_in_conversation, conversation_id)
    if as_json:
        show_json({"conversation": row, "messages": messages, "followups": followups})
        return
    say(f"conversation {row.id} with {_client(row)}: {row.subject}")
    say(f"  {row.status}, {row.unread_count} unread, in {row.folder or 'no folder'}")
    for message in messages:
        say()
        _say_message(message, company.timezone, full=full)
    if followups:
        say()
    for followup in followups:
        _say_followup(followup, company.timezone)
    if row.messages > len(messages):
        say(f"older messages not shown: {row.messages - len(messages)}; see --limit", err=True)


def _say_followup(row: FollowupRow, zone: str) -> None:
    from backend.app.operate.explain import meaning_of

    why = f": {meaning_of(row.auto_reason)}" if row.auto_reason else ""
    say(f"follow-up {row.id}, {row.type}, {row.source_label or 'no label'}: {row.auto_state}{why}")
    steps = f"{row.steps_sent} step{'' if row.steps_sent == 1 else 's'}"
    sent = f"{steps} sent, the last {local_time(row.last_step_at, zone)}"
    next_look = f"; looked at again {local_time(row.next_action_at, zone)}"
    active = next_look if row.auto_state == "active" else ""
    say(f"  {sent if row.steps_sent else 'nothing sent yet'}{active}")
    say(f"  more: manage.py followup explain {row.id}")


def _say_message(message: MessageRow, zone: str, *, full: bool) -> None:
    who = message.from_name or message.from_email or "unknown"
    direction = "by us," if message.kind == "own" else "from"
    say(f"{local_time(message.sent_at, zone)}  {direction} {who} <{message.from_email}>")
    to = ", ".join(message.recipients)
    say(f"  to {to}" if to else "  to nobody that it names")
    say(f"  {message.kind} ({message.kind_reason}); placed here by: {message.placement}")
    for note in message.notes:
        say(f"  note: {note}")
    text = message.content if full or message.reply_content is None else message.reply_content
    if block := clean_block(text, indent="  | "):
        click.echo(block)
    if message.attachments:
        files = ", ".join(f"{file.filename} ({file.size} bytes)" for file in message.attachments)
        say(f"  attached: {files}")


@command.command("fetch", epilog=examples("conversation fetch 98"))
@id_argument("conversation_id")
@company_option()
@json_option
def fetch(conversation_id: int, company_id: int | None, as_json: bool) -> None:
    """Fetch the files of mails that were too large to be fetched whole.

    They are read in pieces, so that a file of any size costs little memory.
    """
    from backend.app import db
    from backend.app.operate.large_mail import fetch_conversation
    from backend.app.store import admin_inbox
    from backend.scripts.cli.installation import opened

    with opened() as installation:
        row = db.read(admin_inbox.load_conversation, company_id, conversation_id)
        settings, vault = installation.settings, installation.vault
        found = list(fetch_conversation(settings, vault, row.company_id, conversation_id))
    if as_json:
        show_json(found)
        return
    for message in found:
        for file in message.files:
            say(f"message {message.message_id}: {file.filename} ({file.size} bytes)")
    if not found:
        say("nothing stayed on the server")
