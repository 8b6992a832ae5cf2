"""A private Dovecot 2.3: own configuration, high ports, every user name with one password.

What its defaults would do to us: mail is refused to uid 0 and to uids under first_valid_uid; one
process per login (service_count); ten connections per user and address; two seconds for each
wrong password. A static passdb needs no user file, so that tests add users without a race:
any name is a user, whose mailbox appears at its first login.
"""

from __future__ import annotations

import os
import secrets
import signal
from datetime import datetime
from pathlib import Path

from imapclient import IMAPClient

from backend.demo.servers import Account
from tests.servers.accounts import new_account
from tests.servers.certificates import make_certificates
from tests.servers.shared import (
    HOST,
    Facts,
    ServerMissing,
    SharedServers,
    find_program,
    free_ports,
    listens,
    run_program,
    stop_process,
    wait_until,
)

HOW = "apt-get install dovecot-imapd, and run the tests as root"
MAIL_UID = 5000

CONFIGURATION = """
base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/dovecot.log
instance_name = relance-tests-{port}
protocols = imap
listen = 127.0.0.1
ssl = yes
ssl_cert = <{home}/cert.pem
ssl_key = <{home}/key.pem
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
first_valid_uid = 500
mail_location = sdbox:~/sdbox
mail_fsync = never
mail_max_userip_connections = 200
default_vsz_limit = 1G
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={uid} home={home}/mail/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
  mailbox Sent {{
    auto = create
    special_use = \\Sent
  }}
  mailbox Drafts {{
    auto = create
    special_use = \\Drafts
  }}
  mailbox Junk {{
    auto = create
    special_use = \\Junk
  }}
  mailbox Trash {{
    auto = create
    special_use = \\Trash
  }}
}}
service imap-login {{
  service_count = 0
  process_min_avail = 1
  client_limit = 2000
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
}}
service imap {{
  process_limit = 500
  process_min_avail = 2
  service_count = 200
}}
service anvil {{
  client_limit = 5000
  # Without this, one wrong password slows every later sign-in from the same address.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service auth {{
  client_limit = 5000
  # Postfix asks here whether a password is right.
  unix_listener {home}/auth-smtp {{
    mode = 0666
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
"""


class DovecotServer:
    """A real IMAP server. TLS on both ports (STARTTLS on the plain one), verified by ca_file."""

    host = HOST

    def __init__(self, facts: Facts) -> None:
        self.port: int = facts["port"]
        self.tls_port: int = facts["tls_port"]
        self.ca_file = Path(facts["ca_file"])
        self.auth_socket = Path(facts["auth_socket"])
        self.password: str = facts["password"]
        self._configuration: str = facts["configuration"]

    def add_user(self) -> Account:
        """A new user with an empty INBOX, and Sent, Drafts, Junk and Trash by SPECIAL-USE."""
        return new_account(self.password)

    def append(
        self, account: Account, raw: bytes, folder: str = "INBOX", when: datetime | None = None
    ) -> None:
        """Put a mail into the folder. Bare line feeds become CRLF; when is INTERNALDATE."""
        with self._client(account) as client:
            client.append(folder, raw, msg_time=when)

    def messages(self, account: Account, folder: str = "INBOX") -> list[bytes]:
        """The raw mails of the folder in the order of their UIDs; no flag is changed."""
        with self._client(account) as client:
            client.select_folder(folder, readonly=True)
            uids = client.search("ALL")
            found = client.fetch(uids, ["BODY.PEEK[]"]) if uids else {}
            return [found[uid][b"BODY[]"] for uid in sorted(found)]

    def create_folder(self, account: Account, folder: str) -> None:
        """An empty folder without SPECIAL-USE."""
        with self._client(account) as client:
            client.create_folder(folder)

    def new_uidvalidity(self, account: Account, folder: str = "INBOX") -> None:
        """Give the folder the next UIDVALIDITY; mails and their UIDs stay as they are."""
        with self._client(account) as client:
            old = client.folder_status(folder, ["UIDVALIDITY"])[b"UIDVALIDITY"]
        update = ("mailbox", "update", "-u", account.username, "--uid-validity", str(old + 1))
        run_program("doveadm", "-c", self._configuration, *update, folder)

    def _client(self, account: Account) -> IMAPClient:
        client = IMAPClient(self.host, self.port, ssl=False, timeout=20)
        client.login(account.username, account.password)
        return client


def dovecot(servers: SharedServers) -> DovecotServer:
    """The session's Dovecot. Raises ServerMissing."""
    return DovecotServer(servers.facts("dovecot", start, wait))


def stop_dovecot(facts: Facts) -> None:
    """End a Dovecot that this session started."""
    stop_process(int(Path(facts["pid_file"]).read_text()), signal.SIGTERM)


def start(home: Path, more: str = "") -> Facts:
    """Start one in `home`, which other users must be able to enter; `more`: settings besides.

    Raises ServerMissing.
    """
    _check_available()
    certificates = make_certificates(home)
    for name in ("run", "state", "mail"):
        (home / name).mkdir(exist_ok=True)
    os.chown(home / "mail", MAIL_UID, MAIL_UID)
    port, tls_port = free_ports(2)
    password = secrets.token_urlsafe(12)
    configuration = home / "dovecot.conf"
    configuration.write_text(
        CONFIGURATION.format(
            home=home, port=port, tls_port=tls_port, password=password, uid=MAIL_UID
        )
        + more
    )
    run_program("dovecot", "-c", str(configuration))
    return {
        "port": port,
        "tls_port": tls_port,
        "password": password,
        "configuration": str(configuration),
        "ca_file": str(certificates.ca_file),
        "auth_socket": str(home / "auth-smtp"),
        "pid_file": str(home / "run" / "master.pid"),
    }


def wait(facts: Facts) -> None:
    wait_until(lambda: listens(facts["port"]), f"Dovecot listens, {facts['configuration']}")


def _check_available() -> None:
    if os.geteuid() != 0 or not find_program("dovecot") or not find_program("doveadm"):
        raise ServerMissing(f"Dovecot: {HOW}")
    version = run_program("dovecot", "--version").split()[0]
    if not version.startswith("2.3."):
        raise ServerMissing(f"Dovecot {version}: these tests configure 2.3, as in Debian 12")
