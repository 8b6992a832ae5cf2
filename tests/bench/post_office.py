"""A Dovecot with a full mailbox, of which everybody who is measured gets an equal one."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from imapclient import IMAPClient

from backend.demo.servers import Account
from tests.servers import dovecot
from tests.servers.dovecot import DovecotServer
from tests.servers.shared import stop_process

AT_ONCE = 20  # mails in one MULTIAPPEND


class PostOffice:
    """server: a Dovecot of our own. Mailboxes are copied on disk, which takes a second."""

    def __init__(self, home: Path, server: DovecotServer) -> None:
        self.server = server
        self._home = home
        self._copies = 0
        self.accounts: list[Account] = []  # those that were filled, the newest last

    def fill(self, mails: Iterable[bytes]) -> Account:
        """A new mailbox with these mails in INBOX."""
        account = self.server.add_user()
        self.accounts.append(account)
        with self._client(account) as client:
            batch: list[bytes] = []
            for raw in mails:
                batch.append(raw)
                if len(batch) == AT_ONCE:
                    client.multiappend("INBOX", batch)
                    batch = []
            if batch:
                client.multiappend("INBOX", batch)
        return account

    def add(self, account: Account, raw: bytes) -> None:
        with self._client(account) as client:
            client.append("INBOX", raw)

    def copy(self, account: Account) -> Account:
        """Another mailbox with the same mails under the same UIDs, as if never visited."""
        self._copies += 1
        name = f"copy{self._copies}.{account.username}"
        source, target = self._home / "mail" / account.username, self._home / "mail" / name
        shutil.copytree(source, target)
        for path in (target, *target.rglob("*")):
            os.chown(path, dovecot.MAIL_UID, dovecot.MAIL_UID)
        return Account(name, name, account.password)

    def forget(self, account: Account) -> None:
        shutil.rmtree(self._home / "mail" / account.username)

    def _client(self, account: Account) -> IMAPClient:
        client = IMAPClient(self.server.host, self.server.port, ssl=False, timeout=60)
        client.login(account.username, account.password)
        return client


@contextmanager
def post_office(home: Path) -> Iterator[PostOffice]:
    """Raises ServerMissing."""
    home.mkdir()
    home.chmod(0o755)
    facts = dovecot.start(home)
    try:
        dovecot.wait(facts)
        yield PostOffice(home, DovecotServer(facts))
    finally:
        stop_process(int(Path(facts["pid_file"]).read_text()), signal.SIGTERM)
