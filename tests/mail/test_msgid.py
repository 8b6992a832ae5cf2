from __future__ import annotations

import pytest

from backend.app.mail.msgid import (
    MAX_LENGTH,
    clean_message_id,
    make_message_id,
    parse_message_ids,
)


def test_made_ids_are_unique_and_read_back() -> None:
    made = {make_message_id("Societe.example", "secret", str(n)) for n in range(100)}
    assert len(made) == 100
    assert all(clean_message_id(f"<{value}>") == value for value in made)
    assert all(value.endswith("@societe.example") for value in made)


@pytest.mark.parametrize("domain", ["", "a b", "a\r\nX: y", "@", "-a.example", "é.example"])
def test_no_id_is_made_for_what_is_no_host(domain: str) -> None:
    with pytest.raises(ValueError, match="host name"):
        make_message_id(domain, "secret", "x")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("<a@b>", "a@b"),
        ("  <a@b>  (comment)", "a@b"),
        ("a@b", "a@b"),
        ("<a\r\n @b>", "a@b"),
        ("<a@b\0>", "a@b"),
        ("<A@b>", "A@b"),
        ("<no-at-sign>", "no-at-sign"),
        ("<>", None),
        ("", None),
        ("   ", None),
        ("<@>", None),
    ],
)
def test_clean_message_id(value: str, expected: str | None) -> None:
    assert clean_message_id(value) == expected


def test_an_overlong_id_stays_an_identity() -> None:
    one = clean_message_id(f"<{'a' * 300}@b>")
    other = clean_message_id(f"<{'a' * 300}@c>")
    assert one != other
    assert one is not None
    assert len(one) == MAX_LENGTH
    assert clean_message_id(one) == one


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("<a@b> <c@d>", ("a@b", "c@d")),
        ("<a@b><c@d>", ("a@b", "c@d")),
        ("<a@b>\r\n\t<c@d>", ("a@b", "c@d")),
        ("a@b, c@d", ("a@b", "c@d")),
        ("Your message of Monday <a@b>", ("a@b",)),
        ("<a@b> [mailto:x@y.example] <c@d>", ("a@b", "c@d")),
        ("<a@b> <c@d> <a@b>", ("c@d", "a@b")),
        ("<> < >", ()),
        ("nonsense here", ()),
        ("", ()),
    ],
)
def test_parse_message_ids(value: str, expected: tuple[str, ...]) -> None:
    assert parse_message_ids(value) == expected


def test_the_nearest_32_ancestors_are_kept() -> None:
    found = parse_message_ids(" ".join(f"<{number}@x>" for number in range(10_000)))
    assert found == tuple(f"{number}@x" for number in range(9_968, 10_000))
