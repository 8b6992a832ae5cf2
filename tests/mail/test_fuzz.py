"""Mutations of the fixtures: no exception, nothing that a database refuses, the bounds kept."""

from __future__ import annotations

import random
from datetime import date

import pytest

from backend.app.mail.classify import classify
from backend.app.mail.message import MailKind, ParsedMail
from backend.app.mail.msgid import MAX_LENGTH
from backend.app.mail.parse import parse_headers, parse_mail
from tests.mail.fixture_mail import FIXTURES

RAWS = [path.read_bytes() for path in sorted(FIXTURES.glob("*.eml"))]
TOKENS = [b"\0", b"\r", b"\n", b"\r\n\r\n", b"--", b"=?utf-8?b?", b"?=", b"<", b">", b'"', b"\xff"]
TOKENS += [b":", b";", b"boundary=", b"charset=utf-16", b"charset=zip", b"Content-Type: ", b"=\n"]
TOKENS += [b"Content-Transfer-Encoding: base64\n", b"(", b"@", b"\xed\xa0\x80", b"begin 644 x\n"]
TOKENS += [b"message/rfc822", b"application/ms-tnef", b"format=flowed", b"text/html", b"*0*=", b"%"]


def mutate(chance: random.Random) -> bytes:
    raw = bytearray(chance.choice(RAWS))
    for _ in range(chance.randint(1, 12)):
        at = chance.randrange(len(raw) + 1)
        length = chance.choice((1, 1, 2, 8, 40))
        match chance.randrange(5):
            case 0:
                raw[at : at + length] = b""
            case 1:
                raw[at:at] = chance.choice(TOKENS)
            case 2:
                raw[at : at + 1] = bytes([chance.randrange(256)])
            case 3:
                other = chance.choice(RAWS)
                start = chance.randrange(len(other))
                raw[at:at] = other[start : start + length * 10]
            case _:
                raw[at : at + length] = raw[at : at + length] * 3
    return bytes(raw)


def texts(mail: ParsedMail) -> list[str]:
    found = [mail.subject, mail.text, mail.reply_text, mail.html or "", mail.message_id]
    found += [address.email + address.name for address in mail.recipients + mail.reply_to]
    found += [file.filename + file.content_type for file in mail.attachments]
    found += [report.text for report in mail.reports]
    found += [value for values in mail.headers.values() for value in values]
    return found + list(mail.notes) + list(mail.references)


@pytest.mark.parametrize("seed", range(20))
def test_mutated_mail_is_read_and_fits_the_database(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(60):
        raw = mutate(chance)
        mail = parse_mail(raw)
        for text in texts(mail):
            assert "\0" not in text
            text.encode("utf-8")  # raises on a lone surrogate
        assert 0 < len(mail.message_id) <= MAX_LENGTH
        assert len(mail.fingerprint) == 64
        assert mail.size == len(raw)
        found = classify(mail, frozenset({"ventes@societe.example"}))
        assert (found.bounce is not None) == (found.kind is MailKind.BOUNCE)
        assert found.back_on is None or isinstance(found.back_on, date)
        parse_headers(raw)
