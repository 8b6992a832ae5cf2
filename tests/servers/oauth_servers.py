"""A real Dovecot that takes OAuth2 access tokens, a Postfix that asks it, and their token server.

Dovecot asks the token server about each access token (RFC 7662); Postfix hands AUTH on to Dovecot.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.servers import dovecot, postfix
from tests.servers.certificates import Certificates
from tests.servers.token_server import TokenServer

PASSDB = """
auth_mechanisms = plain login {mechanisms}
passdb {{
  driver = oauth2
  mechanisms = {mechanisms}
  args = {home}/oauth2.conf
}}
"""
OAUTH2 = """
introspection_mode = post
introspection_url = {url}
username_attribute = username
active_attribute = active
active_value = true
"""


@dataclass(frozen=True)
class OAuthServers:
    imap: dovecot.DovecotServer
    smtp: postfix.PostfixServer
    tokens: TokenServer


@contextlib.contextmanager
def oauth_servers(certificates: Certificates, mechanisms: str) -> Iterator[OAuthServers]:
    """All three, for one mechanism or both: `xoauth2 oauthbearer`. Raises ServerMissing."""
    with contextlib.ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="relance-tests-oauth-"))
        directory.chmod(0o755)  # Dovecot and Postfix leave root behind
        stack.callback(shutil.rmtree, directory)
        tokens = stack.enter_context(TokenServer(certificates))
        imap = _dovecot(stack, directory / "dovecot", tokens, mechanisms)
        home = directory / "postfix"
        home.mkdir()
        facts = postfix.start(home, imap)
        stack.callback(postfix.stop_postfix, facts)
        postfix.wait(facts)
        yield OAuthServers(imap, postfix.PostfixServer(facts), tokens)


def _dovecot(
    stack: contextlib.ExitStack, home: Path, tokens: TokenServer, mechanisms: str
) -> dovecot.DovecotServer:
    home.mkdir()
    (home / "oauth2.conf").write_text(OAUTH2.format(url=tokens.introspection_url))
    facts = dovecot.start(home, PASSDB.format(home=home, mechanisms=mechanisms))
    stack.callback(dovecot.stop_dovecot, facts)
    dovecot.wait(facts)
    return dovecot.DovecotServer(facts)
