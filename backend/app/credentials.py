"""Passwords at rest: Fernet tokens (AES-128-CBC with HMAC-SHA256), keys from CREDENTIALS_KEYS.

Several keys are accepted, so that one can be replaced: the first encrypts, all decrypt.
"""

from __future__ import annotations

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from backend.app.errors import ConfigurationError, CredentialsUnreadable


def new_key() -> str:
    """A fresh key, in the form that CREDENTIALS_KEYS takes."""
    return Fernet.generate_key().decode()


class Vault:
    """Encrypts and decrypts with an installation's keys. Raises ConfigurationError on a bad key."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys])
        except ValueError as error:
            raise ConfigurationError(
                "CREDENTIALS_KEYS holds something that is not a key (44 characters of url-safe "
                "base64). Make one with:  python backend/scripts/manage.py key new"
            ) from error

    def __repr__(self) -> str:
        return "Vault(...)"

    def encrypt(self, secret: str) -> str:
        return self._fernet.encrypt(secret.encode()).decode()

    def decrypt(self, token: str) -> str:
        """Raises CredentialsUnreadable when no key fits, or when it is no token at all."""
        try:
            return self._fernet.decrypt(token.encode()).decode()
        except InvalidToken as error:
            raise CredentialsUnreadable(
                "the stored password fits none of CREDENTIALS_KEYS; "
                "was a key removed before `manage.py key rotate`?"
            ) from error

    def rotate(self, token: str) -> str:
        """The same secret under the first key. Raises CredentialsUnreadable."""
        self.decrypt(token)
        return self._fernet.rotate(token.encode()).decode()
