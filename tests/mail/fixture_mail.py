"""Reads the fixtures of this room."""

from __future__ import annotations

from pathlib import Path

from backend.app.mail.message import ParsedMail
from backend.app.mail.parse import parse_mail

FIXTURES = Path(__file__).parent / "fixtures"


def raw_fixture(name: str) -> bytes:
    return (FIXTURES / f"{name}.eml").read_bytes()


def parse_fixture(name: str) -> ParsedMail:
    return parse_mail(raw_fixture(name))
