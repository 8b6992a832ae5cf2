"""The programs that we are measured against, each as its own documentation sets it up.

They store mail as it is, in files or one table; none of them parses, classifies or threads it.
What is not installed is left out and named, with the way to install it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backend.app.config import ROOT
from backend.demo.servers import Account
from tests.bench import measure
from tests.bench.measure import Cost, Failed
from tests.servers.dovecot import DovecotServer
from tests.servers.shared import find_program

BUILD = ROOT / ".venv" / "bench"
PYTHON = BUILD / "bin" / "python"
SCRIPTS = Path(__file__).parent / "peer_scripts"
FROM_PYPI = "make bench-peers"


@dataclass(frozen=True)
class Peer:
    """fetch(account, server, directory): into an empty directory. mails(directory): how many.

    program: what has to be there; how: what installs it. python: counts as a Python peer.
    """

    name: str
    program: str
    how: str
    fetch: Callable[[Account, DovecotServer, Path], Cost]
    mails: Callable[[Path], int]
    python: bool = False

    def is_installed(self) -> bool:
        return Path(self.program).exists() if "/" in self.program else bool(_path(self.program))

    def measure(self, account: Account, server: DovecotServer, directory: Path, mails: int) -> Cost:
        """Raises Failed, also when not all mails were fetched."""
        directory.mkdir()
        try:
            cost = self.fetch(account, server, directory)
            if (found := self.mails(directory)) < mails:
                raise Failed(f"{self.name} fetched {found} of {mails} mails")
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        return cost


def _path(program: str) -> str:
    return find_program(program) or ""


def _run(directory: Path, *command: str | Path, **more: str) -> Cost:
    env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(directory), **more}
    return measure.run(command, env, cwd=directory, log=directory / "log")


def _in_maildir(directory: Path) -> int:
    mail = directory / "mail"
    return sum(1 for name in ("new", "cur") for _ in mail.glob(f"**/{name}/*"))


def _maildir(directory: Path) -> Path:
    for name in ("new", "cur", "tmp"):
        (directory / "mail" / name).mkdir(parents=True)
    return directory / "mail"


def _mbsync(fsync: str) -> Callable[[Account, DovecotServer, Path], Cost]:
    def fetch(account: Account, server: DovecotServer, directory: Path) -> Cost:
        (directory / "mail").mkdir()
        (directory / "rc").write_text(
            f"FSync {fsync}\nIMAPAccount bench\nHost {server.host}\nPort {server.port}\n"
            f"User {account.username}\nPass {account.password}\nSSLType None\nAuthMechs LOGIN\n\n"
            "IMAPStore far\nAccount bench\n\n"
            f"MaildirStore near\nInbox {directory}/mail/inbox\nPath {directory}/mail/\n\n"
            "Channel bench\nFar :far:INBOX\nNear :near:INBOX\nSync Pull New\nCreate Near\n"
            f"SyncState {directory}/\n"
        )
        return _run(directory, _path("mbsync"), "-c", directory / "rc", "bench")

    return fetch


def _fetchmail(account: Account, server: DovecotServer, directory: Path) -> Cost:
    rc = directory / "rc"
    rc.write_text(
        f'poll {server.host} service {server.port} protocol imap user "{account.username}" '
        f'password "{account.password}" keep fetchall sslproto "" '
        f'mda "/bin/cat >> {directory}/mail"\n'
    )
    rc.chmod(0o600)
    return _run(
        directory, _path("fetchmail"), "-f", rc, "--nosyslog", "--idfile", directory / "ids"
    )


def _in_mbox(directory: Path) -> int:
    mail = directory / "mail"
    # fetchmail writes its own trace line into each mail.
    return mail.read_bytes().count(b"(fetchmail-") if mail.exists() else 0


def _offlineimap(account: Account, server: DovecotServer, directory: Path) -> Cost:
    (directory / "mail").mkdir()
    (directory / "rc").write_text(
        "[general]\naccounts = bench\nui = quiet\nfsync = yes\n"
        f"metadata = {directory}/state\n[Account bench]\nlocalrepository = here\n"
        "remoterepository = there\n[Repository here]\ntype = Maildir\n"
        f"localfolders = {directory}/mail\n[Repository there]\ntype = IMAP\nreadonly = True\n"
        f"remotehost = {server.host}\nremoteport = {server.port}\nssl = no\nstarttls = no\n"
        f"auth_mechanisms = LOGIN\nremoteuser = {account.username}\n"
        f"remotepass = {account.password}\nfolderfilter = lambda name: name == 'INBOX'\n"
    )
    return _run(directory, _path("offlineimap"), "-o", "-c", directory / "rc")


def _getmail(account: Account, server: DovecotServer, directory: Path) -> Cost:
    mail = _maildir(directory)
    (directory / "getmailrc").write_text(
        "[retriever]\ntype = SimpleIMAPRetriever\n"
        f"server = {server.host}\nport = {server.port}\nusername = {account.username}\n"
        f"password = {account.password}\nmailboxes = ('INBOX',)\n"
        f"[destination]\ntype = Maildir\npath = {mail}/\n{_as_nobody(mail)}"
        "[options]\nread_all = true\ndelete = false\nverbose = 0\n"
    )
    getmail = BUILD / "bin" / "getmail"
    return _run(directory, getmail, f"--getmaildir={directory}", f"--rcfile={directory}/getmailrc")


def _as_nobody(mail: Path) -> str:
    """It refuses to deliver as root."""
    if os.geteuid() != 0:
        return ""
    for path in (mail, *mail.iterdir()):
        shutil.chown(path, "nobody")
    return "user = nobody\n"


def _script(
    name: str, python: Path, *more: str, **env: str
) -> Callable[[Account, DovecotServer, Path], Cost]:
    def fetch(account: Account, server: DovecotServer, directory: Path) -> Cost:
        place = (server.host, str(server.port), account.username, account.password)
        return _run(directory, python, SCRIPTS / name, *place, *more, **env)

    return fetch


def _counted(directory: Path) -> int:
    """Our own scripts say at their end how many mails they stored."""
    words = (directory / "log").read_text().split()
    return int(words[-1]) if words and words[-1].isdigit() else 0


PEERS = (
    Peer("mbsync", "mbsync", "apt-get install isync", _mbsync("yes"), _in_maildir),
    Peer("mbsync without fsync", "mbsync", "apt-get install isync", _mbsync("no"), _in_maildir),
    Peer("fetchmail", "fetchmail", "apt-get install fetchmail", _fetchmail, _in_mbox),
    Peer(
        "offlineimap3",
        "offlineimap",
        "apt-get install offlineimap3",
        _offlineimap,
        _in_maildir,
        python=True,
    ),
    Peer("getmail6", str(BUILD / "bin/getmail"), FROM_PYPI, _getmail, _in_maildir, python=True),
    Peer(
        "django-mailbox",
        str(BUILD / "bin/django-admin"),
        FROM_PYPI,
        _script("django_mailbox_peer.py", PYTHON),
        _counted,
        python=True,
    ),
    Peer(
        "SQLAlchemy script",
        sys.executable,
        "",
        _script("plain_script.py", Path(sys.executable)),
        _counted,
        python=True,
    ),
)


def least_sync(name: str, database: str) -> Peer:
    """What no first sync in this language can do without, on a PostgreSQL's URL or '' for SQLite.

    No peer: it says how much of a bound is left for all else.
    """
    url = database.replace("+psycopg2", "")
    script = _script("least_sync.py", Path(sys.executable), url, PYTHONPATH=str(ROOT))
    return Peer(name, sys.executable, "", script, _counted)
