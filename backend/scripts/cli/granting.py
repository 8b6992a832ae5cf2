"""OAuth2 grants from a person on a server's shell: by device code, or by an address pasted back."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from backend.app.errors import Refused
from backend.scripts.cli.passwords import read_line
from backend.scripts.cli.terminal import say

if TYPE_CHECKING:
    from backend.app.mail.oauth import TokenServer
    from backend.app.tokens import FreshTokens
    from backend.scripts.cli.installation import Installation

PROVIDERS = ("google", "microsoft", "custom")
refresh_token_stdin = click.option(
    "--refresh-token-stdin",
    is_flag=True,
    help="Read an OAuth2 refresh token from standard input instead of signing in.",
)


def read_grant(installation: Installation, provider: str, *, from_stdin: bool) -> FreshTokens:
    """The refresh token that a person brings or earns here. Raises MailboxError, BadInput."""
    from backend.app.tokens import FreshTokens, token_server

    server = token_server(provider, installation.settings)
    if from_stdin:
        return FreshTokens(server, read_line("the refresh token"))
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to sign in on; use --refresh-token-stdin")
    tokens = _by_device(server) if server.provider.device_url else _by_address(server)
    if tokens is None:
        raise Refused(f"{server} gave no refresh token; is offline access allowed to this client?")
    return FreshTokens(server, tokens)


def _by_device(server: TokenServer) -> str | None:
    prompt = server.start_device()
    say(f"Open {prompt.verification_uri} in any browser, sign in there as the mailbox,")
    say(f"and enter the code  {prompt.user_code}")
    deadline = time.monotonic() + prompt.expires_in
    while time.monotonic() < deadline:
        time.sleep(max(prompt.interval, 1))
        tokens = server.poll_device(prompt)
        if tokens is not None:
            return tokens.refresh_token
    raise Refused("the code has expired; start again")


def _by_address(server: TokenServer) -> str | None:
    from backend.app.mail.oauth import read_redirect

    request = server.code_request()
    say("Open this address in any browser, and sign in there as the mailbox:")
    say(f"\n{request.url}\n")
    say("The browser then shows a page that cannot be reached. Copy that page's whole address.")
    pasted = click.prompt("The address", err=True)
    return server.exchange(request, read_redirect(request, pasted)).refresh_token
