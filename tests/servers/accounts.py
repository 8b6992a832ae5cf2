"""Users of test servers: a fresh random name each, so that tests never meet in one mailbox."""

from __future__ import annotations

import secrets

from backend.demo.servers import Account


def new_account(password: str) -> Account:
    """An account whose name nobody else has; the user name is the whole address."""
    address = f"user-{secrets.token_hex(6)}@example.test"
    return Account(address=address, username=address, password=password)
