from __future__ import annotations

import random
import struct

from backend.app.mail.parse import parse_mail
from backend.app.mail.tnef import unpack_tnef


def attribute(level: int, name: int, data: bytes) -> bytes:
    return (
        struct.pack("<BHHI", level, name, 0, len(data))
        + data
        + struct.pack("<H", sum(data) % 65536)
    )


def mapi(*properties: tuple[int, int, bytes]) -> bytes:
    out = struct.pack("<I", len(properties))
    for kind, prop, data in properties:
        out += struct.pack("<HHII", kind, prop, 1, len(data)) + data + b"\0" * (-len(data) % 4)
    return out


WINMAIL = (
    struct.pack("<IH", 0x223E9F78, 1)
    + attribute(1, 0x9007, struct.pack("<II", 1252, 0))
    + attribute(1, 0x9003, mapi((0x1F, 0x1000, "Voici le relevé.".encode("utf-16-le"))))
    + attribute(2, 0x9002, b"\0" * 14)
    + attribute(2, 0x8010, b"RELEVE~1.PDF\0")
    + attribute(2, 0x800F, b"%PDF-1.4")
    + attribute(2, 0x9005, mapi((0x1F, 0x3707, "Relevé de mars.pdf\0".encode("utf-16-le"))))
)
HEAD = (
    b"From: a@b.example\nMessage-ID: <1@x>\nContent-Type: application/ms-tnef; name=winmail.dat\n\n"
)


def test_winmail_gives_its_text_and_its_files() -> None:
    mail = parse_mail(HEAD + WINMAIL)
    assert mail.text == "Voici le relevé."
    assert [(f.filename, f.content) for f in mail.attachments] == [
        ("Relevé de mars.pdf", b"%PDF-1.4")
    ]
    assert mail.notes == ("winmail.dat unpacked",)


def test_what_only_claims_to_be_winmail_is_kept_as_a_file() -> None:
    mail = parse_mail(HEAD + b"nothing of the kind")
    assert [file.filename for file in mail.attachments] == ["winmail.dat"]
    assert mail.notes == ("winmail.dat unreadable, kept as it is",)


def test_counts_that_lie_end_with_the_data() -> None:
    lie = struct.pack("<IH", 0x223E9F78, 1) + attribute(
        1, 0x9003, b"\xff\xff\xff\xff" + b"\x02\x11" * 8
    )
    assert unpack_tnef(lie) is not None


def test_any_winmail_is_survived() -> None:
    chance = random.Random(1)
    for _ in range(2_000):
        broken = bytearray(WINMAIL)
        for _ in range(chance.randint(1, 6)):
            broken[chance.randrange(6, len(broken))] = chance.randrange(256)
        unpack_tnef(bytes(broken[: chance.randint(0, len(broken))]))
