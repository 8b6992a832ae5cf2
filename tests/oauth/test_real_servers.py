"""OAuth2 against a real Dovecot and Postfix: expiry, refresh, refusal, a revoked grant."""

from __future__ import annotations

import logging

import pytest

from backend.app import db
from backend.app.endpoints import smtp_endpoint
from backend.app.errors import CredentialsRefused
from backend.app.mail.oauth import GrantRefused
from backend.app.mail.smtp import open_smtp
from backend.app.store import admin_mailboxes, mailboxes
from tests.installation import Installation, mail
from tests.oauth.conftest import Granted, granted
from tests.servers.oauth_servers import OAuthServers


@pytest.fixture
def box(trusting: Installation, servers: OAuthServers) -> Granted:
    servers.tokens.faults.clear()
    smtp = {"smtp_host": servers.smtp.host, "smtp_port": servers.smtp.tls_port}
    account = servers.imap.add_user()
    return granted(trusting, servers.tokens, servers.imap, account, **smtp)


def receive(servers: OAuthServers, box: Granted) -> None:
    servers.imap.append(box.account, mail(sender="jean@client.test", to=box.account.address))


def test_mail_comes_in_with_a_token_that_serves_until_it_expires(
    box: Granted, servers: OAuthServers
) -> None:
    asked = servers.tokens.asked
    receive(servers, box)
    assert box.installation.sync().counts == {"mailboxes": 1, "stored": 1}
    box.installation.sync()
    assert servers.tokens.asked == asked + 1
    box.let_expire()
    receive(servers, box)
    assert box.installation.sync().counts["stored"] == 1
    assert servers.tokens.asked == asked + 2


def test_token_refused_before_its_time_is_renewed_once(box: Granted, servers: OAuthServers) -> None:
    box.installation.sync()
    servers.tokens.end_access(box.account.username)
    asked = servers.tokens.asked
    receive(servers, box)
    assert box.installation.sync().counts["stored"] == 1
    assert servers.tokens.asked == asked + 1


def test_revoked_grant_is_said_with_the_way_out_and_recovers_after_signing_in(
    box: Granted, servers: OAuthServers, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    box.installation.sync()
    stored = box.installation.vault.decrypt(box.row().refresh_token)
    servers.tokens.revoke(box.account.username)
    assert box.installation.sync().counts["mailboxes_failed"] == 1
    state = box.state()
    assert state.error_kind == "credentials"
    assert f"manage.py mailbox authorize {box.mailbox}" in (state.error or "")
    assert stored not in caplog.text + (state.error or "")
    assert "access-" not in caplog.text
    assert "refresh-" not in caplog.text
    fresh = box.installation.vault.encrypt(servers.tokens.grant(box.account.username))
    db.write(admin_mailboxes.set_grant, box.mailbox, "custom", fresh)
    receive(servers, box)
    assert box.installation.sync().counts["stored"] == 1


def test_token_server_that_is_away_is_no_lost_grant(box: Granted, servers: OAuthServers) -> None:
    servers.tokens.faults.append((503, b"busy"))
    box.installation.sync()
    assert box.state().error_kind == "throttled"
    box.try_again()
    receive(servers, box)
    assert box.installation.sync().counts["stored"] == 1
    assert box.state().error_kind is None


def test_reminders_go_out_with_the_same_grant(box: Granted, servers: OAuthServers) -> None:
    account = db.read(mailboxes.load_account, box.mailbox)
    endpoint = smtp_endpoint(account, box.installation.settings, box.installation.vault)
    open_smtp(endpoint).close()
    servers.tokens.end_access(box.account.username)
    open_smtp(endpoint).close()
    servers.tokens.revoke(box.account.username)
    with pytest.raises(GrantRefused):
        open_smtp(endpoint)


def test_server_that_refuses_every_token_is_asked_twice_and_no_more(
    box: Granted, servers: OAuthServers
) -> None:
    account = db.read(mailboxes.load_account, box.mailbox)
    endpoint = smtp_endpoint(account, box.installation.settings, box.installation.vault)
    servers.tokens.grants[-1].username = "somebody.else"
    asked = servers.tokens.asked
    with pytest.raises(CredentialsRefused, match="refused the user name or access token"):
        open_smtp(endpoint)
    assert servers.tokens.asked == asked + 2
