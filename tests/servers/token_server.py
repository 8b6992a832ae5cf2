"""A small OAuth 2 token server: grants, access tokens, and what can go wrong with either.

    POST /token        refresh_token, authorization_code, device_code    RFC 6749, 7636, 8628
    POST /device       a code to type in                                 RFC 8628
    POST /introspect   is this access token good, and whose              RFC 7662

A refresh token is good once: when one comes a second time the whole grant is revoked, as servers
that rotate do (RFC 9700, 4.14.2). Over TLS for Relance, in the clear for Dovecot's questions.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

from tests.servers.certificates import Certificates
from tests.servers.shared import HOST

CLIENT_ID = "relance-tests"
CLIENT_SECRET = "client secret 5e1"


@dataclass
class Grant:
    """What one user granted. used: refresh tokens that were good once."""

    username: str
    refresh_token: str
    used: set[str] = field(default_factory=set)
    revoked: bool = False


class TokenServer:
    """faults: HTTP answers that come instead of the next ones at /token, (status, body)."""

    def __init__(self, certificates: Certificates) -> None:
        self.lifetime = 3600
        self.rotates = True
        self.grants: list[Grant] = []
        self.access: dict[str, str] = {}  # good access token -> user name
        self.codes: dict[str, tuple[str, str]] = {}  # code -> (user name, challenge)
        self.devices: dict[str, str | None] = {}  # device code -> user name who agreed
        self.faults: list[tuple[int, bytes]] = []
        self.asked = 0  # how many token requests came
        self.hold: threading.Event | None = None  # set it to let a held answer go
        self._guard = threading.Lock()
        self._plain = self._listener()
        self._tls = self._listener()
        context = certificates.server_context()
        self._tls.socket = context.wrap_socket(self._tls.socket, server_side=True)

    def _listener(self) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer((HOST, 0), _Handler)
        server.tokens = self  # type: ignore[attr-defined]
        return server

    def __enter__(self) -> Self:
        for server in (self._plain, self._tls):
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for server in (self._plain, self._tls):
            server.shutdown()
            server.server_close()

    @property
    def url(self) -> str:
        return f"https://localhost:{self._tls.server_port}"

    @property
    def introspection_url(self) -> str:
        return f"http://{HOST}:{self._plain.server_port}/introspect"

    @property
    def environment(self) -> dict[str, str]:
        """The settings of an installation that is registered here."""
        return {
            "OAUTH_CUSTOM_TOKEN_URL": f"{self.url}/token",
            "OAUTH_CUSTOM_CLIENT_ID": CLIENT_ID,
            "OAUTH_CUSTOM_CLIENT_SECRET": CLIENT_SECRET,
            "OAUTH_CUSTOM_SCOPE": "mail",
        }

    def grant(self, username: str) -> str:
        """A refresh token, as if the user had agreed."""
        grant = Grant(username, f"refresh-{secrets.token_urlsafe(16)}")
        self.grants.append(grant)
        return grant.refresh_token

    def revoke(self, username: str) -> None:
        """The user takes the grant back: neither kind of token is good any more."""
        for grant in self.grants:
            grant.revoked = grant.revoked or grant.username == username
        self.end_access(username)

    def end_access(self, username: str) -> None:
        """Access tokens end before their time; the grant stands."""
        with self._guard:
            self.access = {t: name for t, name in self.access.items() if name != username}

    # -- answers -------------------------------------------------------------------------------

    def answer(self, path: str, form: dict[str, str]) -> tuple[int, bytes]:
        if path == "/introspect":
            username = self.access.get(form.get("token", ""))
            return _json(
                200, {"active": True, "username": username} if username else {"active": False}
            )
        if path == "/device":
            code = secrets.token_urlsafe(8)
            self.devices[code] = None
            where = f"{self.url}/activate"
            facts = {"device_code": code, "user_code": "ABCD-EFGH", "verification_uri": where}
            return _json(200, {**facts, "interval": 0, "expires_in": 60})
        if self.hold is not None:
            self.hold.wait(10)
        with self._guard:
            self.asked += 1
            return self.faults.pop(0) if self.faults else self._token(form)

    def _token(self, form: dict[str, str]) -> tuple[int, bytes]:
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return _error("invalid_client", 401)
        kind = form.get("grant_type", "")
        if kind == "refresh_token":
            return self._refreshed(form.get("refresh_token", ""))
        if kind == "authorization_code":
            username, challenge = self.codes.pop(form.get("code", ""), ("", "-"))
            digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
            proven = base64.urlsafe_b64encode(digest).decode().rstrip("=") == challenge
            return (
                self._tokens(username, self.grant(username)) if proven else _error("invalid_grant")
            )
        if kind.endswith("device_code"):
            agreed = self.devices.get(form.get("device_code", ""))
            if agreed is None:
                return _error("authorization_pending")
            return self._tokens(agreed, self.grant(agreed))
        return _error("unsupported_grant_type")

    def _refreshed(self, token: str) -> tuple[int, bytes]:
        for grant in self.grants:
            if token in grant.used:
                grant.revoked = True
            if grant.refresh_token == token and not grant.revoked:
                if self.rotates:
                    grant.used.add(token)
                    grant.refresh_token = f"refresh-{secrets.token_urlsafe(16)}"
                    return self._tokens(grant.username, grant.refresh_token)
                return self._tokens(grant.username, None)
        return _error("invalid_grant")

    def _tokens(self, username: str, refresh_token: str | None) -> tuple[int, bytes]:
        access = f"access-{secrets.token_urlsafe(16)}"
        self.access[access] = username
        facts = {"access_token": access, "token_type": "Bearer", "expires_in": self.lifetime}
        return _json(200, facts | ({"refresh_token": refresh_token} if refresh_token else {}))


def _json(status: int, document: dict[str, Any]) -> tuple[int, bytes]:
    return status, json.dumps(document).encode()


def _error(code: str, status: int = 400) -> tuple[int, bytes]:
    return _json(status, {"error": code, "error_description": "told by the test server"})


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        form = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        fields = {name: values[0] for name, values in parse_qs(form).items()}
        status, body = self.server.tokens.answer(self.path, fields)  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Nothing: a test's output is its own."""
