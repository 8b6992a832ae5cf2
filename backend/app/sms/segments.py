"""How long a text message is, and how many segments it costs (3GPP TS 23.038 and 23.040). Pure.

    GSM-7   the 128 characters below, 7 bits each; those of the extension count twice
            160 in one message, 153 in each part of a longer one
    UCS-2   any other character makes all of them 16 bits: 70, or 67 in each part; one beyond the
            basic plane counts twice

Neither an escaped character nor a surrogate pair is ever cut in two: it begins the next part.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = frozenset("\f^{}\\[~]|€")
# The same to a reader, and dear: one of them would halve what fits.
_PLAIN = str.maketrans(
    {
        "\u00a0": " ",
        "\u202f": " ",
        "\u2009": " ",
        "’": "'",
        "‘": "'",
        "“": '"',
        "”": '"',
        "«": '"',
        "»": '"',
        "–": "-",
        "—": "-",
        "\u2011": "-",
        "…": "...",
        "\t": " ",
    }
)


@dataclass(frozen=True, slots=True)
class Length:
    """encoding: 'GSM-7' or 'UCS-2'. units: septets, or 16-bit units. segments: what is paid for."""

    encoding: str
    units: int
    segments: int

    def __str__(self) -> str:
        plural = "" if self.segments == 1 else "s"
        return f"{self.segments} segment{plural}, {self.units} units of {self.encoding}"


def measure(text: str) -> Length:
    """An empty text is one segment of nothing."""
    dear = set(text) - _BASIC - _EXTENSION
    if dear:
        return _length("UCS-2", [2 if ord(char) > 0xFFFF else 1 for char in text], 70, 67)
    return _length("GSM-7", [2 if char in _EXTENSION else 1 for char in text], 160, 153)


def outside_gsm(text: str) -> str:
    """The characters that make a message UCS-2, each once, in their order."""
    return "".join(dict.fromkeys(c for c in text if c not in _BASIC and c not in _EXTENSION))


def plain(text: str) -> str:
    """Typographic quotes, dashes and spaces as a telephone's keys have them; letters stay."""
    return text.translate(_PLAIN)


def _length(encoding: str, weights: list[int], alone: int, part: int) -> Length:
    units = sum(weights)
    return Length(encoding, units, 1 if units <= alone else _parts(weights, part))


def _parts(weights: Iterable[int], room: int) -> int:
    parts, used = 1, 0
    for weight in weights:
        if used + weight > room:
            parts, used = parts + 1, 0
        used += weight
    return parts
