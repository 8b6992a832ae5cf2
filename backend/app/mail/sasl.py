"""The client's part of XOAUTH2 and OAUTHBEARER, the same for IMAP and SMTP."""

from __future__ import annotations

from backend.app.mail.endpoint import Endpoint


class SaslToken:
    """Answers a server's challenges: the token at first, then the end of a failed exchange.

    A server that refuses says why in a second challenge and waits for a word before its NO
    (RFC 7628, 3.2.3); for XOAUTH2 that word is empty. Sending the token again is an error to some.
    """

    def __init__(self, endpoint: Endpoint, token: str, *, standard: bool) -> None:
        self._first: bytes | None = _response(endpoint, token, standard)
        self._standard = standard

    def __call__(self, challenge: bytes | None = None) -> bytes:
        first, self._first = self._first, None
        if first is not None:
            return first
        return b"\x01" if self._standard else b""


def _response(endpoint: Endpoint, token: str, standard: bool) -> bytes:
    bearer = f"auth=Bearer {token}\x01\x01"
    if not standard:  # as Google and Microsoft document it
        return f"user={endpoint.username}\x01{bearer}".encode()
    name = endpoint.username.replace("=", "=3D").replace(",", "=2C")  # RFC 5801 (4)
    where = f"host={endpoint.host}\x01port={endpoint.port}\x01"
    return f"n,a={name},\x01{where}{bearer}".encode()
