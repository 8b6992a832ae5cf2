"""The network edge towards SMTP (RFC 5321): one mail, one recipient, and exactly what is known.

connect, MAIL, RCPT, DATA    nothing can have gone out          -> NotSent (or MailboxError)
before_body()                the caller commits 'sending'
the body, without its end    the server must drop a cut-off mail -> NotSent
the final dot                from here on nobody knows           -> SendUncertain
the reply                    2xx sent, 4xx and 5xx               -> NotSent
"""

from __future__ import annotations

import contextlib
import re
import smtplib
import socket
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import datetime

from backend.app.errors import (
    CredentialsRefused,
    MailboxError,
    NetworkFault,
    NotSent,
    SendUncertain,
    ServerFault,
    Throttled,
)
from backend.app.mail.charsets import printable_line
from backend.app.mail.delays import stated_delay
from backend.app.mail.endpoint import (
    Endpoint,
    certificate_end,
    network_fault,
    require_protection,
    tls_context,
)
from backend.app.mail.sasl import SaslToken

END_OF_DATA = b".\r\n"


class SmtpConnection:
    """A signed-in connection, good for many mails."""

    def __init__(self, client: smtplib.SMTP, endpoint: Endpoint) -> None:
        self._client = client
        self._endpoint = endpoint
        self.usable = True

    def certificate_end(self) -> datetime | None:
        """Until when the server's certificate is valid (aware UTC); None without TLS."""
        return certificate_end(self._client.sock)

    def send(
        self,
        *,
        sender: str,
        recipient: str,
        raw: bytes,
        before_body: Callable[[], None],
        body_within: float,
    ) -> str:
        """Send one mail and return the server's last words.

        before_body runs when the server has accepted everything but the body; what it raises
        ends the attempt with nothing sent, and passes through. body_within: seconds that may
        pass between its return and the body; a process that was frozen meanwhile must not send.
        Raises NotSent, SendUncertain, or ServerFault when this mailbox may not send at all.
        """
        try:
            self._envelope(sender, recipient)
            before_body()
            allowed_until = time.monotonic() + body_within
            self._body(raw, allowed_until)
            return self._final_dot()
        except NotSent as refused:
            self._recover(refused)
            raise
        except BaseException:
            self._abandon()
            raise

    def _envelope(self, sender: str, recipient: str) -> None:
        with self._nothing_sent():
            self._expect_sender(self._client.mail(_ascii(sender)))
            self._expect(250, self._client.rcpt(_ascii(recipient)))
            self._expect(354, self._client.docmd("DATA"))

    def _body(self, raw: bytes, allowed_until: float) -> None:
        if time.monotonic() > allowed_until:
            self._abandon()
            raise NotSent("held up before the body; nothing went out", permanent=False)
        with self._nothing_sent():
            self._client.send(_dot_stuffed(raw))

    def _final_dot(self) -> str:
        try:
            self._client.send(END_OF_DATA)
            code, words = self._client.getreply()
        except (OSError, smtplib.SMTPException) as error:
            raise SendUncertain(f"after the whole mail: {self._cause(error)}") from error
        if code // 100 not in (2, 4, 5):
            raise SendUncertain(f"{self._endpoint} answered what SMTP does not allow: {code}")
        self._expect(250, (code, words))
        return _text(words)

    def _expect_sender(self, reply: tuple[int, bytes]) -> None:
        # Refused for good at MAIL is the sender, whoever the recipient: sign-in is wanted, or the
        # address is not this account's. No reminder is to blame for it.
        code, words = reply
        if code // 100 == 5:
            raise ServerFault(f"{self._endpoint} refused the sender: {code} {_text(words)}")
        self._expect(250, reply)

    def _expect(self, wanted: int, reply: tuple[int, bytes]) -> None:
        code, words = reply
        if code // 100 == wanted // 100:
            return
        text = _text(words)
        raise NotSent(
            f"{code} {text}",
            permanent=code // 100 == 5,
            code=code,
            retry_after=stated_delay(text) if code // 100 == 4 else None,
        )

    @contextlib.contextmanager
    def _nothing_sent(self) -> Iterator[None]:
        try:
            yield
        except (OSError, smtplib.SMTPException) as error:
            self._abandon()
            raise NotSent(self._cause(error), permanent=False) from error

    def _cause(self, error: OSError | smtplib.SMTPException) -> str:
        fault = _socket_fault(error)
        if fault is not None:
            return str(network_fault(self._endpoint, fault))
        return f"{self._endpoint} went away: {_text(str(error))}"

    def answers(self) -> bool:
        """Whether the server is still there; many close a connection that was idle."""
        if self.usable:
            try:
                code, _ = self._client.noop()
            except (OSError, smtplib.SMTPException):
                code = 0
            if code // 100 != 2:
                self._abandon()
        return self.usable

    def _recover(self, refused: NotSent) -> None:
        """After a refusal the connection is good again, unless the server said 421."""
        if not self.usable:
            return
        if refused.code == 421:
            self._abandon()
            return
        try:
            self._client.rset()
        except (OSError, smtplib.SMTPException):
            self._abandon()

    def _abandon(self) -> None:
        """Cut the connection without QUIT: inside DATA the server must then drop the mail."""
        self.usable = False
        self._client.close()

    def close(self) -> None:
        if not self.usable:
            return
        self.usable = False
        with contextlib.suppress(OSError, smtplib.SMTPException):
            self._client.quit()


def open_smtp(endpoint: Endpoint) -> SmtpConnection:
    """Connect and sign in (not when the user name is empty: a relay that knows us by address).

    Raises CredentialsRefused, Throttled, NetworkFault, ServerFault or MailboxMisconfigured.
    """
    require_protection(endpoint)
    tokens = endpoint.tokens
    if tokens is None:
        return _open(endpoint, None)
    token = tokens.token()
    try:
        return _open(endpoint, token)
    except CredentialsRefused:  # it may have been revoked before its time: one other, once
        return _open(endpoint, tokens.renew(token))


def _open(endpoint: Endpoint, token: str | None) -> SmtpConnection:
    client: smtplib.SMTP | None = None
    try:
        client = _connect(endpoint)
        if token is not None:
            _sign_in_by_token(client, endpoint, token)
        elif endpoint.username:
            _sign_in(client, endpoint)
        return SmtpConnection(client, endpoint)
    except (OSError, smtplib.SMTPException) as error:
        if client is not None:
            client.close()
        raise _fault(endpoint, error) from error


def _connect(endpoint: Endpoint) -> smtplib.SMTP:
    client: smtplib.SMTP
    if endpoint.security == "tls":
        client = smtplib.SMTP_SSL(
            endpoint.host,
            endpoint.port,
            timeout=endpoint.timeout,
            context=tls_context(endpoint),
        )
    else:
        client = smtplib.SMTP(endpoint.host, endpoint.port, timeout=endpoint.timeout)
    try:
        # The final dot is sent apart from the body: it would wait for the server's delayed ACK of
        # the body's last part, 40 ms a mail (RFC 896, RFC 1122, 4.2.3.2).
        if client.sock:
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if endpoint.security == "starttls":
            client.starttls(context=tls_context(endpoint))
        client.ehlo_or_helo_if_needed()
    except BaseException:
        client.close()
        raise
    return client


def _sign_in(client: smtplib.SMTP, endpoint: Endpoint) -> None:
    client.ehlo_or_helo_if_needed()
    if not client.has_extn("auth"):
        raise smtplib.SMTPNotSupportedError(
            "offers no sign-in here; a relay that asks for none wants an empty user name "
            "(--smtp-username ''), others may want another port or protection"
        )
    if (endpoint.username + endpoint.password).isascii():
        client.login(endpoint.username, endpoint.password)
        return
    # smtplib writes ASCII alone; a password may hold any letter, in UTF-8 (RFC 4616).
    if "PLAIN" not in client.esmtp_features.get("auth", "").upper().split():
        raise smtplib.SMTPNotSupportedError(
            "without AUTH PLAIN a user name or password must be in ASCII"
        )
    token = b64encode(f"\0{endpoint.username}\0{endpoint.password}".encode()).decode()
    code, words = client.docmd("AUTH", f"PLAIN {token}")
    if code != 235:
        raise smtplib.SMTPAuthenticationError(code, words)


def _sign_in_by_token(client: smtplib.SMTP, endpoint: Endpoint, token: str) -> None:
    """OAUTHBEARER (RFC 7628) where the server has it, else XOAUTH2."""
    offered = client.esmtp_features.get("auth", "").upper().split()
    standard = "OAUTHBEARER" in offered
    if not standard and "XOAUTH2" not in offered:
        raise smtplib.SMTPNotSupportedError("no sign-in by OAuth2 is offered")
    sasl = SaslToken(endpoint, token, standard=standard)
    # Without an initial response in the command: with one, a long token makes too long a line
    # for servers that hold to 512 octets (RFC 5321, 4.5.3.1.4).
    code, words = client.docmd("AUTH", "OAUTHBEARER" if standard else "XOAUTH2")
    while code == 334:
        code, words = client.docmd(b64encode(sasl()).decode())
    if code != 235:
        raise smtplib.SMTPAuthenticationError(code, words)


def _socket_fault(error: OSError | smtplib.SMTPException) -> OSError | None:
    """The socket's own error: smtplib puts SMTPServerDisconnected before it, a time-out's too."""
    if isinstance(error, smtplib.SMTPServerDisconnected):
        context = error.__context__
        return context if isinstance(context, OSError) else None
    return None if isinstance(error, smtplib.SMTPException) else error


def _fault(endpoint: Endpoint, error: OSError | smtplib.SMTPException) -> MailboxError:
    if isinstance(error, smtplib.SMTPResponseException):
        words = f"{error.smtp_code} {_text(error.smtp_error)}"
        # 454 is a passing failure of sign-in (RFC 4954, 6); 421 closes the channel.
        if error.smtp_code // 100 == 4:
            return Throttled(f"{endpoint} asks to come back later: {words}")
        if isinstance(error, smtplib.SMTPAuthenticationError):
            what = "password" if endpoint.tokens is None else "access token"
            return CredentialsRefused(f"{endpoint} refused the user name or {what}: {words}")
        return ServerFault(f"{endpoint} answered: {words}")
    fault = _socket_fault(error)
    if fault is not None:
        return network_fault(endpoint, fault)
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return NetworkFault(f"no connection with {endpoint}: {_text(str(error))}")
    return ServerFault(f"{endpoint}: {_text(str(error))}")


def _ascii(address: str) -> str:
    """The envelope's form: the domain in its A-labels (RFC 5890). Raises NotSent."""
    local, _, domain = address.rpartition("@")
    try:
        envelope = f"{local}@{domain.encode('idna').decode()}"
        envelope.encode("ascii")
    except UnicodeError as error:
        raise NotSent("the address cannot be written in ASCII", permanent=True) from error
    if not local or re.search(r"[\s<>]", envelope):
        raise NotSent("the address is not a usable one", permanent=True)
    return envelope


def _dot_stuffed(raw: bytes) -> bytes:
    """CRLF line ends, and a dot before each line that starts with one (RFC 5321, 4.5.2)."""
    lines = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    lines = lines if lines.endswith(b"\n") else lines + b"\n"
    stuffed = (b"\n" + lines).replace(b"\n.", b"\n..")
    return stuffed[1:].replace(b"\n", b"\r\n")


def _text(words: bytes | str) -> str:
    """One bounded line; PostgreSQL keeps no NUL, and a terminal obeys an escape."""
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    return printable_line(text)[:300]
