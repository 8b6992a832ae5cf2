"""A private Postfix: own configuration, queue and high ports; nothing ever leaves the machine.

Every address of every domain is a mailbox here, except these, by their local part:

    refused...   550 5.1.1 at RCPT
    deferred...  450 4.2.0 at RCPT
    greylisted.. 450 4.2.0 at RCPT, with a stated delay of 300 seconds
    shutdown...  421 4.3.2 at RCPT, and the connection is closed
    rejected...  550 5.7.1 after the final dot (it looks at the To header)
    spam...      554 5.7.1 after the final dot
    later...     451 4.7.1 after the final dot
    closing...   421 4.3.2 after the final dot, and the connection is closed
    bounced...   accepted; then a real bounce (RFC 3464) is delivered to the envelope sender

STARTTLS and AUTH are offered, not demanded. Postfix asks Dovecot whether a password is right, so
that without a Dovecot there is no AUTH.
"""

from __future__ import annotations

import os
import shutil
import smtplib
from pathlib import Path

from backend.demo.servers import Account
from tests.servers.accounts import new_account
from tests.servers.certificates import make_certificates
from tests.servers.dovecot import DovecotServer
from tests.servers.shared import (
    HOST,
    Facts,
    ServerMissing,
    SharedServers,
    find_program,
    free_ports,
    run_program,
    wait_until,
)

HOW = "apt-get install postfix, and run the tests as root"
MAIL_UID = 5000

MAIN = """
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
mail_owner = postfix
setgid_group = postdrop
maillog_file = {home}/data/mail.log
maillog_file_prefixes = {home}
myhostname = localhost
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
local_recipient_maps =
disable_dns_lookups = yes
smtpd_peername_lookup = no
default_transport = error:nothing leaves this machine
virtual_mailbox_domains = static:all
virtual_mailbox_base = {home}
virtual_mailbox_maps = static:mail/
virtual_minimum_uid = 100
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{uid}
transport_maps = regexp:{home}/transport
header_checks = regexp:{home}/header_checks
smtpd_recipient_restrictions = check_recipient_access regexp:{home}/recipients, permit
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_end_of_data_restrictions = check_recipient_access regexp:{home}/end_of_data, permit
smtpd_tls_cert_file = {home}/cert.pem
smtpd_tls_key_file = {home}/key.pem
smtpd_tls_security_level = may
smtpd_sasl_auth_enable = {auth}
smtpd_sasl_type = dovecot
smtpd_sasl_path = {auth_socket}
broken_sasl_auth_clients = no
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_error_sleep_time = 0
in_flow_delay = 0
message_size_limit = 36700160
virtual_mailbox_limit = 0
"""

MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
127.0.0.1:{tls_port} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
virtual unix - n n - - virtual
local unix - n n - - local
anvil unix - - n - 1 anvil
proxymap unix - - n - - proxymap
tlsmgr unix - - n 1000? 1 tlsmgr
showq unix n - n - - showq
flush unix n - n 1000? 0 flush
postlog unix-dgram n - n - 1 postlogd
"""

RECIPIENTS = """
/^refused/ 550 5.1.1 User unknown
/^deferred/ 450 4.2.0 Mailbox busy, try again later
/^greylisted/ 450 4.2.0 Greylisted, please try again in 300 seconds
/^shutdown/ 421 4.3.2 Service shutting down
"""
END_OF_DATA = """
/^spam/ 554 5.7.1 This looks like spam
/^later/ 451 4.7.1 Too many mails, come back in 00:10:00
/^closing/ 421 4.3.2 Service shutting down
"""
HEADER_CHECKS = "/^To:.*rejected/ REJECT 5.7.1 Content refused\n"
# No user of this machine has such a name: local(8) accepts the mail and finds out later.
TRANSPORT = "/^bounced/ local:\n"


class PostfixServer:
    """A real SMTP server that delivers everything into one Maildir that tests can read."""

    host = HOST

    def __init__(self, facts: Facts) -> None:
        self.port: int = facts["port"]
        self.tls_port: int = facts["tls_port"]
        self.ca_file = Path(facts["ca_file"])
        self._home = Path(facts["home"])
        self._password: str | None = facts["password"]

    def add_user(self) -> Account:
        """A sign-in that AUTH accepts. Raises ServerMissing without a Dovecot."""
        if self._password is None:
            raise ServerMissing("Dovecot, whom Postfix asks for passwords: see above")
        return new_account(self._password)

    def delivered(self, address: str) -> list[bytes]:
        """The mails that lie in the mailbox of the address, oldest first, once the queue is empty.

        They begin with the Return-Path, X-Original-To, Delivered-To and Received of Postfix.
        """
        wait_until(self._queue_is_empty, "Postfix has delivered its queue")
        mails = [file.read_bytes() for file in _by_age(self._home / "mail" / "new")]
        wanted = f"\nX-Original-To: {address}\n".encode()
        return [
            mail.replace(b"\n", b"\r\n") for mail in mails if wanted in mail.partition(b"\n\n")[0]
        ]

    def _queue_is_empty(self) -> bool:
        # In the way of a mail: what moves from incoming to active is seen in one or the other.
        # A bounce enters incoming before its cause leaves active, hence the second look.
        return not any(self._queued(name) for name in ("incoming", "active", "incoming"))

    def _queued(self, name: str) -> bool:
        return any(file.is_file() for file in (self._home / "queue" / name).rglob("*"))


def postfix(servers: SharedServers, dovecot: DovecotServer | None) -> PostfixServer:
    """The session's Postfix, which asks this Dovecot for passwords. Raises ServerMissing."""
    return PostfixServer(servers.facts("postfix", lambda home: start(home, dovecot), wait))


def stop_postfix(facts: Facts) -> None:
    """End a Postfix that this session started."""
    run_program("postfix", "-c", f"{facts['home']}/etc", "stop")


def start(home: Path, dovecot: DovecotServer | None) -> Facts:
    _check_available()
    certificates = make_certificates(home)
    for name in ("etc", "queue", "data", "mail"):
        (home / name).mkdir(exist_ok=True)
    shutil.chown(home / "data", "postfix")
    os.chown(home / "mail", MAIL_UID, MAIL_UID)
    main = MAIN.format(
        home=home,
        uid=MAIL_UID,
        auth="yes" if dovecot else "no",
        auth_socket=dovecot.auth_socket if dovecot else "nobody",
    )
    (home / "etc" / "main.cf").write_text(main)
    (home / "recipients").write_text(RECIPIENTS)
    (home / "end_of_data").write_text(END_OF_DATA)
    (home / "header_checks").write_text(HEADER_CHECKS)
    (home / "transport").write_text(TRANSPORT)
    port, tls_port = _start_master(home)
    return {
        "home": str(home),
        "port": port,
        "tls_port": tls_port,
        "ca_file": str(certificates.ca_file),
        "password": dovecot.password if dovecot else None,
    }


def _start_master(home: Path, tries: int = 3) -> list[int]:
    """Its ports. Another program may take one before the master does: then others are tried."""
    ports = free_ports(2)
    text = MASTER.format(port=ports[0], tls_port=ports[1])
    (home / "etc" / "master.cf").write_text(text)
    try:
        run_program("postfix", "-c", str(home / "etc"), "start")
    except RuntimeError as error:
        log = home / "data" / "mail.log"
        said = log.read_text(errors="replace")[-2000:] if log.exists() else ""
        if tries > 1 and "Address already in use" in said:
            log.unlink()
            return _start_master(home, tries - 1)
        raise RuntimeError(f"{error} {said}") from error
    return ports


def wait(facts: Facts) -> None:
    # The master listens even when smtpd finds a fault in the configuration: wait for a greeting.
    wait_until(lambda: _greets(facts["port"]), f"Postfix greets, {facts['home']}/data/mail.log")


def _check_available() -> None:
    if os.geteuid() != 0 or not find_program("postfix"):
        raise ServerMissing(f"Postfix: {HOW}")


def _greets(port: int) -> bool:
    try:
        with smtplib.SMTP(HOST, port, timeout=5) as client:
            return client.noop()[0] == 250
    except (OSError, smtplib.SMTPException):
        return False


def _by_age(directory: Path) -> list[Path]:
    if not directory.exists():
        return []
    return sorted(directory.iterdir(), key=lambda file: file.stat().st_mtime_ns)
