"""BODYSTRUCTURE as servers send it, and parts decoded as they come."""

from __future__ import annotations

import base64
import os
import quopri
from collections.abc import Iterator

import pytest
from imapclient.response_parser import parse_fetch_response

from backend.app.mail.parse import parse_mail
from backend.app.mail.structure import Leaf, decode_stream, read_structure, text_of_mail

TEXT = b'("text" "plain" ("charset" "utf-8") NIL NIL "8bit" 12 1 NIL NIL NIL NIL)'
HTML = b'("TEXT" "HTML" ("CHARSET" "iso-8859-1") NIL NIL "QUOTED-PRINTABLE" 40 2)'
PDF = (
    b'("application" "pdf" ("name" "a.pdf") "<x@y>" NIL "base64" 90000000 NIL '
    b'("attachment" ("filename*" "utf-8\'\'plan%20d\'%C3%A9tage.pdf")) NIL NIL)'
)
FORWARDED = (
    b'("message" "rfc822" NIL NIL NIL "7bit" 500 (NIL "s" NIL NIL NIL NIL NIL NIL NIL NIL) '
    + TEXT
    + b' 10 NIL ("attachment" ("filename" "old.eml")) NIL NIL)'
)


def parsed(structure: bytes) -> list[Leaf]:
    rows = parse_fetch_response([b"1 (UID 1 BODYSTRUCTURE " + structure + b")"])
    return read_structure(rows[1][b"BODYSTRUCTURE"])


@pytest.mark.parametrize(
    ("structure", "leaves"),
    [
        (TEXT, [("1", "text/plain", True, "")]),
        (
            b"(" + TEXT + PDF + b' "mixed")',
            [
                ("1", "text/plain", True, ""),
                ("2", "application/pdf", False, "plan d'étage.pdf"),
            ],
        ),
        (
            b"((" + TEXT + HTML + b' "alternative")' + PDF + b' "mixed")',
            [
                ("1.1", "text/plain", True, ""),
                ("1.2", "text/html", True, ""),
                ("2", "application/pdf", False, "plan d'étage.pdf"),
            ],
        ),
        (
            b"(" + TEXT + FORWARDED + b' "mixed")',
            [
                ("1", "text/plain", True, ""),
                ("2", "message/rfc822", False, "old.eml"),
            ],
        ),
        (b'("text" "plain" NIL NIL NIL NIL NIL)', [("1", "text/plain", True, "")]),
    ],
)
def test_leaves(structure: bytes, leaves: list[tuple[str, str, bool, str]]) -> None:
    found = parsed(structure)
    assert [(x.section, x.content_type, x.is_text, x.filename) for x in found] == leaves


@pytest.mark.parametrize("nonsense", [None, b"x", (), 7])
def test_what_is_no_structure_is_an_error(nonsense: object) -> None:
    with pytest.raises(ValueError, match="BODYSTRUCTURE"):
        read_structure(nonsense)


def test_a_structure_without_end_is_bounded() -> None:
    node: object = (b"text", b"plain", None, None, None, b"7bit", 1, 1)
    for _ in range(200):
        node = ([node], b"mixed")
    assert read_structure(node) == []
    leaf = (b"text", b"plain", None, None, None, b"7bit", 1, 1)
    assert len(read_structure(([leaf] * 5000, b"mixed"))) == 500


def test_the_text_of_a_mail_reads_as_the_whole_mail_does() -> None:
    header = (
        b"From: Jean <jean@client.test>\r\nSubject: Plans\r\nMessage-ID: <one@client.test>\r\n"
        b"Content-Type: multipart/mixed;\r\n boundary=xyz\r\n"
        b"Date: Mon, 02 Mar 2026 12:00:00 +0000\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
    )
    body = "Voilà les plans.\r\n".encode()
    whole = (
        header + b"--xyz\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + body + b"--xyz--\r\n"
    )
    (leaf,) = parsed(TEXT)
    short = parse_mail(text_of_mail(header, [(leaf, body)]))
    assert short.text == parse_mail(whole).text
    assert short.fingerprint == parse_mail(whole).fingerprint
    assert short.subject == "Plans"


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "8bit"])
def test_a_part_is_decoded_as_it_comes(encoding: str, size: int) -> None:
    data = os.urandom(1000) if encoding == "base64" else "é = fin\r\n".encode() * 50
    travels = {
        "base64": base64.encodebytes(data).replace(b"\n", b"\r\n"),
        "quoted-printable": quopri.encodestring(data.replace(b"\r\n", b"\n")),
        "8bit": data,
    }[encoding]
    found = b"".join(decode_stream(encoding, pieces(travels, size)))
    assert found.replace(b"\r\n", b"\n") == data.replace(b"\r\n", b"\n") or found == data


@pytest.mark.parametrize("broken", [b"A", b"AA", b"AAA", b"A=A=", b"!!\xff", b"AAAA=BBB"])
def test_broken_base64_never_raises(broken: bytes) -> None:
    assert isinstance(b"".join(decode_stream("base64", [broken])), bytes)
