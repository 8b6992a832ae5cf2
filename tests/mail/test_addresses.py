from __future__ import annotations

import pytest

from backend.app.mail.addresses import parse_addresses, spoken_name

READ = [
    (b"paul@x.example", [("paul@x.example", "")]),
    (b"Paul <paul@x.example>", [("paul@x.example", "Paul")]),
    (b'"Dupont, Paul" <paul@x.example>', [("paul@x.example", "Dupont, Paul")]),
    (b'"A \\"B\\" C" <a@x.example>', [("a@x.example", 'A "B" C')]),
    (b"a@x.example, B <b@x.example>", [("a@x.example", ""), ("b@x.example", "B")]),
    (b"A <a@x.example>; B <b@x.example>", [("a@x.example", "A"), ("b@x.example", "B")]),
    (b"A <a@x.example> B <b@x.example>", [("a@x.example", "A"), ("b@x.example", "B")]),
    (b"paul@x.example (Paul Dupont)", [("paul@x.example", "Paul Dupont")]),
    (b"=?utf-8?q?Andr=C3=A9=2C_Paul?= <a@x.example>", [("a@x.example", "André, Paul")]),
    (b"=?utf-8?b?UGF1bCA8cGF1bEB4LmV4YW1wbGU+?=", [("paul@x.example", "Paul")]),
    (b'"paul@x.example" <paul@x.example>', [("paul@x.example", "paul@x.example")]),
    (b"Equipe: a@x.example, b@x.example;", [("a@x.example", ""), ("b@x.example", "")]),
    (b"<<paul@x.example>>", [("paul@x.example", "")]),
    (b"<mailto:paul@x.example>", [("paul@x.example", "")]),
    (b"Paul <paul @ x.example>", [("paul@x.example", "Paul")]),
    (b"Paul <paul@x.example", [("paul@x.example", "Paul")]),
    ("Hélène <h@x.example>".encode("cp1252"), [("h@x.example", "Hélène")]),
    (b"undisclosed-recipients:;", []),
    (b"MAILER-DAEMON", []),
    (b"", []),
    (b"<>", []),
]


@pytest.mark.parametrize(("raw", "expected"), READ)
def test_mailboxes_of_a_header(raw: bytes, expected: list[tuple[str, str]]) -> None:
    assert [(found.email, found.name) for found in parse_addresses(raw)] == expected


def test_no_more_than_asked_for() -> None:
    assert len(parse_addresses(b"a@x.example, " * 50, most=3)) == 3


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Durand, Élise", "Élise Durand"),
        ("de La Tour, Jean-Marie", "Jean-Marie de La Tour"),
        ("O'Neill, Seán P.", "Seán P. O'Neill"),
        ("Élise Durand", "Élise Durand"),
        ("Menuiserie Dubois, SARL", "Menuiserie Dubois, SARL"),
        ("John Smith, Jr.", "John Smith, Jr."),
        ("Durand, Petit, Martin", "Durand, Petit, Martin"),
        ("Compta 2, Paris", "Compta 2, Paris"),
        ("Durand,", "Durand,"),
        ("", ""),
    ],
)
def test_a_name_from_a_directory_is_put_in_the_order_of_speech(written: str, said: str) -> None:
    assert spoken_name(written) == said
