from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from backend.app.mail.compose import compose
from backend.app.mail.message import Address, Attachment, OutgoingMail
from backend.app.mail.parse import parse_mail

MAIL = OutgoingMail(
    message_id="relance-7@societe.example",
    sender=Address("ventes@societe.example", "Société « Été », ventes"),
    recipient=Address("paul@client.example", 'Paul "le" Client, SARL'),
    subject="Relance : facture n° 2025-031 échue — 1 234,56 €",
    text="Bonjour,\n\nVotre facture est échue.\n.point seul\nFrom ici\nfin  \n\n-- \nÉlodie",
    date=datetime(2025, 3, 3, 10, 12, tzinfo=timezone(timedelta(hours=1))),
)
FULL = replace(
    MAIL,
    html="<p>Bonjour,</p>\n<p>Votre facture est <b>échue</b>.</p>",
    reply_to=Address("compta@societe.example", "Comptabilité"),
    in_reply_to="r2@client.example",
    references=("r1@client.example", f"{'x' * 200}@client.example", "r2@client.example"),
    attachments=(
        Attachment("Facture n° 31 – échue.pdf", "application/pdf", bytes(range(256)) * 40),
        Attachment("a.txt", "text/plain", b"From \n.\n"),
    ),
    extra_headers={"X-Relance-Etape": "deux, échéance"},
)


@pytest.mark.parametrize("mail", [MAIL, FULL], ids=["text", "everything"])
def test_every_field_reads_back_equal(mail: OutgoingMail) -> None:
    read = parse_mail(compose(mail))
    assert read.message_id == mail.message_id
    assert read.sender == mail.sender
    assert read.to == (mail.recipient,)
    assert read.subject == mail.subject
    assert read.text == mail.text
    assert read.date == mail.date.astimezone(UTC)
    assert read.reply_to == ((mail.reply_to,) if mail.reply_to else ())
    assert read.in_reply_to == ((mail.in_reply_to,) if mail.in_reply_to else ())
    assert read.references == mail.references
    assert read.header("auto-submitted") == "auto-generated"
    assert read.header("content-language") == "fr"
    assert read.notes == ()
    found = [(file.filename, file.content_type, file.content) for file in read.attachments]
    assert found == [(f.filename, f.content_type, f.content) for f in mail.attachments]
    for name, value in mail.extra_headers.items():
        assert read.header(name) == value
    if mail.html is not None:
        assert read.html == mail.html


@pytest.mark.parametrize(
    "text",
    [
        "",
        "court",
        "é" * 5_000,
        "x" * 5_000,
        "見積書です。\n" * 200,
        "a\n" * 3,
        "=_a\n--=_b",
        "\ttab",
    ],
)
@pytest.mark.parametrize("subject", ["", "x", "é" * 300, "a " * 300 + "b", "=?utf-8?q?a?=", "=_"])
def test_lines_are_short_seven_bit_and_end_in_crlf(text: str, subject: str) -> None:
    html = FULL.html if text else None  # an empty text would be made from the HTML
    raw = compose(replace(FULL, text=text, html=html, subject=subject))
    assert raw.isascii()
    assert raw.count(b"\n") == raw.count(b"\r\n") == raw.count(b"\r")
    assert max(len(line) for line in raw.split(b"\r\n")) <= 998
    read = parse_mail(raw)
    assert read.text.strip() == text.strip()
    assert read.subject == " ".join(subject.split())


def test_the_same_mail_gives_the_same_bytes() -> None:
    assert compose(FULL) == compose(FULL)


def test_auto_submitted_only_when_asked() -> None:
    assert b"Auto-Submitted" not in compose(replace(MAIL, auto_submitted=False))


def test_a_picture_of_the_html_stands_beside_it() -> None:
    logo = Attachment("logo.png", "image/png", b"\x89PNG", content_id="logo@x", inline=True)
    raw = compose(replace(MAIL, html='<p>x</p><img src="cid:logo@x">', attachments=(logo,)))
    assert b"multipart/related" in raw
    assert parse_mail(raw).attachments == (logo,)


def test_a_national_domain_is_written_in_ascii() -> None:
    mail = replace(MAIL, recipient=Address("paul@café.example"))
    assert parse_mail(compose(mail)).to == (Address("paul@xn--caf-dma.example"),)


def test_an_ancestor_that_no_header_can_carry_is_left_out() -> None:
    mail = replace(MAIL, in_reply_to="é@x", references=("a@x", "b c@x", "d@x"))
    read = parse_mail(compose(mail))
    assert (read.in_reply_to, read.references) == ((), ("a@x", "d@x"))


EVIL = "x\r\nBcc: victim@example.com"
INJECTIONS = {
    "message_id": {"message_id": EVIL},
    "sender": {"sender": Address("a@b.example", EVIL)},
    "sender email": {"sender": Address("a@b.example\r\nX: y")},
    "recipient": {"recipient": Address("a@b.example", "x\0y")},
    "recipient email": {"recipient": Address("a@b.example\n")},
    "subject": {"subject": EVIL},
    "subject with cr": {"subject": "a\rb"},
    "reply_to": {"reply_to": Address("a@b.example", EVIL)},
    "in_reply_to": {"in_reply_to": EVIL},
    "references": {"references": ("a@b", EVIL)},
    "language": {"language": "fr\r\nX: y"},
    "extra_headers value": {"extra_headers": {"X-A": EVIL}},
    "extra_headers name": {"extra_headers": {"X-A\r\nBcc": "v"}},
    "attachments filename": {"attachments": (Attachment(EVIL, "text/plain", b""),)},
    "attachments content_type": {"attachments": (Attachment("a", "text/plain\r\nX: y", b""),)},
    "attachments content_id": {"attachments": (Attachment("a", "a/b", b"", content_id=EVIL),)},
    "text": {"text": "a\0b"},
    "html": {"html": "a\0b"},
}


@pytest.mark.parametrize("name", INJECTIONS)
def test_header_injection_is_refused_by_the_name_of_the_field(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name.split()[0]}"):
        compose(replace(MAIL, **INJECTIONS[name]))  # type: ignore[arg-type]


REFUSED = {
    "date": {"date": datetime(2025, 3, 3)},  # noqa: DTZ001 - the case under test
    "recipient": {"recipient": Address("no address")},
    "sender": {"sender": Address("é@b.example")},
    "subject": {"subject": "\ud800"},
    "text": {"text": "\ud800"},
    "extra_headers": {"extra_headers": {"Subject": "twice"}},
    "attachments": {"attachments": (Attachment("a", "nonsense", b""),)},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_written_is_refused_by_the_name_of_the_field(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}"):
        compose(replace(MAIL, **REFUSED[name]))  # type: ignore[arg-type]
