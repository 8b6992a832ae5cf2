"""Mutations of the fixtures: no exception, nothing that a database refuses, the bounds kept."""

from __future__ import annotations

import random
from datetime import date

import pytest

from backend.app.mail.classify import classify
from backend.app.mail.message import MailKind, ParsedMail
from backend.app.mail.msgid import MAX_LENGTH
from backend.app.mail.parse import parse_headers, parse_mail
from tests.mail.hostile import SMALL_BOMBS, mutated, read_all


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
        raw = mutated(chance)
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


@pytest.mark.parametrize("name", SMALL_BOMBS)
def test_bomb_is_read_within_its_bounds_and_says_so(name: str) -> None:
    build, words = SMALL_BOMBS[name]
    mail = read_all(build())
    assert any(words in note for note in mail.notes) or not words
    assert len(mail.attachments) < 1_000
