"""Tokens at rest, and two workers that want others at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from backend.app import db
from backend.app.errors import MailboxMisconfigured, Throttled
from backend.app.mail.oauth import GrantRefused
from backend.app.store import oauth
from backend.app.tokens import StoredTokens
from tests.installation import Installation
from tests.oauth.conftest import Granted, granted
from tests.servers.shared import wait_until
from tests.servers.token_server import TokenServer


@pytest.fixture
def box(installation: Installation, token_server: TokenServer, embedded_imap: object) -> Granted:
    account = embedded_imap.add_user()  # type: ignore[attr-defined]
    return granted(installation, token_server, embedded_imap, account)


def test_both_tokens_are_encrypted_at_rest(box: Granted) -> None:
    access = box.source.token()
    row = box.row()
    vault = box.installation.vault
    assert row.access_token is not None
    assert vault.decrypt(row.access_token) == access
    assert "refresh-" not in row.refresh_token
    assert "access-" not in row.access_token


def test_rotated_refresh_token_replaces_the_old_one(box: Granted) -> None:
    before = box.row().refresh_token
    box.source.token()
    box.let_expire()
    box.source.token()
    after = box.row()
    assert after.refresh_token != before
    assert after.version == 3
    assert not box.tokens.grants[0].revoked


def test_refresh_token_stays_where_the_server_keeps_it(box: Granted) -> None:
    box.tokens.rotates = False
    before = box.row().refresh_token
    box.source.token()
    assert box.row().refresh_token == before


def test_many_workers_at_once_ask_once_and_get_the_same_token(box: Granted) -> None:
    """With a server that revokes the grant when a refresh token comes twice."""
    box.tokens.hold = threading.Event()
    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(box.source.token) for _ in range(6)]
        wait_until(lambda: box.row().refreshing_until is not None, "one asks")
        box.tokens.hold.set()
        found = {future.result(timeout=20) for future in waiting}
    assert len(found) == 1
    assert box.tokens.asked == 1
    assert not box.tokens.grants[0].revoked


def test_workers_refused_with_the_same_token_renew_it_once(box: Granted) -> None:
    refused = box.source.token()
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: box.source.renew(refused), range(4)))
    assert len(found) == 1
    assert found != {refused}
    assert box.tokens.asked == 2


def test_claim_of_a_killed_worker_ends(box: Granted) -> None:
    assert db.write(oauth.claim_refresh, box.mailbox, 1, -1.0)
    assert box.source.token().startswith("access-")


def test_claim_is_given_back_when_no_tokens_come(box: Granted) -> None:
    box.tokens.faults.append((503, b""))
    with pytest.raises(Throttled):
        box.source.token()
    assert box.row().refreshing_until is None
    assert box.source.token().startswith("access-")


def test_lost_grant_names_the_mailbox_and_the_command(box: Granted) -> None:
    box.tokens.revoke(box.account.username)
    with pytest.raises(GrantRefused, match=f"manage.py mailbox authorize {box.mailbox}"):
        box.source.token()


def test_mailbox_without_password_and_grant_says_so(box: Granted) -> None:
    db.write(oauth.drop_grant, box.mailbox)
    with pytest.raises(MailboxMisconfigured, match="neither a password nor an OAuth2 grant"):
        box.source.token()


def test_provider_that_is_not_set_up_is_named(box: Granted) -> None:
    settings = box.installation.settings
    db.write(oauth.put_grant, box.mailbox, "google", box.installation.vault.encrypt("x"))
    with pytest.raises(MailboxMisconfigured, match="OAUTH_GOOGLE_CLIENT_ID is missing"):
        StoredTokens(box.mailbox, settings, box.installation.vault).token()
