"""By which way a reminder reaches its client."""

from __future__ import annotations

from enum import StrEnum


class Channel(StrEnum):
    """The value of `channel` in a company's rules and in the outbox."""

    EMAIL = "email"
    SMS = "sms"
