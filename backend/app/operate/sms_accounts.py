"""What a person gives of an account for text messages, and what its provider says of it."""

from __future__ import annotations

import re

from backend.app.config import Settings
from backend.app.credentials import Vault
from backend.app.errors import BadInput
from backend.app.followups.provider import sms_provider
from backend.app.sms.numbers import parse_sender
from backend.app.store.records import SmsAccess

TWILIO = "twilio"
_SIDS = {"AC": "an Account SID", "SK": "the SID of an API key"}


def new_access(
    company_id: int, account: str, key: str | None, secret: str, sender: str
) -> SmsAccess:
    """secret: encrypted already. key: None for the account's own token. Raises BadInput."""
    account = _sid(account, "AC")
    username = account if key is None else _sid(key, "SK")
    return SmsAccess(
        company_id=company_id,
        provider=TWILIO,
        account=account,
        username=username,
        secret=secret,
        sender=parse_sender(sender),
        is_active=True,
    )


def what_it_says(access: SmsAccess, settings: Settings, vault: Vault) -> str:
    """One line. Raises MailboxError or CredentialsUnreadable."""
    provider = sms_provider(access, settings, vault)
    return f"{provider}: account {access.account} is {provider.check()}"


def _sid(text: str, kind: str) -> str:
    """The address of a request is made of it: nothing else may stand in it."""
    if not re.fullmatch(f"{kind}[0-9a-fA-F]{{32}}", text.strip()):
        raise BadInput(f"{_SIDS[kind]} is {kind} and 32 digits or letters a to f")
    return text.strip()
