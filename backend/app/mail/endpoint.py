"""Where a mail server is and how to sign in, and what can go wrong on the way there."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from backend.app.errors import MailboxMisconfigured, NetworkFault


class TokenSource(Protocol):
    """Where an account's OAuth2 access tokens come from. Both raise MailboxError."""

    def token(self) -> str:
        """One that should be valid now."""

    def renew(self, refused: str) -> str:
        """Another one than `refused`, which a server did not take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server and an account on it. security: 'tls', 'starttls' or 'plain'.

    ca_file is trusted besides the system's authorities. The time-out, in seconds, holds for the
    connection and for each read. tokens: sign in by OAuth2 with these, not with the password.
    longest: how many seconds one answer may take in all, since a server that drips a byte now and
    then never runs into the time-out.
    """

    host: str
    port: int
    security: str
    username: str
    password: str = field(repr=False)
    tokens: TokenSource | None = field(default=None, repr=False)
    timeout: int = 30
    longest: int = 300
    ca_file: Path | None = None
    allow_plaintext_hosts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@contextlib.contextmanager
def cut_off(endpoint: Endpoint, connection: socket.socket) -> Iterator[None]:
    """Break the connection off after endpoint.longest seconds. Raises NetworkFault then."""
    over = threading.Event()

    def break_off() -> None:
        over.set()
        with contextlib.suppress(OSError):
            # Not the TLS socket's own method, which is not made for another thread's use.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)

    timer = threading.Timer(endpoint.longest, break_off)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if not over.is_set():
            raise
        raise NetworkFault(
            f"timeout: {endpoint} had not finished its answer after {endpoint.longest} s"
        ) from error
    finally:
        timer.cancel()


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Verifies the certificate and the host name, always. Raises MailboxMisconfigured."""
    try:
        return _verifying_context(endpoint.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise MailboxMisconfigured(
            f"TLS_CA_FILE {endpoint.ca_file} cannot be used: {error}"
        ) from error


@lru_cache(maxsize=8)
def _verifying_context(ca_file: Path | None) -> ssl.SSLContext:
    # Reading the system's authorities takes longer than all the rest of an idle visit.
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


def certificate_end(connection: socket.socket | None) -> datetime | None:
    """Until when the server's certificate is valid; None without TLS."""
    if not isinstance(connection, ssl.SSLSocket):
        return None
    ends = (connection.getpeercert() or {}).get("notAfter")
    if not isinstance(ends, str):
        return None
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC)


def require_protection(endpoint: Endpoint) -> None:
    """Refuse to send a password in the clear over a network. Raises MailboxMisconfigured."""
    if endpoint.security != "plain" or is_loopback(endpoint.host):
        return
    if endpoint.host not in endpoint.allow_plaintext_hosts:
        raise MailboxMisconfigured(
            f"{endpoint} would get the password unencrypted; use tls or starttls, or name the "
            "host in ALLOW_PLAINTEXT_HOSTS"
        )


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def network_fault(endpoint: Endpoint, error: OSError) -> NetworkFault:
    """The same few words for the same trouble, so that logs can be searched."""
    if isinstance(error, TimeoutError):
        return NetworkFault(f"timeout: no answer from {endpoint} within {endpoint.timeout} s")
    if isinstance(error, ssl.SSLCertVerificationError):
        return NetworkFault(
            f"certificate of {endpoint} not trusted: {error.verify_message} "
            "(a private authority's goes into TLS_CA_FILE)"
        )
    if isinstance(error, ssl.SSLError):
        return NetworkFault(f"TLS with {endpoint} failed: {error.reason or error}")
    if isinstance(error, socket.gaierror):
        return NetworkFault(f"host name {endpoint.host} cannot be resolved: {error.strerror}")
    return NetworkFault(f"no connection with {endpoint}: {error.strerror or error}")
