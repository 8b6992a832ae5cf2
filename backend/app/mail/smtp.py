"""The network edge towards SMTP (RFC 5321): one mail, one recipient, and exactly what is known.

connect, MAIL, RCPT, DATA    nothing can have gone out          -> NotSent
before_body()                the caller commits 'sending'
the body, without its end    the server must drop a cut-off mail -> NotSent
the final dot                from here on nobody knows           -> SendUncertain
the reply                    2xx sent, 4xx and 5xx               -> NotSent
"""

from __future__ import annotations

import contextlib
import re
import smtplib
import time
from collections.abc import Callable, Iterator

from backend.app.errors import (
    CredentialsRefused,
    MailboxError,
    NetworkFault,
    NotSent,
    SendUncertain,
    ServerFault,
    Throttled,
)
from backend.app.mail.endpoint import (
    Endpoint,
    network_fault,
    require_protection,
    tls_context,
)

END_OF_DATA = b".\r\n"


class SmtpConnection:
    """A signed-in connection, good for many mails."""

    def __init__(self, client: smtplib.SMTP, endpoint: Endpoint) -> None:
        self._client = client
        self._endpoint = endpoint
        self.usable = True

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
        Raises NotSent or SendUncertain.
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
            self._expect(250, self._client.mail(_ascii(sender)))
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
        except TimeoutError as error:
            raise SendUncertain(str(network_fault(self._endpoint, error))) from error
        except (OSError, smtplib.SMTPException) as error:
            raise SendUncertain(
                f"{self._endpoint} went away after the whole mail: {_words(error)}"
            ) from error
        if code // 100 not in (2, 4, 5):
            raise SendUncertain(f"{self._endpoint} answered what SMTP does not allow: {code}")
        self._expect(250, (code, words))
        return _text(words)

    def _expect(self, wanted: int, reply: tuple[int, bytes]) -> None:
        code, words = reply
        if code // 100 == wanted // 100:
            return
        raise NotSent(f"{code} {_text(words)}", permanent=code // 100 == 5, code=code)

    @contextlib.contextmanager
    def _nothing_sent(self) -> Iterator[None]:
        try:
            yield
        except (OSError, smtplib.SMTPException) as error:
            self._abandon()
            cause = (
                str(network_fault(self._endpoint, error))
                if isinstance(error, OSError) and not isinstance(error, smtplib.SMTPException)
                else f"{self._endpoint} went away: {_words(error)}"
            )
            raise NotSent(cause, permanent=False) from error

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
    client: smtplib.SMTP | None = None
    try:
        client = _connect(endpoint)
        if endpoint.username:
            client.login(endpoint.username, endpoint.password)
        return SmtpConnection(client, endpoint)
    except (OSError, smtplib.SMTPException) as error:
        if client is not None:
            client.close()
        raise _fault(endpoint, error) from error


def _connect(endpoint: Endpoint) -> smtplib.SMTP:
    if endpoint.security == "tls":
        return smtplib.SMTP_SSL(
            endpoint.host,
            endpoint.port,
            timeout=endpoint.timeout,
            context=tls_context(endpoint),
        )
    client = smtplib.SMTP(endpoint.host, endpoint.port, timeout=endpoint.timeout)
    try:
        if endpoint.security == "starttls":
            client.starttls(context=tls_context(endpoint))
        client.ehlo_or_helo_if_needed()
    except BaseException:
        client.close()
        raise
    return client


def _fault(endpoint: Endpoint, error: OSError | smtplib.SMTPException) -> MailboxError:
    if isinstance(error, smtplib.SMTPResponseException):
        words = f"{error.smtp_code} {_text(error.smtp_error)}"
        # 454 is a passing failure of sign-in (RFC 4954, 6); 421 closes the channel.
        if error.smtp_code // 100 == 4:
            return Throttled(f"{endpoint} asks to come back later: {words}")
        if isinstance(error, smtplib.SMTPAuthenticationError):
            return CredentialsRefused(f"{endpoint} refused the user name or password: {words}")
        return ServerFault(f"{endpoint} answered: {words}")
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return NetworkFault(f"no connection with {endpoint}: {error}")
    if isinstance(error, smtplib.SMTPException):
        return ServerFault(f"{endpoint}: {error}")
    return network_fault(endpoint, error)


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
    lines = re.sub(rb"\r\n|\r|\n", b"\r\n", raw)
    stuffed = re.sub(rb"(?m)^\.", b"..", lines)
    return stuffed if stuffed.endswith(b"\r\n") else stuffed + b"\r\n"


def _text(words: bytes | str) -> str:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    return " ".join(text.split())[:300]


def _words(error: Exception) -> str:
    return _text(str(error))
