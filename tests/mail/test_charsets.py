from __future__ import annotations

import pytest

from backend.app.mail.charsets import clean_line, clean_text, decode_text, find_codec

DECODED = [
    (b"Ascii", "", "Ascii"),
    ("é€".encode("cp1252"), "iso-8859-1", "é€"),
    ("“é”".encode("cp1252"), "us-ascii", "“é”"),
    ("accepté".encode(), "iso-8859-1", "accepté"),
    ("镕".encode("gb18030"), "gb2312", "镕"),
    ("똠방각하".encode("cp949"), "ks_c_5601-1987", "똠방각하"),
    ("①株".encode("cp932"), "Shift_JIS", "①株"),
    ("見積".encode("iso2022_jp"), "ISO-2022-JP", "見積"),
    ("見積".encode("iso2022_jp"), "", "見積"),
    ("Счёт оплачен, спасибо за напоминание".encode("koi8_r"), "koi8-r", None),
    ("Счёт оплачен, спасибо за напоминание об этом".encode("cp1251"), "x-none", None),
    ("é".encode("utf-16"), "utf-16", "é"),
    (b"\xe9t\xe9", "zip", "été"),
    (b"\xe9t\xe9", "unicode_escape", "été"),
    (b"\xe9t\xe9", "a" * 5_000, "été"),
    (b"\xe9t\xe9", "x\0y", "été"),
    (b"caf\xe9 \x81", "iso-8859-1", "café "),
    (b"abc\xff", "utf-16", None),
    (b"", "utf-8", ""),
]


@pytest.mark.parametrize(("data", "charset", "expected"), DECODED)
def test_bytes_become_text(data: bytes, charset: str, expected: str | None) -> None:
    text, _ = decode_text(data, charset)
    if expected is None:
        assert text
    else:
        assert text == expected


def test_cyrillic_is_recognised_without_a_charset() -> None:
    sentence = "Счёт оплачен на прошлой неделе, спасибо за напоминание и хорошего дня."
    assert decode_text(sentence.encode("cp1251"), "unknown-8bit")[0] == sentence


@pytest.mark.parametrize("name", ["zip", "base64", "rot13", "hex", "idna", "punycode", "bz2"])
def test_a_codec_that_is_no_alphabet_is_refused(name: str) -> None:
    assert find_codec(name) is None


def test_controls_and_lone_surrogates_go_and_line_ends_are_one_kind() -> None:
    assert clean_text("a\0b\x1b[2J\ud800c\r\nd\re\x9b\ufefff\t") == "ab[2Jc\nd\nef\t"
    assert clean_line("  a \r\n\t b\xa0 ") == "a b"
