"""A private Cyrus IMAP 3.6, unpacked beside the system: its package conflicts with Dovecot's.

    mkdir /opt/cyrus && cd /opt/cyrus
    apt-get download cyrus-common cyrus-imapd libical3 libpcre3 libxapian30
    for file in *.deb; do dpkg -x "$file" .; done
    CYRUS_ROOT=/opt/cyrus make test

What surprises: it leaves root for `cyrus_user` and needs every directory to be that user's;
folders appear at a user's first login (autocreate); nothing renumbers one, so it is made anew.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import sys
from datetime import datetime
from pathlib import Path

from imapclient import IMAPClient

from backend.app.config import ROOT
from backend.demo.servers import Account
from tests.servers.accounts import new_account
from tests.servers.certificates import make_certificates
from tests.servers.shared import (
    HOST,
    Facts,
    ServerMissing,
    SharedServers,
    free_ports,
    listens,
    stop_process,
    wait_until,
)

HOW = "set CYRUS_ROOT to where its packages are unpacked (tests/servers/cyrus.py), as root"
USER = "mail"
FOLDERS = ("Sent", "Drafts", "Junk", "Trash")
LIBRARIES = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu")

CONFIGURATION = """
configdirectory: {home}/conf
partition-default: {home}/spool
defaultpartition: default
cyrus_user: {user}
admins: admin
allowplaintext: yes
sasl_pwcheck_method: saslauthd
sasl_saslauthd_path: {home}/saslauthd
sasl_mech_list: PLAIN
tls_server_cert: {home}/cert.pem
tls_server_key: {home}/key.pem
unixhierarchysep: yes
altnamespace: yes
virtdomains: userid
autocreate_quota: 0
autocreate_inbox_folders: {folders}
autocreate_subscribe_folders: {folders}
xlist-sent: Sent
xlist-drafts: Drafts
xlist-junk: Junk
xlist-trash: Trash
delete_mode: immediate
expunge_mode: immediate
duplicatesuppression: no
search_engine: none
proc_path: {home}/run/proc
mboxname_lockpath: {home}/run/lock
idlesocket: {home}/run/idle
notifysocket: {home}/run/notify
"""

SERVICES = """
START {{
  recover cmd="{bin}/ctl_cyrusdb -C {configuration} -r"
}}
SERVICES {{
  imap cmd="{bin}/imapd -C {configuration} -U 200" listen="127.0.0.1:{port}" prefork=2
  imaps cmd="{bin}/imapd -s -C {configuration} -U 200" listen="127.0.0.1:{tls_port}" prefork=2
}}
EVENTS {{
  checkpoint cmd="{bin}/ctl_cyrusdb -C {configuration} -c" period=300
}}
"""


class CyrusServer:
    """A real IMAP server, behind the same interface as Dovecot's."""

    host = HOST

    def __init__(self, facts: Facts) -> None:
        self.port: int = facts["port"]
        self.tls_port: int = facts["tls_port"]
        self.ca_file = Path(facts["ca_file"])
        self.password: str = facts["password"]

    def add_user(self) -> Account:
        """A new user with an empty INBOX, and Sent, Drafts, Junk and Trash by SPECIAL-USE."""
        account = new_account(self.password)
        with self._client(account.username):
            return account

    def append(
        self, account: Account, raw: bytes, folder: str = "INBOX", when: datetime | None = None
    ) -> None:
        """Put a mail into the folder. when is INTERNALDATE."""
        with self._client(account.username) as client:
            client.append(folder, raw, msg_time=when)

    def messages(self, account: Account, folder: str = "INBOX") -> list[bytes]:
        """The raw mails of the folder in the order of their UIDs; no flag is changed."""
        with self._client(account.username) as client:
            return [raw for raw, _ in _contents(client, folder)]

    def create_folder(self, account: Account, folder: str) -> None:
        """An empty folder without SPECIAL-USE."""
        with self._client(account.username) as client:
            client.create_folder(folder)

    def new_uidvalidity(self, account: Account, folder: str = "INBOX") -> None:
        """The same mails in a folder made anew; INBOX takes the user's other folders with it."""
        with self._client(account.username) as client:
            names = [name for _, _, name in client.list_folders()]
            kept = {name: _contents(client, name) for name in names}
        with self._client("admin") as admin:
            admin.setacl(f"user/{account.username}", "admin", "lrswipkxtecda")
            admin.delete_folder(f"user/{account.username}")
        with self._client(account.username) as client:
            there = [name for _, _, name in client.list_folders()]
            for name, mails in kept.items():
                if name not in there:
                    client.create_folder(name)
                for raw, when in mails:
                    client.append(name, raw, msg_time=when)

    def _client(self, username: str) -> IMAPClient:
        client = IMAPClient(self.host, self.port, ssl=False, timeout=20)
        client.normalise_times = False
        client.login(username, self.password)
        return client


def _contents(client: IMAPClient, folder: str) -> list[tuple[bytes, datetime]]:
    client.select_folder(folder, readonly=True)
    uids = client.search("ALL")
    found = client.fetch(uids, ["BODY.PEEK[]", "INTERNALDATE"]) if uids else {}
    return [(found[uid][b"BODY[]"], found[uid][b"INTERNALDATE"]) for uid in sorted(found)]


def cyrus(servers: SharedServers) -> CyrusServer:
    """The session's Cyrus. Raises ServerMissing."""
    return CyrusServer(servers.facts("cyrus", _start, _wait))


def stop_cyrus(facts: Facts) -> None:
    """End a Cyrus that this session started."""
    stop_process(facts["master"], signal.SIGTERM)
    stop_process(facts["saslauthd"], signal.SIGTERM)


def _start(home: Path) -> Facts:
    programs = _programs()
    certificates = make_certificates(home)
    for name in ("conf", "conf/socket", "spool", "run"):
        (home / name).mkdir(exist_ok=True)
    port, tls_port = free_ports(2)
    password = secrets.token_urlsafe(12)
    configuration = home / "imapd.conf"
    folders = "|".join(FOLDERS)
    configuration.write_text(CONFIGURATION.format(home=home, user=USER, folders=folders))
    services = home / "cyrus.conf"
    services.write_text(
        SERVICES.format(bin=programs, configuration=configuration, port=port, tls_port=tls_port)
    )
    _give_to_user(home)
    saslauthd = _spawn(
        [sys.executable, "-m", "tests.servers.saslauthd", str(home / "saslauthd"), password], home
    )
    master = _spawn(
        [
            *(str(programs / "master"), "-C", str(configuration), "-M", str(services)),
            *("-p", str(home / "master.pid"), "-D"),
        ],
        home,
    )
    return {
        "port": port,
        "tls_port": tls_port,
        "password": password,
        "ca_file": str(certificates.ca_file),
        "master": master,
        "saslauthd": saslauthd,
        "socket": str(home / "saslauthd"),
    }


def _spawn(command: list[str], home: Path) -> int:
    root = Path(os.environ["CYRUS_ROOT"])
    libraries = ":".join(str(root / name) for name in LIBRARIES)
    # No Popen: it outlives the test that happens to start it, and whoever made it.
    to_log = (os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return os.posix_spawn(
        command[0],
        command,
        {**os.environ, "LD_LIBRARY_PATH": libraries, "PYTHONPATH": str(ROOT)},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(home / "output.log"), *to_log),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def _give_to_user(home: Path) -> None:
    user = pwd.getpwnam(USER)
    for path in (home, *home.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid)


def _wait(facts: Facts) -> None:
    wait_until(lambda: Path(facts["socket"]).exists(), "the password server of Cyrus listens")
    wait_until(lambda: listens(facts["tls_port"]), "Cyrus listens")


def _programs() -> Path:
    programs = Path(os.environ.get("CYRUS_ROOT", "/nowhere")) / "usr" / "lib" / "cyrus" / "bin"
    if os.geteuid() != 0 or not shutil.which("master", path=str(programs)):
        raise ServerMissing(f"Cyrus: {HOW}")
    return programs
