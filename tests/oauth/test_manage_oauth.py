"""manage.py mailbox add --oauth and authorize."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import threading
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from backend.app.models import InboxIntegration, OAuthGrant
from tests.installation import Installation
from tests.oauth.conftest import Granted, granted
from tests.operate.conftest import Manage
from tests.servers.oauth_servers import OAuthServers


@pytest.fixture
def manage(trusting: Installation, servers: OAuthServers) -> Manage:
    trusting.extra.update(servers.tokens.environment)
    return Manage(trusting)


@pytest.fixture
def company_id(trusting: Installation) -> int:
    return trusting.add_company()


@pytest.fixture(scope="module")
def servers(oauth_servers_once: OAuthServers) -> OAuthServers:
    return oauth_servers_once


def add_arguments(company_id: int, name: str, servers: OAuthServers) -> list[object]:
    return [
        *("mailbox", "add", "--company", company_id, "--email", name, "--oauth", "custom"),
        *("--imap-host", "localhost", "--imap-port", servers.imap.tls_port),
        *("--smtp-host", "localhost", "--smtp-port", servers.smtp.tls_port),
    ]


def test_refresh_token_from_standard_input_is_tried_and_stored(
    manage: Manage, trusting: Installation, company_id: int, servers: OAuthServers
) -> None:
    name = servers.imap.add_user().username
    token = servers.tokens.grant(name)
    arguments = add_arguments(company_id, name, servers)
    added = manage(*arguments, "--refresh-token-stdin", stdin=token + "\n")
    assert "SMTP localhost" in added.stdout
    assert token not in added.output
    [row] = trusting.rows(InboxIntegration)
    [grant] = trusting.rows(OAuthGrant)
    assert row.secret == ""
    assert not servers.tokens.grants[-1].revoked
    assert trusting.vault.decrypt(grant.refresh_token) == servers.tokens.grants[-1].refresh_token
    assert trusting.sync().counts == {"mailboxes": 1}
    rotated = manage("key", "rotate")
    assert "2" in rotated.stdout
    assert trusting.sync().counts == {"mailboxes": 1}


def test_refused_grant_stores_nothing(
    manage: Manage, trusting: Installation, company_id: int, servers: OAuthServers
) -> None:
    arguments = add_arguments(company_id, "jean@box.test", servers)
    refused = manage(*arguments, "--refresh-token-stdin", stdin="no-such-token\n", status=1)
    assert "invalid_grant" in refused.output
    assert "no-such-token" not in refused.output
    assert trusting.rows(InboxIntegration) == []


@pytest.mark.parametrize(
    "more",
    [["--password-stdin"], ["--smtp-password"], ["--refresh-token-stdin", "--smtp-password"]],
)
def test_one_way_of_signing_in_only(
    manage: Manage, company_id: int, servers: OAuthServers, more: list[str]
) -> None:
    arguments = add_arguments(company_id, "jean@box.test", servers)
    assert "takes no password" in manage(*arguments, *more, status=2).output


def test_a_person_signs_a_mailbox_in_again_and_a_password_ends_it(
    manage: Manage, trusting: Installation, servers: OAuthServers
) -> None:
    account = servers.imap.add_user()
    box = granted(trusting, servers.tokens, servers.imap, account)
    servers.tokens.revoke(account.username)
    fresh = servers.tokens.grant(account.username)
    arguments = ("mailbox", "authorize", box.mailbox, "--refresh-token-stdin")
    assert "signs in by OAuth2 (custom)" in manage(*arguments, stdin=fresh).stdout
    assert trusting.sync().counts == {"mailboxes": 1}
    manage("mailbox", "set", box.mailbox, "--password-stdin", stdin=account.password)
    assert trusting.rows(OAuthGrant) == []
    assert trusting.sync().counts == {"mailboxes": 1}


def on_a_terminal(installation: Installation, *arguments: object, act: object) -> str:
    """Run manage.py with a terminal of its own; `act(text)` sees what is shown so far and may
    return what is typed in."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        installation.command("manage", *arguments),
        env=installation.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=installation.directory,
    )
    os.close(theirs)
    killer = threading.Timer(30, process.kill)
    killer.start()
    shown = ""
    while True:
        try:
            piece = os.read(ours, 4096).decode(errors="replace")
        except OSError:  # the other end is closed
            break
        shown += piece
        typed = act(shown)  # type: ignore[operator]
        if typed:
            os.write(ours, typed.encode())
    process.wait()
    killer.cancel()
    os.close(ours)
    return shown


def test_device_code_is_shown_and_waited_for(box: Granted, servers: OAuthServers) -> None:
    box.installation.extra["OAUTH_CUSTOM_DEVICE_URL"] = f"{servers.tokens.url}/device"

    def agree(shown: str) -> None:
        if "ABCD-EFGH" in shown:
            servers.tokens.devices = dict.fromkeys(servers.tokens.devices, box.account.username)

    shown = on_a_terminal(box.installation, "mailbox", "authorize", box.mailbox, act=agree)
    assert f"{servers.tokens.url}/activate" in shown
    assert "signs in by OAuth2" in shown


def test_address_is_pasted_back(box: Granted, servers: OAuthServers) -> None:
    tokens = servers.tokens
    box.installation.extra["OAUTH_CUSTOM_AUTHORIZATION_URL"] = f"{tokens.url}/authorize"
    pasted: list[str] = []

    def paste(shown: str) -> str | None:
        found = re.search(r"(https://\S+/authorize\?\S+)", shown)
        if not found or "The address:" not in shown or pasted:
            return None
        query = {k: v[0] for k, v in parse_qs(urlsplit(found[1]).query).items()}
        tokens.codes["c0de"] = (box.account.username, query["code_challenge"])
        pasted.append(f"{query['redirect_uri']}?code=c0de&state={query['state']}\n")
        return pasted[0]

    shown = on_a_terminal(box.installation, "mailbox", "authorize", box.mailbox, act=paste)
    assert "signs in by OAuth2" in shown


@pytest.fixture
def box(trusting: Installation, servers: OAuthServers, tmp_path: Path) -> Granted:
    return granted(trusting, servers.tokens, servers.imap, servers.imap.add_user())
