"""What a token server says, and what is made of it; no answer puts a token into an error."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from backend.app.config import load_settings
from backend.app.errors import (
    MailboxError,
    MailboxMisconfigured,
    NetworkFault,
    ServerFault,
    Throttled,
)
from backend.app.mail.oauth import GrantRefused, Provider, TokenServer, read_redirect
from backend.app.mail.sasl import SaslToken
from tests.oauth.conftest import endpoint
from tests.servers.certificates import Certificates
from tests.servers.shared import free_ports
from tests.servers.token_server import CLIENT_ID, CLIENT_SECRET
from tests.servers.token_server import TokenServer as FakeServer


@pytest.fixture
def server(token_server: FakeServer, certificates: Certificates) -> TokenServer:
    provider = Provider(
        name="custom",
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        token_url=f"{token_server.url}/token",
        authorization_url=f"{token_server.url}/authorize",
        device_url=f"{token_server.url}/device",
        scope="mail offline",
    )
    return TokenServer(provider=provider, timeout=5, ca_file=certificates.ca_file)


def test_rotated_refresh_token_comes_along(server: TokenServer, token_server: FakeServer) -> None:
    first = token_server.grant("jean")
    tokens = server.refresh(first)
    assert tokens.refresh_token not in (None, first)
    assert token_server.access[tokens.access_token] == "jean"
    assert tokens.access_token not in repr(tokens)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, b'{"error": "invalid_grant"}', GrantRefused),
        (
            400,
            b'{"error": "interaction_required", "error_description": "AADSTS50076: x"}',
            GrantRefused,
        ),
        (401, b'{"error": "invalid_client"}', MailboxMisconfigured),
        (400, b'{"error": "invalid_scope"}', MailboxMisconfigured),
        (400, b'{"error": "temporarily_unavailable"}', Throttled),
        (429, b"slow down", Throttled),
        (503, b"<html>", Throttled),
        (400, b"<html>", ServerFault),
        (404, b"{}", ServerFault),
        (302, b"", ServerFault),
        (200, b"[1]", ServerFault),
        (200, b"{}", ServerFault),
        (200, b"[" * 60_000, ServerFault),
        (200, b'{"access_token": 7}', ServerFault),
        (200, b'{"access_token": "a\\u0001b", "token_type": "Bearer"}', ServerFault),
        (200, b'{"access_token": "t", "expires_in": "soon"}', ServerFault),
        (400, b'{"error": {"code": "invalid_grant"}}', ServerFault),
    ],
)
def test_answer_is_named(
    server: TokenServer,
    token_server: FakeServer,
    status: int,
    body: bytes,
    error: type[MailboxError],
) -> None:
    token_server.faults.append((status, body))
    with pytest.raises(error) as raised:
        server.refresh("the-secret-token")
    assert type(raised.value) is error
    assert "the-secret-token" not in str(raised.value)


def test_a_servers_words_are_not_passed_on(server: TokenServer, token_server: FakeServer) -> None:
    echo = b'{"error": "invalid_grant", "error_description": "AADSTS70008 for the-secret-token"}'
    token_server.faults.append((400, echo))
    with pytest.raises(GrantRefused, match=r"answered: invalid_grant \(AADSTS70008\)$"):
        server.refresh("the-secret-token")


def test_server_that_is_away_is_a_network_fault(server: TokenServer) -> None:
    [port] = free_ports(1)
    away = replace(server.provider, token_url=f"https://localhost:{port}/token")
    with pytest.raises(NetworkFault, match="no connection with localhost"):
        replace(server, provider=away).refresh("x")


def test_authority_that_nobody_named_is_not_trusted(server: TokenServer) -> None:
    with pytest.raises(NetworkFault, match=r"certificate of localhost:.* not trusted"):
        replace(server, ca_file=None).refresh("x")


@pytest.mark.parametrize("url", ["http://tokens.example/token", "ftp://localhost/x", "tokens"])
def test_secret_goes_nowhere_in_the_clear(server: TokenServer, url: str) -> None:
    with pytest.raises(MailboxMisconfigured):
        replace(server, provider=replace(server.provider, token_url=url)).refresh("x")


def test_code_brought_back_by_hand_is_exchanged(
    server: TokenServer, token_server: FakeServer
) -> None:
    request = server.code_request()
    query = {k: v[0] for k, v in parse_qs(urlsplit(request.url).query).items()}
    assert query["code_challenge_method"] == "S256"
    token_server.codes["the-code"] = ("jean", query["code_challenge"])
    back = f"http://127.0.0.1:53682/?state={query['state']}&code=the-code"
    tokens = server.exchange(request, read_redirect(request, f"  {back}\n"))
    assert token_server.access[tokens.access_token] == "jean"
    assert tokens.refresh_token


@pytest.mark.parametrize(
    ("pasted", "error"),
    [
        ("http://127.0.0.1:53682/?state=another&code=x", MailboxMisconfigured),
        ("http://127.0.0.1:53682/", MailboxMisconfigured),
        ("http://127.0.0.1:53682/?state={state}", MailboxMisconfigured),
        ("http://127.0.0.1:53682/?state={state}&error=access_denied", GrantRefused),
        ("", MailboxMisconfigured),
    ],
)
def test_address_of_another_sign_in_is_refused(
    server: TokenServer, pasted: str, error: type[MailboxError]
) -> None:
    request = server.code_request()
    with pytest.raises(error):
        read_redirect(request, pasted.format(state=request.state))


def test_device_code_is_waited_for(server: TokenServer, token_server: FakeServer) -> None:
    prompt = server.start_device()
    assert server.poll_device(prompt) is None
    token_server.devices[prompt.device_code] = "jean"
    tokens = server.poll_device(prompt)
    assert tokens is not None
    assert token_server.access[tokens.access_token] == "jean"


def test_sasl_responses_are_those_of_the_documents() -> None:
    where = endpoint("imap.example", 993, username="jean,=@x.example")
    google = SaslToken(where, "T", standard=False)
    assert google(b"") == b"user=jean,=@x.example\x01auth=Bearer T\x01\x01"
    assert google(b'{"status":"401"}') == b""
    rfc7628 = SaslToken(where, "T", standard=True)
    expected = (
        b"n,a=jean=2C=3D@x.example,\x01host=imap.example\x01port=993\x01auth=Bearer T\x01\x01"
    )
    assert rfc7628(b"") == expected
    assert rfc7628(b'{"status":"invalid_token"}') == b"\x01"


def test_example_is_read(tmp_path: Path) -> None:
    environment = {
        "RELANCE_ENV_FILE": str(tmp_path / "none"),
        "CREDENTIALS_KEYS": "k",
        "OAUTH_MICROSOFT_CLIENT_ID": "id",
        "OAUTH_MICROSOFT_TENANT": "acme.example",
    }
    client = load_settings(environment).oauth_clients["microsoft"]
    assert client.token_url == "https://login.microsoftonline.com/acme.example/oauth2/v2.0/token"
    assert "offline_access" in client.scope
