"""A mail too large to be fetched whole: its text comes, its files when somebody asks."""

from __future__ import annotations

import base64
import hashlib
import os

import pytest

from backend.app.inbox.files import attachment_path
from backend.app.models import MessageAttachment
from tests.inbox.desk import Desk, Fetches

FILE = os.urandom(300_000)


def large_mail(desk: Desk, content: bytes = FILE, subject: str = "Les plans") -> bytes:
    head, _, text = desk.mail(subject, text="Voici les plans.\r\n").partition(b"\r\n\r\n")
    fields = [x for x in head.split(b"\r\n") if not x.lower().startswith((b"content-", b"mime-"))]
    return b"\r\n".join(
        [
            *fields,
            b"MIME-Version: 1.0",
            b'Content-Type: multipart/mixed; boundary="b"',
            b"",
            b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + text,
            b"--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n"
            b'Content-Disposition: attachment; filename="plans.pdf"\r\n',
            base64.encodebytes(content).replace(b"\n", b"\r\n"),
            b"--b--\r\n",
        ]
    )


@pytest.fixture
def large(desk: Desk, fetches: Fetches) -> Desk:
    desk.installation.extra["SYNC_LARGE_BYTES"] = "100000"
    desk.receive(desk.mail("before"))
    desk.receive(large_mail(desk))
    desk.receive(desk.mail("behind"))
    return desk


def test_only_the_text_of_a_large_mail_is_fetched(large: Desk, fetches: Fetches) -> None:
    assert large.sync() == {"mailboxes": 1, "stored": 3}
    assert fetches.uids == [large.uids()[0], large.uids()[2]]  # no whole body of the second
    message = large.message("Les plans")
    assert message.content.strip() == "Voici les plans."
    (note,) = [note for note in message.notes if "too large" in note]
    assert "plans.pdf (0.4 MB)" in note
    assert "manage.py conversation fetch" in note
    assert large.installation.count(MessageAttachment) == 0
    assert large.ledger() == {"stored": 3}
    assert large.subjects() == ["Les plans", "before", "behind"]


def test_a_large_mail_that_comes_as_new_mail_keeps_its_place(large: Desk) -> None:
    large.sync()
    large.receive(large_mail(large, subject="Encore"))
    large.receive(large.mail("last"))
    assert large.sync() == {"mailboxes": 1, "stored": 2}
    assert [m.subject for m in large.messages()][-2:] == ["Encore", "last"]


def test_a_large_mail_is_known_by_its_headers_after_a_renumbering(large: Desk) -> None:
    large.sync()
    large.server.new_uidvalidity(large.account)
    assert large.sync() == {"mailboxes": 1, "duplicate": 3}


def test_the_files_come_when_somebody_asks(large: Desk) -> None:
    large.sync()
    conversation = large.message("Les plans").conversation_id
    done = large.installation.script("manage", "conversation", "fetch", conversation)
    assert done.returncode == 0, done.stderr
    assert f"plans.pdf ({len(FILE)} bytes)" in done.stdout
    (row,) = large.installation.rows(MessageAttachment)
    assert (row.filename, row.content_type, row.size) == ("plans.pdf", "application/pdf", len(FILE))
    root = large.installation.settings.attachments_dir
    assert attachment_path(root, large.company, row.sha256).read_bytes() == FILE
    assert row.sha256 == hashlib.sha256(FILE).hexdigest()
    assert not any("manage.py" in note for note in large.message("Les plans").notes)
    again = large.installation.script("manage", "conversation", "fetch", conversation)
    assert "nothing stayed on the server" in again.stdout


def test_files_of_a_mail_that_was_deleted_are_refused(large: Desk) -> None:
    large.sync()
    conversation = large.message("Les plans").conversation_id
    large.expunge(large.uids()[1])
    done = large.installation.script("manage", "conversation", "fetch", conversation)
    assert done.returncode == 1
    assert "on no server any more" in done.stderr
