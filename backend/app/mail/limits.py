"""What one mail may cost. A mail over a bound is cut there, with a note, and never refused."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one parse. Characters and bytes, never seconds: a parse has no clock.

    headers          fields kept per header block (the identifying ones are always kept)
    header_chars     length of one decoded header value
    header_bytes     length of one header block
    parts            MIME parts in the whole mail
    depth            levels of multiparts inside multiparts
    decoded_bytes    all decoded contents together, also those unpacked from a TNEF part
    text_chars       length of the readable text
    html_chars       length of the HTML that is given to the sanitiser
    report_chars     length of one machine-readable part or quoted original
    addresses        mailboxes in one header
    """

    headers: int = 1_000
    header_chars: int = 4_000
    header_bytes: int = 4_000_000
    parts: int = 1_000
    depth: int = 20
    decoded_bytes: int = 64_000_000
    text_chars: int = 1_000_000
    html_chars: int = 1_000_000
    report_chars: int = 32_000
    addresses: int = 500


DEFAULT_LIMITS = Limits()
