"""The embedded IMAP server behind the same interface as the real one."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from backend.demo.servers import Account, MailServers
from tests.servers.accounts import new_account

PASSWORD = "embedded secret"


class EmbeddedImapServer:
    """pymap, in a thread of the test process. TLS on both ports, verified by ca_file."""

    def __init__(self, servers: MailServers, ca_file: Path) -> None:
        assert servers.imap_tls_port is not None
        self.host = servers.host
        self.port = servers.imap_port
        self.tls_port = servers.imap_tls_port
        self.ca_file = ca_file
        self._servers = servers

    def add_user(self) -> Account:
        """A new user with an empty INBOX, and Sent by SPECIAL-USE."""
        account = new_account(PASSWORD)
        self._servers.add_account(account.username, account.password)
        return account

    def append(
        self, account: Account, raw: bytes, folder: str = "INBOX", when: datetime | None = None
    ) -> None:
        """Put the bytes into the folder as they are. when: aware, INTERNALDATE."""
        self._servers.append(account.username, raw, folder, when)

    def messages(self, account: Account, folder: str = "INBOX") -> list[bytes]:
        """The raw mails of the folder in the order of their UIDs; no flag is changed."""
        return self._servers.messages(account.username, folder)

    def create_folder(self, account: Account, folder: str) -> None:
        """An empty folder without SPECIAL-USE."""
        self._servers.create_folder(account.username, folder)

    def new_uidvalidity(self, account: Account, folder: str = "INBOX") -> None:
        """Renumber the folder: the same mails under a new UIDVALIDITY and new UIDs."""
        self._servers.new_uidvalidity(account.username, folder)
