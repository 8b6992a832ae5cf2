"""Mails built to cost much: each is read within its bounds, and says so in a note."""

from __future__ import annotations

import base64

import pytest

from backend.app.mail.classify import classify
from backend.app.mail.limits import Limits
from backend.app.mail.parse import parse_headers, parse_mail

HEAD = b"From: a@b.example\r\nSubject: x\r\nMessage-ID: <1@x>\r\n"


def multipart(parts: list[bytes]) -> bytes:
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts)
    return HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + body + b"--b--\r\n"


def nested(levels: int) -> bytes:
    out = HEAD + b"Content-Type: multipart/mixed; boundary=b0\r\n\r\n"
    for level in range(levels):
        out += b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (level, level + 1)
    return out + b"--b%d\r\n\r\nhello\r\n" % levels


@pytest.mark.parametrize("levels", [100, 20_000])
def test_nesting_is_bounded_and_what_is_deeper_is_kept_whole(levels: int) -> None:
    mail = parse_mail(nested(levels))
    assert "multiparts nested deeper than 20 levels kept whole" in mail.notes
    assert b"hello" in mail.attachments[0].content


def test_nesting_within_the_bound_is_read() -> None:
    assert parse_mail(nested(15)).text == "hello"


def test_a_hundred_thousand_headers_keep_the_identity() -> None:
    many = b"".join(b"X-%d: v\r\n" % number for number in range(100_000))
    mail = parse_mail(many + HEAD + b"\r\nbody")
    assert sum(len(values) for values in mail.headers.values()) <= 1_000 + 3
    assert mail.message_id == "1@x"
    assert mail.fingerprint == parse_headers(HEAD).fingerprint
    assert mail.text == "body"
    assert "headers beyond the first 1000 dropped" in mail.notes


def test_ten_thousand_parts_are_bounded() -> None:
    mail = parse_mail(multipart([b"Content-Type: image/png\r\n\r\nx"] * 10_000))
    assert len(mail.attachments) < 1_000
    assert "more than 1000 parts: the rest is left out" in mail.notes


def test_what_unpacks_to_too_much_is_left_out() -> None:
    part = b"Content-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    part += base64.encodebytes(b"x" * 40_000)
    mail = parse_mail(multipart([part] * 5), Limits(decoded_bytes=100_000))
    assert sum(len(file.content) for file in mail.attachments) <= 100_000
    assert len(mail.attachments) == 2
    assert "a part is left out: the mail unpacks to too much" in mail.notes


def test_the_text_is_bounded() -> None:
    mail = parse_mail(HEAD + b"\r\n" + b"a" * 5_000, Limits(text_chars=1_000))
    assert len(mail.text) == 1_000
    assert mail.notes == ("text cut at 1000 characters",)


@pytest.mark.parametrize(
    "html",
    [
        b"<div>" * 50_000,
        b"<script>" * 50_000,
        b"".join(b"<b class=%d>" % number for number in range(20_000)),
        b"<a " + b"".join(b"x%d=1 " % number for number in range(50_000)) + b">",
    ],
    ids=["nesting", "scripts", "formatting", "attributes"],
)
def test_html_that_would_hold_up_the_sanitiser_never_reaches_it(html: bytes) -> None:
    mail = parse_mail(HEAD + b"Content-Type: text/html\r\n\r\nBonjour " + html)
    assert mail.html is None
    assert mail.text == "Bonjour"
    assert "HTML too large or too deeply nested: only its text is kept" in mail.notes


def test_unclosed_paragraphs_and_cells_are_no_nesting() -> None:
    html = b"<table>" + b"<tr><td><p>x" * 3_000 + b"</table>"
    assert parse_mail(HEAD + b"Content-Type: text/html\r\n\r\n" + html).html is not None


@pytest.mark.parametrize(
    "raw",
    [
        b"Subject: " + b"=?utf-8?q?a?= " * 50_000 + b"\r\n\r\n",
        b"To: " + b'"' * 100_000 + b"\r\n\r\n",
        b"To: " + b"a@b.c, " * 100_000 + b"\r\n\r\n",
        b"References: " + b"<a@b> " * 100_000 + b"\r\n\r\n",
        b"Content-Type: text/plain; " + b"a*0*=\"'" * 50_000 + b"\r\n\r\nx",
        b"Subject: x\n" + b"foo\n" * 100_000 + b"X-A: b\n\n",
        HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"\n--bx" * 500_000,
        HEAD + b"\r\n" + b"On 1\n" * 100_000,
        HEAD + b"\r\n" + b"From: x\n" * 100_000,
        HEAD + b"\r\n" + b"begin 644 a\n!\n" * 50_000,
        HEAD + b"Content-Type: text/plain; format=flowed\r\n\r\n" + b"a \n" * 100_000,
        b"Return-Path: <>\nFrom: MAILER-DAEMON\n\n" + b"X-a: b\n" * 50_000,
        b"Return-Path: <>\nFrom: MAILER-DAEMON\n\n" + b"delivery to " * 50_000,
        # White space that a pattern for the whole block shared out in 8^30 ways.
        b"Return-Path: <>\nFrom: MAILER-DAEMON\n\nTo: x\n" + b"         x\n" * 40,
    ],
)
def test_repetition_ends(raw: bytes) -> None:
    mail = parse_mail(raw)
    classify(mail, frozenset())
    assert len(mail.text) <= 1_000_000
    assert len(mail.to) <= 500
    assert all(len(v) <= 4_000 for values in mail.headers.values() for v in values)
