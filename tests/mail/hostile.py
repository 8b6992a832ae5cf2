"""Hostile mail: mutations of the fixtures that keep or break a mail's structure, and bombs.

    python -m tests.mail.hostile [COUNT] [SEED]

reads, on Linux, COUNT mutated mails (10,000 unless said otherwise) and every bomb, and prints how
long they took, how much memory, and what failed. The suite runs a short form of the same.
"""

from __future__ import annotations

import base64
import random
import re
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from backend.app.mail.classify import classify
from backend.app.mail.message import ParsedMail
from backend.app.mail.parse import parse_headers, parse_mail
from tests.mail.fixture_mail import FIXTURES

OWN = frozenset({"ventes@societe.example", "contact@societe.example"})
FILES = sorted(FIXTURES.glob("*.eml")) + sorted(FIXTURES.parent.glob("kinds/*/*.eml"))
RAWS = [path.read_bytes().replace(b"\r\n", b"\n") for path in FILES]
TOKENS = [b"\0", b"\r", b"\n", b"\r\n\r\n", b"--", b"=?utf-8?b?", b"?=", b"<", b">", b'"', b"\xff"]
TOKENS += [b":", b";", b"boundary=", b"charset=utf-16", b"charset=zip", b"Content-Type: ", b"=\n"]
TOKENS += [b"Content-Transfer-Encoding: base64\n", b"(", b"@", b"\xed\xa0\x80", b"begin 644 x\n"]
TOKENS += [b"message/rfc822", b"application/ms-tnef", b"format=flowed", b"text/html", b"*0*=", b"%"]
TYPES = [b"text/plain", b"text/html", b"multipart/mixed", b"multipart/report", b"message/rfc822"]
TYPES += [b"message/delivery-status", b"application/ms-tnef", b"text/calendar", b"x", b"/", b""]
ENCODINGS = [b"base64", b"quoted-printable", b"8bit", b"x-uuencode", b"bogus", b""]
CHARSETS = [b"utf-8", b"utf-16", b"utf-7", b"iso-2022-jp", b"gb2312", b"idna", b"rot13", b"\xff"]

PROC = Path("/proc/self")
Mutation = Callable[[random.Random, bytes], bytes]


def mutated(chance: random.Random) -> bytes:
    """One fixture after one to six mutations, most of them of its structure."""
    raw = chance.choice(RAWS)
    for _ in range(chance.randint(1, 6)):
        raw = chance.choice(MUTATIONS)(chance, raw)[:400_000]
    return raw


def _fields(raw: bytes) -> tuple[list[bytes], bytes]:
    head, _, body = raw.partition(b"\n\n")
    return re.split(rb"\n(?![ \t])", head), body


def _join(fields: list[bytes], body: bytes) -> bytes:
    return b"\n".join(fields) + b"\n\n" + body


def repeat_a_field(chance: random.Random, raw: bytes) -> bytes:
    fields, body = _fields(raw)
    at = chance.randrange(len(fields))
    return _join(fields[:at] + [fields[at]] * chance.choice((2, 3, 300)) + fields[at + 1 :], body)


def drop_a_field(chance: random.Random, raw: bytes) -> bytes:
    fields, body = _fields(raw)
    del fields[chance.randrange(len(fields))]
    return _join(fields, body)


def lend_a_field(chance: random.Random, raw: bytes) -> bytes:
    fields, body = _fields(raw)
    fields.insert(chance.randrange(len(fields) + 1), chance.choice(_fields(chance.choice(RAWS))[0]))
    return _join(fields, body)


def stretch_a_field(chance: random.Random, raw: bytes) -> bytes:
    fields, body = _fields(raw)
    at = chance.randrange(len(fields))
    glue = chance.choice((b"", b" ", b"\n ", b",", b"=?utf-8?q?=41?= "))
    fields[at] = glue.join([fields[at]] * chance.choice((2, 50)))
    return _join(fields, body)


def declare_otherwise(chance: random.Random, raw: bytes) -> bytes:
    """Another type, encoding or charset than the content has, somewhere in the tree."""
    pattern, values = chance.choice(
        (
            (rb"(?i)(content-type:\s*)[\w/.-]+", TYPES),
            (rb"(?i)(content-transfer-encoding:\s*)[\w-]+", ENCODINGS),
            (rb"(?i)(charset=\"?)[\w-]+", CHARSETS),
            (rb"(?i)(boundary=\"?)[^\"\n;]+", [b"other", b"", b"a" * 300, b"--", b" "]),
        )
    )
    found = list(re.finditer(pattern, raw))
    if not found:
        return raw
    match = chance.choice(found)
    return raw[: match.end(1)] + chance.choice(values) + raw[match.end() :]


def wrap(chance: random.Random, raw: bytes) -> bytes:
    """The mail as a part, once or many times over, of a mail with its first fields."""
    for _ in range(chance.choice((1, 1, 3, 40))):
        kind = chance.choice((b"mixed", b"alternative", b"digest", b"report", b"x"))
        head = b"From: a@b.example\nContent-Type: multipart/%s; boundary=w\n\n--w\n" % kind
        inner = b"Content-Type: message/rfc822\n\n" + raw if chance.random() < 0.5 else raw
        raw = head + inner + chance.choice((b"\n--w--\n", b"\n--w\n", b""))
    return raw


def add_a_part(chance: random.Random, raw: bytes) -> bytes:
    """Another mail's body behind one of the boundaries."""
    found = list(re.finditer(rb"\n--[^\n]{1,80}\n", raw))
    if not found:
        return raw
    at = chance.choice(found).end()
    part = b"Content-Type: %s\nContent-Transfer-Encoding: %s\n\n" % (
        chance.choice(TYPES),
        chance.choice(ENCODINGS),
    )
    return raw[:at] + part + _fields(chance.choice(RAWS))[1] + b"\n" + raw[at:]


def shuffle_parts(chance: random.Random, raw: bytes) -> bytes:
    pieces = re.split(rb"(?=\n--[^\n]{1,80}\n)", raw)
    tail = pieces[1:]
    chance.shuffle(tail)
    return pieces[0] + b"".join(tail)


def spoil_bytes(chance: random.Random, raw: bytes) -> bytes:
    data = bytearray(raw)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(data) + 1)
        length = chance.choice((1, 1, 2, 8, 40))
        match chance.randrange(4):
            case 0:
                data[at : at + length] = b""
            case 1:
                data[at:at] = chance.choice(TOKENS)
            case 2:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case _:
                data[at : at + length] = data[at : at + length] * 3
    return bytes(data)


def cut(chance: random.Random, raw: bytes) -> bytes:
    return raw[: chance.randrange(len(raw) + 1)]


MUTATIONS: list[Mutation] = [
    repeat_a_field,
    drop_a_field,
    lend_a_field,
    stretch_a_field,
    declare_otherwise,
    declare_otherwise,
    wrap,
    add_a_part,
    shuffle_parts,
    spoil_bytes,
    spoil_bytes,
    cut,
]

HEAD = b"From: a@b.example\nSubject: x\nMessage-ID: <1@x>\n"


MIXED = b"Content-Type: multipart/mixed; boundary=%s\n\n"
BASE64_FILE = b"Content-Type: a/b\nContent-Transfer-Encoding: base64\n\n"
LINE = base64.b64encode(b"x" * 57) + b"\n"


def nested_multiparts() -> bytes:
    raw = HEAD + MIXED % b"b0"
    for level in range(100):
        raw += b"--b%d\n" % level + MIXED % (b"b%d" % (level + 1))
    return raw + b"--b100\n\nhello\n"


def nested_mails() -> bytes:
    raw = HEAD + b"\nhello\n"
    for _ in range(100):
        raw = HEAD + b"Content-Type: message/rfc822\n\n" + raw
    return raw


def many_headers() -> bytes:
    return b"".join(b"X-%d: v\n" % number for number in range(100_000)) + HEAD + b"\nbody"


def many_parts() -> bytes:
    part = b"--b\nContent-Type: image/png\n\nx\n"
    return HEAD + MIXED % b"b" + part * 10_000 + b"--b--\n"


def many_large_files() -> bytes:
    """20 files that decode to 6 MB each, 120 MB together."""
    file = b"--b\n" + BASE64_FILE + LINE * (6_000_000 // 57) + b"\n"
    return HEAD + MIXED % b"b" + file * 20 + b"--b--\n"


def one_gigabyte() -> bytes:
    """One part that decodes to 1 GB: 1.35 GB of mail."""
    return HEAD + BASE64_FILE + LINE * (1_000_000_000 // 57)


# name -> how it is made, and what a note on the message says. The suite reads the small ones.
SMALL_BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "100 levels of multiparts": (nested_multiparts, "nested deeper than 20 levels"),
    "100 mails within mails": (nested_mails, ""),  # a mail within is a file, and not read into
    "100,000 headers": (many_headers, "headers beyond the first 1000"),
    "10,000 parts": (many_parts, "more than 1000 parts"),
}
LARGE_BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "20 files in base64, 120 MB together": (many_large_files, "unpacks to too much"),
    "1 GB in base64": (one_gigabyte, "unpacks to too much"),
}


def read_all(raw: bytes) -> ParsedMail:
    """What the sync does with a mail before it needs the database."""
    mail = parse_mail(raw)
    classify(mail, OWN)
    parse_headers(raw)
    return mail


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    chance = random.Random(seed)
    took: list[float] = []
    failed = 0
    for number in range(count):
        raw = mutated(chance)
        started = time.perf_counter()
        try:
            read_all(raw)
        except Exception:  # noqa: BLE001 (what this program looks for)
            failed += 1
            print(f"mail {number} of seed {seed}:\n{traceback.format_exc()}", file=sys.stderr)
        took.append((time.perf_counter() - started) * 1000)
    took.sort()
    print(f"{count} mutated mails, seed {seed}: {failed} failed")
    print(
        f"milliseconds: median {statistics.median(took):.2f}, 99 of 100 under "
        f"{took[int(len(took) * 0.99)]:.1f}, longest {took[-1]:.1f}"
    )
    print(f"peak memory of the whole process: {_memory('VmHWM')} MB")
    for name, (build, words) in (SMALL_BOMBS | LARGE_BOMBS).items():
        failed += not _try_bomb(name, build(), words)
    return 1 if failed else 0


def _try_bomb(name: str, raw: bytes, words: str) -> bool:
    """Whether the note is there."""
    PROC.joinpath("clear_refs").write_text("5")  # proc(5): the peak starts anew
    before = _memory("VmRSS")
    started = time.perf_counter()
    mail = read_all(raw)
    seconds = time.perf_counter() - started
    print(
        f"{name}: {len(raw) / 1e6:.1f} MB read in {seconds:.2f} s with "
        f"{_memory('VmHWM') - before} MB besides, notes: {'; '.join(mail.notes) or 'none'}"
    )
    return any(words in note for note in mail.notes) or not words


def _memory(name: str) -> int:
    """Megabytes that the kernel counts under this name for this process. Linux only."""
    found = re.search(rf"{name}:\s+(\d+) kB", PROC.joinpath("status").read_text())
    return int(found[1]) // 1024 if found else 0


if __name__ == "__main__":
    sys.exit(main())
