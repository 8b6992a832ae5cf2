"""The file that goes with a reminder: which one it may be, and what holds the reminder."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.app.followups import documents
from backend.app.followups.documents import DocumentUnusable, load_document
from backend.app.models import Followup
from tests.followups.office import Office

PDF = b"%PDF-1.7\n" + bytes(range(256)) * 40


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Documents of company 1, one of company 2, and a file outside."""
    for company in ("1", "2"):
        (tmp_path / "documents" / company / "2026").mkdir(parents=True)
        (tmp_path / "documents" / company / "2026" / "Facture n° 12.pdf").write_bytes(PDF)
    (tmp_path / "secret.pdf").write_bytes(b"not for clients")
    inside = tmp_path / "documents" / "1"
    (inside / "empty.pdf").touch()
    (inside / "huge.pdf").write_bytes(b"x" * (documents.MOST_BYTES + 1))
    (inside / "link.pdf").symlink_to(tmp_path / "secret.pdf")
    return tmp_path / "documents"


def test_a_document_of_the_company(root: Path) -> None:
    file = load_document(root, 1, "2026/Facture n° 12.pdf")
    assert (file.filename, file.content_type, file.content, file.inline) == (
        "Facture n° 12.pdf",
        "application/pdf",
        PDF,
        False,
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("2026/other.pdf", "there is no such file"),
        ("2026", "there is no such file"),
        ("", "there is no such file"),
        ("../2/2026/Facture n° 12.pdf", "not below the company's directory"),
        ("/etc/passwd", "not below the company's directory"),
        ("link.pdf", "not below the company's directory"),
        ("empty.pdf", "the file is empty"),
        ("huge.pdf", "larger than 7 MB"),
        ("a\0b.pdf", "cannot be read"),
        ("x" * 300, "cannot be read|no such file"),
    ],
)
def test_what_cannot_go_with_a_reminder(root: Path, name: str, words: str) -> None:
    with pytest.raises(DocumentUnusable, match=words):
        load_document(root, 1, name)


def test_a_reminder_with_its_invoice(office: Office, root: Path) -> None:
    office.installation.extra["DOCUMENTS_DIR"] = str(root)
    office.reminder(document="2026/Facture n° 12.pdf")

    assert office.send().counts == {"sent": 1}

    (mail,) = office.delivered()
    (file,) = mail.attachments
    assert (file.filename, file.content_type, file.content) == (
        "Facture n° 12.pdf",
        "application/pdf",
        PDF,
    )
    assert mail.html is not None
    assert mail.notes == ()


def test_a_missing_document_holds_the_reminder_and_says_which(office: Office, root: Path) -> None:
    office.installation.extra["DOCUMENTS_DIR"] = str(root)
    followup, other = office.reminder(document="2026/13.pdf"), office.reminder("other")

    assert office.send().counts == {"held": 1, "sent": 1}

    assert office.state(followup) == (
        "held",
        "document_unusable: there is no such file: 2026/13.pdf",
    )
    assert office.followup(other).steps_sent == 1
    office.installation.set(
        Followup, followup, document="2026/Facture n° 12.pdf", auto_state="active"
    )
    assert office.send(followup_id=followup).counts == {"sent": 1}
