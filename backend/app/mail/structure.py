"""BODYSTRUCTURE (RFC 3501, 7.4.2) as a list of parts, and a mail made of its text parts. Pure.

For mails that are too large to be fetched whole: their text is read now, their files when asked.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from backend.app.mail.filenames import safe_filename
from backend.app.mail.headers import parse_params

MOST_PARTS = 500
DEEPEST = 20
BOUNDARY = b"=_text-parts-of-a-large-mail_="
REPLACED = (b"content-type:", b"content-transfer-encoding:", b"mime-version:", b"content-disp")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A part without parts. section: what FETCH calls it (RFC 3501, 6.4.5); size: as it travels.

    content_type, disposition and encoding are in lower case.
    """

    section: str
    content_type: str
    charset: str
    encoding: str
    size: int
    content_id: str | None
    disposition: str
    filename: str

    @property
    def is_text(self) -> bool:
        shown = self.disposition != "attachment" and not self.filename
        return shown and self.content_type in ("text/plain", "text/html")


def read_structure(structure: Any) -> list[Leaf]:
    """The leaves in order. Raises ValueError for what is no BODYSTRUCTURE; bounded."""
    if not isinstance(structure, tuple) or not structure:
        raise ValueError("no usable BODYSTRUCTURE")
    leaves: list[Leaf] = []
    for leaf in _leaves(structure, "", 0):
        leaves.append(leaf)
        if len(leaves) >= MOST_PARTS:
            break
    return leaves


def _leaves(node: Sequence[Any], section: str, depth: int) -> Iterator[Leaf]:
    if isinstance(node[0], list):
        if depth < DEEPEST:
            for number, child in enumerate(node[0], 1):
                yield from _leaves(
                    child, f"{section}.{number}" if section else f"{number}", depth + 1
                )
        return
    yield _leaf(node, section or "1")


def _leaf(node: Sequence[Any], section: str) -> Leaf:
    kind, subtype = _text(node, 0).lower() or "text", _text(node, 1).lower() or "plain"
    _, params = parse_params("x/x" + _params(node[2] if len(node) > 2 else None))
    disposition, more = _disposition(node, 9 if kind == "text" else 8)
    if f"{kind}/{subtype}" == "message/rfc822":
        disposition, more = _disposition(node, 11)
    size = node[6] if len(node) > 6 and isinstance(node[6], int) else 0
    return Leaf(
        section=section,
        content_type=f"{kind}/{subtype}",
        charset=params.get("charset", ""),
        encoding=_text(node, 5).lower() or "7bit",
        size=max(0, size),
        content_id=_text(node, 3).strip("<> ") or None,
        disposition=disposition,
        filename=safe_filename(more.get("filename") or params.get("name", "")),
    )


def _text(node: Sequence[Any], index: int) -> str:
    value = node[index] if len(node) > index else None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _params(pairs: Any) -> str:
    """`(name value name value)` as the header would have it."""
    if not isinstance(pairs, tuple):
        return ""
    words = [_text(pairs, index) for index in range(len(pairs))]
    quoted = (word.replace("\\", "\\\\").replace('"', '\\"') for word in words[1::2])
    return "".join(f'; {name}="{value}"' for name, value in zip(words[::2], quoted, strict=False))


def _disposition(node: Sequence[Any], index: int) -> tuple[str, dict[str, str]]:
    value = node[index] if len(node) > index else None
    if isinstance(value, bytes):  # the header as it stands, where a list should be (pymap)
        return parse_params(_text(node, index))
    if not isinstance(value, tuple) or not value:
        return "", {}
    return parse_params(_text(value, 0) + _params(value[1] if len(value) > 1 else None))


def text_of_mail(header: bytes, parts: Iterable[tuple[Leaf, bytes]]) -> bytes:
    """A mail of the same header block with these parts alone, each as it travelled."""
    lines = [_without_content_fields(header), b"MIME-Version: 1.0"]
    lines += [b'Content-Type: multipart/mixed; boundary="%s"' % BOUNDARY, b""]
    for leaf, body in parts:
        charset = f'; charset="{leaf.charset}"' if leaf.charset else ""
        lines += [b"--" + BOUNDARY]
        lines += [f"Content-Type: {leaf.content_type}{charset}".encode("ascii", "replace")]
        lines += [f"Content-Transfer-Encoding: {leaf.encoding}".encode("ascii", "replace")]
        lines += [b"", body]
    return b"\r\n".join([*lines, b"--" + BOUNDARY + b"--", b""])


def _without_content_fields(header: bytes) -> bytes:
    """The header fields but for those that say how the body is made."""
    kept: list[bytes] = []
    dropping = False
    for line in header.replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n"):
        folded = line[:1] in (b" ", b"\t")
        if not folded:
            dropping = line.lower().startswith(REPLACED)
        if line and not dropping:
            kept.append(line)
    return b"\r\n".join(kept)


def decode_stream(encoding: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """A part's bytes as they come, decoded; what cannot be decoded is left out, never raised."""
    if encoding == "base64":
        yield from _base64(chunks)
    elif encoding == "quoted-printable":
        yield from _quoted_printable(chunks)
    else:
        yield from chunks


def _base64(chunks: Iterable[bytes]) -> Iterator[bytes]:
    kept = b""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    others = bytes(set(range(256)) - set(alphabet))
    for chunk in chunks:
        kept += chunk.translate(None, others)
        whole = len(kept) // 4 * 4
        yield binascii.a2b_base64(kept[:whole])
        kept = kept[whole:]
    if len(kept) > 1:  # one character alone says nothing
        yield binascii.a2b_base64(kept + b"=" * (-len(kept) % 4))


def _quoted_printable(chunks: Iterable[bytes]) -> Iterator[bytes]:
    kept = b""
    for chunk in chunks:
        lines = kept + chunk
        whole = lines.rfind(b"\n") + 1
        yield binascii.a2b_qp(lines[:whole])
        kept = lines[whole:]
    yield binascii.a2b_qp(kept)
