"""OAuth2 access tokens of a mailbox: the stored one, or another, asked for by one worker at a time.

    load the grant; its access token is still valid: done            read
    claim the refresh (version, until)                               commit
    ask the token server                                             no transaction is open
    store what came, version + 1; the claim ends with it             commit

Some servers take each refresh token once and revoke the whole grant when one comes twice
(RFC 9700, 4.14.2), so two workers must never ask with the same one. Who finds the claim taken
waits for the other's tokens. A worker that is killed in between leaves a claim that ends by time.
"""

from __future__ import annotations

import time

from backend.app import db
from backend.app.config import Settings
from backend.app.credentials import Vault
from backend.app.errors import MailboxMisconfigured, Throttled
from backend.app.mail.oauth import GrantRefused, Provider, Tokens, TokenServer
from backend.app.store import oauth
from backend.app.store.records import Grant

CLAIM_MARGIN_SECONDS = 15
LOOK_AGAIN_SECONDS = 0.2


def token_server(name: str, settings: Settings) -> TokenServer:
    """Raises MailboxMisconfigured when this installation has no registration with it."""
    client = settings.oauth_clients.get(name)
    if client is None:
        raise MailboxMisconfigured(
            f"OAuth2 {name} is not set up here: OAUTH_{name.upper()}_CLIENT_ID is missing"
        )
    return TokenServer(
        provider=Provider(
            name=name,
            client_id=client.client_id,
            client_secret=client.client_secret,
            token_url=client.token_url,
            authorization_url=client.authorization_url,
            device_url=client.device_url,
            scope=client.scope,
            parameters=client.parameters,
        ),
        timeout=settings.imap_timeout_seconds,
        ca_file=settings.tls_ca_file,
        allow_plaintext_hosts=settings.allow_plaintext_hosts,
    )


class StoredTokens:
    """The tokens of a mailbox's grant (see TokenSource). Both methods raise MailboxError."""

    def __init__(self, integration_id: int, settings: Settings, vault: Vault) -> None:
        self._id = integration_id
        self._settings = settings
        self._vault = vault

    def token(self) -> str:
        grant = self._load()
        if grant.valid and grant.access_token is not None:
            return self._decrypt(grant.access_token)
        return self._other_than(grant)

    def renew(self, refused: str) -> str:
        grant = self._load()
        if grant.valid and grant.access_token is not None:
            stored = self._decrypt(grant.access_token)
            if stored != refused:  # another worker was refused too, and has renewed it
                return stored
        return self._other_than(grant)

    def _load(self) -> Grant:
        grant = db.read(oauth.load_grant, self._id)
        if grant is None:
            raise MailboxMisconfigured(
                f"mailbox {self._id} has neither a password nor an OAuth2 grant; give it one: "
                f"manage.py mailbox authorize {self._id} --oauth NAME"
            )
        return grant

    def _other_than(self, grant: Grant) -> str:
        """Newer tokens than this grant's, from the token server or from whoever asks it now."""
        server = token_server(grant.provider, self._settings)
        seconds = server.timeout + CLAIM_MARGIN_SECONDS
        deadline = time.monotonic() + seconds
        while not db.write(oauth.claim_refresh, self._id, grant.version, seconds):
            newer = self._load()
            if newer.version != grant.version and newer.access_token is not None:
                return self._decrypt(newer.access_token)
            grant = newer
            if time.monotonic() > deadline:
                raise Throttled(f"another worker has asked {server} for tokens all this while")
            time.sleep(LOOK_AGAIN_SECONDS)
        return self._refresh(server, grant)

    def _refresh(self, server: TokenServer, grant: Grant) -> str:
        try:
            tokens = server.refresh(self._decrypt(grant.refresh_token))
        except GrantRefused as refused:
            newer = self._load()
            if newer.version != grant.version and newer.access_token is not None:
                return self._decrypt(newer.access_token)  # somebody signed in again meanwhile
            db.write(oauth.end_refresh, self._id, grant.version)
            raise GrantRefused(
                f"{refused}: the grant was revoked or has expired; sign in again: "
                f"manage.py mailbox authorize {self._id}"
            ) from None
        except BaseException:
            db.write(oauth.end_refresh, self._id, grant.version)
            raise
        self._store(grant, tokens)
        return tokens.access_token

    def _store(self, grant: Grant, tokens: Tokens) -> None:
        refresh_token = tokens.refresh_token
        db.write(
            oauth.store_tokens,
            self._id,
            grant.version,
            access_token=self._vault.encrypt(tokens.access_token),
            refresh_token=None if refresh_token is None else self._vault.encrypt(refresh_token),
            expires_in=tokens.expires_in,
        )

    def _decrypt(self, token: str) -> str:
        return self._vault.decrypt(token)


class FreshTokens:
    """The tokens that a person's sign-in has just brought, before any mailbox is stored."""

    def __init__(self, server: TokenServer, refresh_token: str) -> None:
        self._server = server
        self._access_token: str | None = None
        self.refresh_token = refresh_token

    def token(self) -> str:
        return self._access_token or self.renew("")

    def renew(self, refused: str) -> str:
        tokens = self._server.refresh(self.refresh_token)
        self.refresh_token = tokens.refresh_token or self.refresh_token
        self._access_token = tokens.access_token
        return tokens.access_token
