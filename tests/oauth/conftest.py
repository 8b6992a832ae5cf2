"""A mailbox that signs in by OAuth2, on real servers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from backend.app import db
from backend.app.mail.endpoint import Endpoint
from backend.app.models import MailboxState, OAuthGrant
from backend.app.store import oauth
from backend.app.tokens import StoredTokens
from backend.demo.servers import Account
from tests.conftest import or_skip
from tests.installation import Installation
from tests.servers.certificates import Certificates
from tests.servers.oauth_servers import OAuthServers, oauth_servers
from tests.servers.token_server import TokenServer


@pytest.fixture(scope="module", params=["xoauth2", "oauthbearer"])
def servers(request: pytest.FixtureRequest, certificates: Certificates) -> Iterator[OAuthServers]:
    """Servers that know one of the two mechanisms."""
    with or_skip(), oauth_servers(certificates, request.param) as made:
        yield made


@pytest.fixture(scope="module")
def oauth_servers_once(certificates: Certificates) -> Iterator[OAuthServers]:
    """Servers that know both mechanisms, for what does not depend on which one is taken."""
    with or_skip(), oauth_servers(certificates, "xoauth2 oauthbearer") as made:
        yield made


@pytest.fixture
def token_server(certificates: Certificates) -> Iterator[TokenServer]:
    """The token server alone, where no mail server is needed."""
    with TokenServer(certificates) as server:
        yield server


@dataclass
class Granted:
    """A company's mailbox with an OAuth2 grant; `tokens` is the server that gave it."""

    installation: Installation
    tokens: TokenServer
    account: Account
    company: int
    mailbox: int

    @property
    def source(self) -> StoredTokens:
        return StoredTokens(self.mailbox, self.installation.settings, self.installation.vault)

    def row(self) -> OAuthGrant:
        [row] = self.installation.rows(OAuthGrant, OAuthGrant.integration_id == self.mailbox)
        return row

    def state(self) -> MailboxState:
        [row] = self.installation.rows(MailboxState)
        return row

    def let_expire(self) -> None:
        """The access token's time is over, by the database's clock."""
        past = sa.update(OAuthGrant).values(expires_at=db.database_now(-1))
        self.installation.change(lambda session: session.execute(past))

    def try_again(self) -> None:
        """As if the back-off were over."""
        now = sa.update(MailboxState).values(next_sync_at=db.database_now(-1))
        self.installation.change(lambda session: session.execute(now))


def granted(
    installation: Installation, tokens: TokenServer, imap: Any, account: Account, **more: Any
) -> Granted:
    installation.extra.update(tokens.environment)
    company = installation.add_company()
    mailbox = installation.add_mailbox(company, account, imap, secret="", **more)
    refresh_token = installation.vault.encrypt(tokens.grant(account.username))
    db.write(oauth.put_grant, mailbox, "custom", refresh_token)
    return Granted(installation, tokens, account, company, mailbox)


def endpoint(host: str, port: int, **more: Any) -> Endpoint:
    values = {"security": "plain", "username": "u", "password": "", "timeout": 5}
    return Endpoint(host=host, port=port, **(values | more))


@pytest.fixture
def trusting(installation: Installation, servers: OAuthServers, tmp_path: Path) -> Installation:
    """An installation that trusts the authorities of all three servers."""
    both = tmp_path / "authorities.pem"
    files = {installation.ca_file, servers.imap.ca_file, servers.smtp.ca_file}
    both.write_text("".join(file.read_text() for file in files if file))
    installation.ca_file = both
    return installation
