"""Conversations, the quarantine and single mails, as a person reads them."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from backend.app.models import (
    Conversation,
    InboxIntegration,
    InboxMessage,
    LedgerEntry,
    MessageAttachment,
    QuarantinedMail,
)
from backend.scripts.cli.root import command
from tests.installation import Installation, mail
from tests.operate.conftest import Manage

ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp.exe\r\x08"


def add_conversation(installation: Installation, company_id: int) -> int:
    client = installation.add_client(company_id, "jean@example.fr", f"Jean {ESCAPES}")
    made = installation.add(
        Conversation(
            company_id=company_id,
            client_id=client,
            thread_key="mail:1",
            subject=f"Devis {ESCAPES}",
            unread_count=1,
            last_message_at=datetime(2026, 7, 1, 12, 5, tzinfo=UTC),
        )
    )
    for minute, (text, reply) in enumerate(
        [("Première question", None), (f"Merci{ESCAPES}\n\n\n> quoted line", f"Merci{ESCAPES}")]
    ):
        message = installation.add(
            InboxMessage(
                company_id=company_id,
                conversation_id=made,
                external_id=f"{minute}@example.fr",
                fingerprint=str(minute),
                from_name=f"Jean {ESCAPES}",
                from_email="jean@example.fr",
                subject="Devis",
                content=text,
                reply_content=reply,
                is_from_client=True,
                kind="human",
                kind_reason="no-automatic-mark",
                placement="references",
                sent_at=datetime(2026, 7, 1, 12, minute, tzinfo=UTC),
                arrived_at=datetime(2026, 7, 1, 12, minute, tzinfo=UTC),
            )
        )
    installation.add(
        MessageAttachment(
            company_id=company_id,
            message_id=message,
            position=0,
            filename=f"plan{ESCAPES}.pdf",
            content_type="application/pdf",
            size=12,
            sha256="0" * 64,
        )
    )
    return made


def test_a_conversation_is_shown_in_order_in_the_companys_time(
    manage: Manage, installation: Installation, company_id: int
) -> None:
    conversation = add_conversation(installation, company_id)
    text = manage("conversation", "show", conversation).stdout
    assert text.index("2026-07-01 14:00") < text.index("2026-07-01 14:01")  # Paris, in summer
    assert "| Première question" in text
    assert "human (no-automatic-mark); placed here by: references" in text
    assert "application" not in text
    assert "(12 bytes)" in text
    assert "quoted line" not in text
    assert "quoted line" in manage("conversation", "show", conversation, "--full").stdout


def test_a_conversation_shows_the_reminders_that_go_into_it(
    manage: Manage, installation: Installation, company_id: int
) -> None:
    conversation = add_conversation(installation, company_id)
    client = manage.json("client", "list")[0]["id"]
    followup = installation.add_followup(
        company_id,
        client,
        conversation_id=conversation,
        source_label=f"Facture {ESCAPES}",
        auto_state="held",
        auto_reason="bounced_hard",
        steps_sent=1,
        last_step_at=datetime(2026, 7, 1, 12, 0, tzinfo=UTC),
    )
    text = manage("conversation", "show", conversation).stdout
    assert f"follow-up {followup}, invoice_unpaid, Facture" in text
    assert "held: a mail to the client's address came back for good" in text
    assert "1 step sent, the last 2026-07-01 14:00" in text
    assert all(line.isprintable() for line in text.split("\n"))
    found = manage.json("conversation", "show", conversation)
    assert [row["id"] for row in found["followups"]] == [followup]


def test_conversations_of_one_client_alone(
    manage: Manage, installation: Installation, company_id: int
) -> None:
    conversation = add_conversation(installation, company_id)
    other = installation.add_client(company_id, "paul@example.fr")
    client = next(row["id"] for row in manage.json("client", "list") if row["id"] != other)
    found = manage.json("conversation", "list", "--client", client)
    assert [row["id"] for row in found] == [conversation]
    assert manage.json("conversation", "list", "--client", other) == []


def test_nothing_that_a_mail_says_reaches_the_terminal_as_a_command(
    manage: Manage, installation: Installation, company_id: int
) -> None:
    conversation = add_conversation(installation, company_id)
    for arguments in (
        ("conversation", "show", conversation),
        ("conversation", "list"),
        ("client", "list"),
    ):
        text = manage(*arguments).stdout
        assert "Jean" in text
        assert all(line.isprintable() for line in text.split("\n"))
        as_json = manage(*arguments, "--json").stdout
        assert as_json.isascii()
        assert all(line.isprintable() for line in as_json.split("\n"))


def test_a_long_conversation_shows_its_newest_messages(
    manage: Manage, installation: Installation, company_id: int
) -> None:
    conversation = add_conversation(installation, company_id)
    result = manage("conversation", "show", conversation, "--limit", 1)
    assert "Première question" not in result.stdout
    assert "older messages not shown: 1" in result.stderr
    found = manage.json("conversation", "show", conversation)
    assert found["conversation"]["messages"] == 2
    assert [message["sent_at"] for message in found["messages"]] == [
        "2026-07-01T12:00:00+00:00",
        "2026-07-01T12:01:00+00:00",
    ]
    assert [len(message["attachments"]) for message in found["messages"]] == [0, 1]


def test_conversations_and_quarantine_of_another_company_are_not_there(
    manage: Manage, installation: Installation, company_id: int, tmp_path: Path
) -> None:
    conversation = add_conversation(installation, company_id)
    quarantined = add_quarantined(installation, company_id)
    other = installation.add_company("Une autre")
    manage("conversation", "show", conversation, "--company", other, status=1)
    raw = tmp_path / "raw.eml"
    manage("quarantine", "show", quarantined, "--company", other, "--raw", raw, status=1)
    assert not raw.exists()
    assert manage.json("conversation", "list", "--company", other) == []
    assert manage.json("quarantine", "list", "--company", other) == []
    assert len(manage.json("quarantine", "list", "--company", company_id)) == 1


def add_quarantined(installation: Installation, company_id: int) -> int:
    box = installation.add(
        InboxIntegration(
            company_id=company_id, email="a@b.fr", imap_host="i.test", username="u", secret="x"
        )
    )
    place = {"integration_id": box, "folder": "INBOX", "uidvalidity": 1, "uid": 7}
    installation.change(lambda session: session.add(LedgerEntry(**place, state="quarantined")))
    return installation.add(
        QuarantinedMail(
            **place,
            sender_key="jean@example.fr",
            raw=b"From: jean@example.fr\r\n\r\n\x00\xff",
            arrived_at=datetime(2026, 7, 1, 12, 0, tzinfo=UTC),
            error=f"ValueError: {ESCAPES}",
        )
    )


def test_a_quarantined_mail_is_written_as_it_came_for_its_owner_alone(
    manage: Manage, installation: Installation, company_id: int, tmp_path: Path
) -> None:
    quarantined = add_quarantined(installation, company_id)
    raw = tmp_path / "raw.eml"
    text = manage("quarantine", "show", quarantined, "--raw", raw).stdout
    assert raw.read_bytes() == b"From: jean@example.fr\r\n\r\n\x00\xff"
    assert stat.S_IMODE(raw.stat().st_mode) == 0o600
    assert "UID 7" in text
    assert all(line.isprintable() for line in text.split("\n"))
    [row] = manage.json("quarantine", "list")
    assert (row["size"], row["company_id"], row["attempts"]) == (27, company_id, 1)


def test_a_file_that_is_there_is_not_written_over(
    manage: Manage, installation: Installation, company_id: int, tmp_path: Path
) -> None:
    quarantined = add_quarantined(installation, company_id)
    raw = tmp_path / "raw.eml"
    raw.write_text("mine")
    manage("quarantine", "show", quarantined, "--raw", raw, status=1)
    assert raw.read_text() == "mine"


RAW = mail(
    sender="=?utf-8?q?L=C3=A9a?= <lea@example.fr>",
    to="contact@atelier.test",
    subject="Devis",
    text="Bonjour,\r\n\r\nD'accord.\r\n",
    message_id="<a1@example.fr>",
    In_Reply_To="<b2@atelier.test>",
)
NOWHERE = {"CREDENTIALS_KEYS": "", "DATABASE_URL": "postgresql://127.0.0.1:1/none"}


def show_mail(*arguments: str, raw: bytes = RAW) -> str:
    """`mail show`, on an installation that has neither key nor database."""
    environment = {**NOWHERE, "RELANCE_ENV_FILE": "/nonexistent"}
    result = CliRunner().invoke(command, ["mail", "show", *arguments], input=raw, env=environment)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_mail_is_shown_without_database_and_without_key(tmp_path: Path) -> None:
    file = tmp_path / "mail.eml"
    file.write_bytes(RAW)
    for text in (show_mail(str(file)), show_mail("-")):
        assert "kind         human (no-automatic-mark)" in text
        assert "from         Léa <lea@example.fr>" in text
        assert "in-reply-to  b2@atelier.test" in text
        assert "| D'accord." in text


def test_a_mail_as_json_has_the_names_of_the_parsers_values() -> None:
    found = json.loads(show_mail("-", "--json"))
    assert found["message_id"] == "a1@example.fr"
    assert found["sender"] == {"email": "lea@example.fr", "name": "Léa"}
    assert found["classification"]["kind"] == "human"
    assert found["attachments"] == []


def test_our_own_address_makes_a_mail_our_own() -> None:
    found = json.loads(show_mail("-", "--json", "--own", "LEA@example.fr"))
    assert found["classification"]["kind"] == "own"


@pytest.mark.parametrize(
    "raw", [b"", b"\x00" * 100, f"Subject: {ESCAPES}\r\n\r\n{ESCAPES}".encode(), b"\xff" * 99]
)
def test_hostile_bytes_are_shown_harmlessly(raw: bytes) -> None:
    assert all(line.isprintable() for line in show_mail("-", raw=raw).split("\n"))
    json.loads(show_mail("-", "--json", raw=raw))
