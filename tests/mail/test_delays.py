"""The delays that servers state in their refusals, as they put them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backend.app.mail.delays import stated_delay

SECONDS, MINUTES = timedelta(seconds=1), timedelta(minutes=1)


@pytest.mark.parametrize(
    ("words", "delay"),
    [
        ("4.2.0 Greylisted, please try again in 300 seconds", 300 * SECONDS),
        ("4.2.0 <a@b.test>: Recipient address rejected: Greylisted for 300 seconds", 300 * SECONDS),
        ("4.7.1 Greylisted for 5 minutes", 5 * MINUTES),
        ("4.7.1 Greylisting in action, please come back in 00:04:59", 299 * SECONDS),
        ("4.7.1 come back in 04:59", 299 * SECONDS),
        ("4.7.0 Rate limit exceeded, retry after 1 hour", 60 * MINUTES),
        ("wait at least 20 minutes", 20 * MINUTES),
        ("wait 90s", 90 * SECONDS),
        ("Try again in 999999 hours", timedelta(hours=999_999)),
        # No delay is stated
        ("4.3.2 Please try again later", None),
        ("4.7.0 at most 20 mails per 60 seconds", None),
        ("4.7.28 over 3 hours", None),
        ("4.2.0 see http://greylist.test/for/300", None),
        ("4.7.0 in 12345678 seconds", None),
        ("", None),
    ],
)
def test_stated_delay(words: str, delay: timedelta | None) -> None:
    assert stated_delay(words) == delay
