"""The network edge towards OAuth 2 token servers (RFC 6749, 7636, 8628).

oauthlib makes the requests and reads the answers; web.py has the connection. No token is ever
put into an error: of what a server says, only its error code and Microsoft's number of it are
passed on.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from oauthlib.oauth2 import DeviceClient, OAuth2Error, WebApplicationClient

from backend.app.errors import (
    CredentialsRefused,
    MailboxError,
    MailboxMisconfigured,
    ServerFault,
    Throttled,
)
from backend.app.mail.endpoint import Endpoint
from backend.app.mail.web import ask, target_of, web_endpoint

# Nothing listens there: the browser shows the address, and the person brings it back.
REDIRECT_URI = "http://127.0.0.1:53682/"
DEFAULT_SECONDS = 3600  # RFC 6749 (5.1) only recommends expires_in
# RFC 6749 (5.2): what is wrong with us, and not with the grant.
OUR_FAULT = {
    "invalid_client",
    "unauthorized_client",
    "invalid_scope",
    "unsupported_grant_type",
    "invalid_request",
    "redirect_uri_mismatch",
}
COME_BACK_LATER = {"temporarily_unavailable", "slow_down"}
# What the person at the token server takes back, or never gave.
GRANT_GONE = {
    "invalid_grant",
    "access_denied",
    "expired_token",
    "interaction_required",
    "consent_required",
    "login_required",
    "authorization_declined",
}
_CODE = re.compile(r"[a-z_]{3,40}")
_MICROSOFT_NUMBER = re.compile(r"AADSTS\d{4,8}")


class GrantRefused(CredentialsRefused):
    """The grant was revoked or has expired (`invalid_grant`): only a person can sign in again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A token server and our registration with it.

    device_url       None where a code cannot be typed in on another device (RFC 8628)
    authorization_url  None where a refresh token can only be brought along
    parameters       what this server wants besides in the authorization request
    """

    name: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    token_url: str
    authorization_url: str | None = None
    device_url: str | None = None
    scope: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tokens:
    """refresh_token: None when the server keeps the one it was asked with. expires_in: seconds."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    expires_in: int


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """An authorization request under way: where the person has to go, and what proves it ours."""

    url: str
    state: str = field(repr=False)
    verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class DevicePrompt:
    """What the person types in, and where. interval: seconds between two questions of ours."""

    device_code: str = field(repr=False)
    user_code: str
    verification_uri: str
    interval: int
    expires_in: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenServer:
    """One provider as reached from here. Every method raises MailboxError (see `_fault`)."""

    provider: Provider
    timeout: int = 30
    ca_file: Path | None = None
    allow_plaintext_hosts: tuple[str, ...] = ()

    def refresh(self, refresh_token: str) -> Tokens:
        """A fresh access token (RFC 6749, 6). Raises GrantRefused when the grant is gone."""
        client = WebApplicationClient(self.provider.client_id)
        return self._ask_tokens(
            client.prepare_refresh_body(
                refresh_token=refresh_token, client_id=client.client_id, **self._secret_field()
            )
        )

    def code_request(self) -> CodeRequest:
        """Where a person agrees in a browser, with PKCE (RFC 7636)."""
        if self.provider.authorization_url is None:
            raise MailboxMisconfigured(f"OAuth2 {self.provider.name}: no authorization URL is set")
        self._endpoint(self.provider.authorization_url)
        client = WebApplicationClient(self.provider.client_id)
        verifier = client.create_code_verifier(64)
        state = secrets.token_urlsafe(24)
        query = {
            "response_type": "code",
            "client_id": self.provider.client_id,
            "redirect_uri": REDIRECT_URI,
            "scope": self.provider.scope,
            "state": state,
            "code_challenge": client.create_code_challenge(verifier, "S256"),
            "code_challenge_method": "S256",
            **self.provider.parameters,
        }
        glue = "&" if "?" in self.provider.authorization_url else "?"
        return CodeRequest(
            f"{self.provider.authorization_url}{glue}{urlencode(query)}", state, verifier
        )

    def exchange(self, request: CodeRequest, code: str) -> Tokens:
        """The tokens for the code that the browser was sent back with (RFC 6749, 4.1.3)."""
        client = WebApplicationClient(self.provider.client_id)
        return self._ask_tokens(
            client.prepare_request_body(
                code=code,
                redirect_uri=REDIRECT_URI,
                code_verifier=request.verifier,
                include_client_id=True,
                **self._secret_field(),
            )
        )

    def start_device(self) -> DevicePrompt:
        """Ask for a code to be typed in on another device (RFC 8628, 3.1)."""
        if self.provider.device_url is None:
            raise MailboxMisconfigured(f"OAuth2 {self.provider.name}: no device URL is set")
        body = urlencode({"client_id": self.provider.client_id, "scope": self.provider.scope})
        answer = self._post(self.provider.device_url, body)
        self._raise_error(answer)
        try:
            return DevicePrompt(
                device_code=str(answer["device_code"]),
                user_code=str(answer["user_code"]),
                verification_uri=str(answer.get("verification_uri") or answer["verification_url"]),
                interval=int(answer.get("interval", 5)),
                expires_in=int(answer.get("expires_in", 900)),
            )
        except (KeyError, ValueError, TypeError):
            raise ServerFault(f"{self} answered a device request without a code") from None

    def poll_device(self, prompt: DevicePrompt) -> Tokens | None:
        """The tokens once the person has agreed; None as long as that is open (RFC 8628, 3.5)."""
        client = DeviceClient(self.provider.client_id)
        body = client.prepare_request_body(
            prompt.device_code, include_client_id=True, **self._secret_field()
        )
        answer = self._post(self.provider.token_url, body)
        if answer.get("error") in ("authorization_pending", "slow_down"):
            return None
        return self._read_tokens(answer)

    def __str__(self) -> str:
        return f"the token server of {self.provider.name}"

    def _secret_field(self) -> dict[str, str]:
        # In the body: Google and Microsoft document it so, and RFC 6749 (2.3.1) allows it.
        secret = self.provider.client_secret
        return {"client_secret": secret} if secret else {}

    def _ask_tokens(self, body: str) -> Tokens:
        return self._read_tokens(self._post(self.provider.token_url, body))

    def _read_tokens(self, answer: dict[str, Any]) -> Tokens:
        self._raise_error(answer)
        try:
            WebApplicationClient(self.provider.client_id).parse_request_body_response(
                json.dumps(answer)
            )
            refresh_token = answer.get("refresh_token")
            return Tokens(
                access_token=_token(answer["access_token"]),
                refresh_token=_token(refresh_token) if refresh_token else None,
                expires_in=max(int(answer.get("expires_in") or DEFAULT_SECONDS), 0),
            )
        except (OAuth2Error, KeyError, ValueError, TypeError, AttributeError):
            raise ServerFault(f"{self} gave no usable access token") from None

    def _raise_error(self, answer: dict[str, Any]) -> None:
        error = answer.get("error")
        if error is not None:
            raise self._fault(str(error), str(answer.get("error_description", "")))

    def _fault(self, error: str, description: str) -> MailboxError:
        code = error if _CODE.fullmatch(error) else "an unknown error"
        number = _MICROSOFT_NUMBER.search(description)
        words = f"{self} answered: {code}{f' ({number[0]})' if number else ''}"
        if code in GRANT_GONE:
            return GrantRefused(words)
        if code in OUR_FAULT:
            return MailboxMisconfigured(f"{words}; check OAUTH_{self.provider.name.upper()}_*")
        return Throttled(words) if code in COME_BACK_LATER else ServerFault(words)

    def _endpoint(self, url: str) -> Endpoint:
        """The URL's server. Raises MailboxMisconfigured where a secret would go in the clear."""
        try:
            return web_endpoint(
                url,
                timeout=self.timeout,
                ca_file=self.ca_file,
                allow_plaintext_hosts=self.allow_plaintext_hosts,
            )
        except MailboxMisconfigured as error:
            raise MailboxMisconfigured(f"OAuth2 {self.provider.name}: {error}") from None

    def _post(self, url: str, body: str) -> dict[str, Any]:
        answer = ask(
            self._endpoint(url),
            "POST",
            target_of(url),
            headers={
                "Content-Type": "application/x-www-form-urlencoded",
                "Accept": "application/json",
            },
            body=body.encode(),
        )
        if answer.status >= 300:
            return self._read_refusal(answer.status, answer.raw)
        return self._read_json(answer.raw)

    def _read_refusal(self, status: int, raw: bytes) -> dict[str, Any]:
        """RFC 6749 (5.2): errors come as 400 or 401 with JSON; the rest is the server's trouble."""
        if status == 429 or status >= 500:
            raise Throttled(f"{self} asks to come back later: HTTP {status}")
        answer = self._read_json(raw, status)
        if "error" not in answer:
            raise ServerFault(f"{self} answered HTTP {status}")
        return answer

    def _read_json(self, raw: bytes, status: int = 200) -> dict[str, Any]:
        try:
            answer = json.loads(raw)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise ServerFault(f"{self} answered HTTP {status} without JSON")
        return answer


def _token(value: object) -> str:
    """RFC 6750 (2.1): printable ASCII. Anything else would break out of the SASL response."""
    if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]{1,16384}", value):
        raise ValueError("not a token")
    return value


def read_redirect(request: CodeRequest, pasted: str) -> str:
    """The code in the address that the browser was sent to, or the code alone.

    Raises GrantRefused when the person declined, MailboxMisconfigured for anything else.
    """
    pasted = pasted.strip()
    if "?" not in pasted:
        if re.fullmatch(r"[\x21-\x7e]{4,4096}", pasted) and "://" not in pasted:
            return pasted
        raise MailboxMisconfigured("that is no address with a code in it")
    query = {name: values[0] for name, values in parse_qs(urlsplit(pasted).query).items()}
    if not secrets.compare_digest(query.get("state", "").encode(), request.state.encode()):
        raise MailboxMisconfigured("that address belongs to another sign-in")
    if "error" in query:
        code = query["error"] if _CODE.fullmatch(query["error"]) else "an error"
        raise GrantRefused(f"the sign-in ended with {code}")
    if not query.get("code"):
        raise MailboxMisconfigured("there is no code in that address")
    return query["code"]
