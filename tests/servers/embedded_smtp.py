"""The embedded SMTP server behind the same interface, and with the same refusals, as Postfix."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from email.parser import BytesHeaderParser

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from backend.demo.servers import Account
from backend.demo.smtp_server import Accepted, bounce
from tests.servers.accounts import new_account
from tests.servers.certificates import Certificates
from tests.servers.shared import HOST

PASSWORD = "embedded secret"


class EmbeddedSmtpServer:
    """aiosmtpd, in a thread of the test process. STARTTLS and AUTH are offered, not demanded."""

    host = HOST
    port: int
    tls_port: int

    def __init__(self, certificates: Certificates) -> None:
        self.ca_file = certificates.ca_file
        self._certificates = certificates
        self._delivered: dict[str, list[bytes]] = defaultdict(list)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="smtp", daemon=True)
        self._servers: list[asyncio.Server] = []

    def start(self) -> None:
        """Listen on free ports; they accept connections when this returns."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(20)

    def stop(self) -> None:
        """Close the listeners and every connection, and end the thread."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def add_user(self) -> Account:
        """A sign-in that AUTH accepts."""
        return new_account(PASSWORD)

    def delivered(self, address: str) -> list[bytes]:
        """The mails that were accepted for the address, oldest first."""
        return list(self._delivered[address.lower()])

    # aiosmtpd calls the handle_* methods by their names.

    async def handle_RCPT(  # noqa: N802
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        """The recipients that Postfix refuses too, see tests/servers/postfix.py."""
        if address.startswith("refused"):
            return "550 5.1.1 User unknown"
        if address.startswith("deferred"):
            return "450 4.2.0 Mailbox busy, try again later"
        if address.startswith("greylisted"):
            return "450 4.2.0 Greylisted, please try again in 300 seconds"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """The answer to the final dot."""
        assert isinstance(envelope.content, bytes)
        to = BytesHeaderParser().parsebytes(envelope.content).get("To", "")
        if "rejected" in to:
            return "550 5.7.1 Content refused"
        if any(recipient.startswith("spam") for recipient in envelope.rcpt_tos):
            return "554 5.7.1 This looks like spam"
        if any(recipient.startswith("later") for recipient in envelope.rcpt_tos):
            return "451 4.7.1 Too many mails, come back in 00:10:00"
        mail_from = envelope.mail_from or ""
        accepted = Accepted(mail_from, mail_from, tuple(envelope.rcpt_tos), envelope.content)
        for recipient in accepted.recipients:
            if recipient.startswith("bounced"):
                self._delivered[mail_from.lower()].append(bounce(accepted, recipient))
            else:
                self._delivered[recipient.lower()].append(accepted.raw)
        return "250 2.0.0 OK"

    def _authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: object
    ) -> AuthResult:
        right = isinstance(data, LoginPassword) and data.password == PASSWORD.encode()
        return AuthResult(success=right, handled=False, auth_data=data)

    async def _listen(self) -> None:
        logging.getLogger("mail.log").setLevel(logging.ERROR)  # it warns at every sign-in
        tls = self._certificates.server_context()

        def protocol(*, starttls: bool) -> SMTP:
            return SMTP(
                self,
                hostname="localhost",
                authenticator=self._authenticate,
                auth_require_tls=False,
                tls_context=tls if starttls else None,
                enable_SMTPUTF8=True,
                loop=self._loop,
            )

        plain = await self._loop.create_server(lambda: protocol(starttls=True), HOST, 0)
        inside = await self._loop.create_server(lambda: protocol(starttls=False), HOST, 0, ssl=tls)
        self._servers = [plain, inside]
        self.port, self.tls_port = (s.sockets[0].getsockname()[1] for s in self._servers)

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
