from __future__ import annotations

from datetime import UTC, datetime

import pytest

from backend.app.mail.message import Address
from backend.app.mail.parse import parse_headers, parse_mail
from tests.mail.fixture_mail import FIXTURES, parse_fixture, raw_fixture

TEXTS = {
    "utf8_declared_as_latin1": "Le devis est accepté, à bientôt.",
    "cp1252_in_unknown_charset": "Facture réglée, 40 € d’indemnité comprise.",
    "iso_2022_jp": "見積書です。",
    "boundary_declared_wrong": "Voir le fichier.",
    "closing_boundary_missing_inside": "Texte seul.",
    "uuencoded_file_in_text": "Voici le fichier.\n\n\n\nPaul",
    "flowed_with_delsp": "Un paragraphe long.\nFrom ici.\n-- \nPaul",
    "nul_controls_and_surrogate": "ABCD",
    "bare_cr_line_ends": "Bonjour.\nAu revoir.",
    "html_with_script_and_form": (
        "Bonjour ici et le devis <https://client.example/devis>\n\n- un\n- deux"
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_is_what_the_sender_wrote(name: str) -> None:
    assert parse_fixture(name).text == TEXTS[name]


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("subject_words_split_in_mid_character", "Facture réglée (suite)"),
        ("iso_2022_jp", "見術書"),
        ("raw_8bit_headers", "Réunion reportée"),
        ("nul_controls_and_surrogate", "Devis [31mrouge"),
    ],
)
def test_subject_is_decoded(name: str, subject: str) -> None:
    assert parse_fixture(name).subject == subject


REPLIES = {
    "reply_top_posted_french": "Bonjour,\n\nC'est d'accord pour le devis.",
    "reply_below_each_quote_english": "Yes, we do.\n\n\nNext Monday.",
    "reply_outlook_block_german": "Das Angebot passt für uns.",
    "reply_gmail_html_only": "Nous acceptons le devis.",
    "reply_outlook_html_only": "Le devis est accepté.",
}


@pytest.mark.parametrize("name", REPLIES)
def test_reply_text_leaves_out_the_quote_and_text_keeps_it(name: str) -> None:
    mail = parse_fixture(name)
    assert mail.reply_text == REPLIES[name]
    assert len(mail.text) > len(mail.reply_text)


def test_a_forwarded_mail_is_no_quote() -> None:
    mail = parse_fixture("forward_with_a_word_above")
    assert mail.reply_text == mail.text
    assert "Le virement est parti." in mail.reply_text


FILES = {
    "boundary_declared_wrong": [("devis.pdf", b"%PDF-1.4\n")],
    "closing_boundary_missing_inside": [("lignes.csv", b"a;b")],
    "file_name_continued_rfc2231": [("Conditions générales de vente.pdf", b"%PDF")],
    "file_name_with_path_and_override": [("facturefdp.exe", b"\0\1\2")],
    "uuencoded_file_in_text": [("note.txt", b"Ceci est connu.")],
    "fold_lost_its_space": [("archive.zip", b"PK\3\4")],
}


@pytest.mark.parametrize("name", FILES)
def test_files_keep_their_bytes_and_get_a_safe_name(name: str) -> None:
    found = [(file.filename, file.content) for file in parse_fixture(name).attachments]
    assert found == FILES[name]


def test_a_mail_in_a_mail_is_a_file_and_an_original() -> None:
    mail = parse_fixture("mail_forwarded_as_file")
    assert [file.filename for file in mail.attachments] == ["Virement du 3.eml"]
    assert "v1@banque.example" in mail.reports[0].text
    assert mail.text == "Voir le message joint."


def test_html_is_sanitised_and_keeps_what_is_harmless() -> None:
    html = parse_fixture("html_with_script_and_form").html or ""
    for gone in ("script", "alert", "onclick", "onload", "javascript", "<form", "<input", "color"):
        assert gone not in html
    assert 'href="https://client.example/devis"' in html
    assert "<li>deux</li>" in html


def test_a_comma_in_a_name_and_a_group_are_read_as_meant() -> None:
    mail = parse_fixture("two_senders_and_a_group")
    assert mail.sender == Address("anne@client.example", "Dupont, Anne")
    assert [address.email for address in mail.to] == ["un@societe.example", "deux@societe.example"]
    assert mail.cc == ()


def test_what_was_repaired_is_noted() -> None:
    assert parse_fixture("utf8_declared_as_latin1").notes == ("charset iso-8859-1 read as utf-8",)
    assert parse_fixture("boundary_declared_wrong").notes == (
        "multipart boundary missing or wrong: guessed",
    )


def test_date_is_an_aware_utc_instant() -> None:
    expected = datetime(2025, 3, 3, 9, 12, tzinfo=UTC)
    assert parse_fixture("reply_top_posted_french").date == expected


@pytest.mark.parametrize("raw", [b"", b"\n", b"\0", b":", b"\xff" * 50, b"From:", b"--\n--", b" "])
def test_nothing_makes_it_raise(raw: bytes) -> None:
    mail = parse_mail(raw)
    assert mail.synthetic_id
    assert len(mail.fingerprint) == 64


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.eml")), ids=lambda path: path.stem)
def test_headers_alone_tell_the_same_identity(path: object) -> None:
    raw = raw_fixture(path.stem)  # type: ignore[attr-defined]
    mail, summary = parse_mail(raw), parse_headers(raw.split(b"\n\n")[0])
    if mail.synthetic_id:
        assert (summary.message_id, summary.fingerprint) == (None, None)
    else:
        assert (summary.message_id, summary.fingerprint) == (mail.message_id, mail.fingerprint)
    assert (summary.date, summary.references) == (mail.date, mail.references)


def test_fingerprint_survives_what_servers_do_to_headers() -> None:
    one = (
        b"Message-ID: <a@b.example>\r\nFrom: =?utf-8?q?Andr=C3=A9?= <Andre@b.example>\r\n"
        b"Date: Mon, 3 Mar 2025 10:12:00 +0100\r\nSubject: =?utf-8?q?Devis_accept=C3=A9?=\r\n\r\n"
    )
    other = (
        "Subject: =?iso-8859-1?b?RGV2aXMg?=\r\n =?iso-8859-1?q?accept=E9?=\r\n"
        "Date:  Mon, 03 Mar 2025 09:12:00 GMT\r\nFrom:\r\n André <andre@b.example>\r\n"
        "Message-Id:\r\n <a@b.example>\r\n\r\n"
    ).encode()
    assert parse_headers(one).fingerprint == parse_headers(other).fingerprint


@pytest.mark.parametrize(
    ("part", "instead"),
    [
        (b"<c1@client.example>", b"<c9@client.example>"),
        (b"paul@client", b"anne@client"),
        (b"10:12:00", b"10:12:01"),
        (b"Subject: Devis", b"Subject: Facture"),
    ],
)
def test_fingerprint_tells_two_mails_apart(part: bytes, instead: bytes) -> None:
    raw = raw_fixture("utf8_declared_as_latin1")
    assert part in raw
    assert parse_mail(raw).fingerprint != parse_mail(raw.replace(part, instead)).fingerprint


def test_without_message_id_the_body_is_part_of_the_identity() -> None:
    raw = raw_fixture("no_message_id")
    first, again, other = parse_mail(raw), parse_mail(raw), parse_mail(raw + b"Second.\n")
    assert first.message_id == again.message_id
    assert first.message_id.endswith("@synthetic.invalid")
    assert first.fingerprint == again.fingerprint
    assert first.message_id != other.message_id
    assert first.fingerprint != other.fingerprint
