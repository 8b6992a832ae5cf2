"""The network edge towards HTTP servers (RFC 9110): one request, one bounded answer.

The connection is ours, so that certificates, time-outs and named errors are those of the mail
servers. A redirect is an answer like any other: a secret goes to the server that was named, and
nowhere else.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from backend.app.errors import MailboxMisconfigured, NetworkFault
from backend.app.mail.endpoint import (
    Endpoint,
    cut_off,
    network_fault,
    require_protection,
    tls_context,
)

LONGEST_ANSWER = 64_000


@dataclass(frozen=True, slots=True)
class Answer:
    """raw: at most LONGEST_ANSWER bytes of the body. retry_after: None where it says nothing."""

    status: int
    raw: bytes = field(repr=False)
    retry_after: timedelta | None = None


def web_endpoint(
    url: str,
    *,
    timeout: int,
    longest: int = 300,
    ca_file: Path | None = None,
    allow_plaintext_hosts: tuple[str, ...] = (),
) -> Endpoint:
    """The URL's server. Raises MailboxMisconfigured where a secret would go in the clear."""
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise MailboxMisconfigured(f"{url!r} is no usable URL")
    tls = parts.scheme == "https"
    endpoint = Endpoint(
        host=parts.hostname,
        port=parts.port or (443 if tls else 80),
        security="tls" if tls else "plain",
        username="",
        password="",
        timeout=timeout,
        longest=longest,
        ca_file=ca_file,
        allow_plaintext_hosts=allow_plaintext_hosts,
    )
    require_protection(endpoint)
    return endpoint


def target_of(url: str) -> str:
    """What stands in the request's first line: the path and the query."""
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def ask(
    endpoint: Endpoint,
    method: str,
    target: str,
    *,
    headers: Mapping[str, str],
    body: bytes | None = None,
    connected: Callable[[], None] = lambda: None,
) -> Answer:
    """Send one request and read its answer, whatever its status.

    connected runs when the connection stands, TLS included, and before the first byte of the
    request; what it raises passes through, and nothing was sent. Raises NetworkFault.
    """
    connection = _connection(endpoint)
    try:
        try:
            connection.connect()
        except OSError as error:
            raise network_fault(endpoint, error) from None
        connected()
        return _exchange(endpoint, connection, method, target, headers, body)
    finally:
        connection.close()


def _connection(endpoint: Endpoint) -> http.client.HTTPConnection:
    if endpoint.security == "tls":
        return http.client.HTTPSConnection(
            endpoint.host, endpoint.port, timeout=endpoint.timeout, context=tls_context(endpoint)
        )
    return http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=endpoint.timeout)


def _exchange(
    endpoint: Endpoint,
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes | None,
) -> Answer:
    try:
        with cut_off(endpoint, connection.sock):
            connection.request(method, target, body, dict(headers))
            response = connection.getresponse()
            raw = response.read(LONGEST_ANSWER)
    except OSError as error:
        raise network_fault(endpoint, error) from None
    except http.client.HTTPException as error:
        raise NetworkFault(f"{endpoint} broke off: {type(error).__name__}") from None
    return Answer(response.status, raw, stated_pause(response.headers))


def stated_pause(headers: Message) -> timedelta | None:
    """Retry-After (RFC 9110, 10.2.3): seconds, or a date by the server's own clock. Not bounded."""
    said = (headers.get("Retry-After") or "").strip()
    if said.isascii() and said.isdigit():
        return timedelta(seconds=int(said[:9]))
    try:
        at = parsedate_to_datetime(said)
        now = parsedate_to_datetime(headers.get("Date") or "")
        return max(at - now, timedelta(0))
    except (TypeError, ValueError):  # neither, or a date without a zone beside one with it
        return None
