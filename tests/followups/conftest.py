"""Companies on each kind of SMTP server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import EmbeddedSmtpServer, PostfixServer, SmtpServer
from tests.followups.office import FaultyPost, Office, open_office
from tests.followups.text_office import TextOffice, open_text_office
from tests.installation import Installation
from tests.servers.certificates import Certificates
from tests.servers.cutting_relay import CuttingRelay
from tests.servers.embedded_imap import EmbeddedImapServer
from tests.servers.faulty_smtp import FaultySmtpServer
from tests.servers.twilio_server import TwilioServer


@pytest.fixture
def office(installation: Installation, embedded_smtp: EmbeddedSmtpServer) -> Office:
    """On an SMTP server that takes everything; nobody reads its mailbox."""
    return open_office(installation, embedded_smtp)


@pytest.fixture
def served_office(installation: Installation, smtp_server: SmtpServer) -> Office:
    """On each of the SMTP servers that a company might have."""
    return open_office(installation, smtp_server)


@pytest.fixture
def read_office(
    installation: Installation,
    embedded_smtp: EmbeddedSmtpServer,
    embedded_imap: EmbeddedImapServer,
) -> Office:
    """With a mailbox that the sync script can read."""
    installation.ca_file = embedded_imap.ca_file
    return open_office(installation, embedded_smtp, embedded_imap)


@pytest.fixture
def faulty_office(installation: Installation, faulty_smtp: FaultySmtpServer) -> Office:
    """On the SMTP server that fails on demand; silence is waited for one second."""
    installation.extra["SMTP_TIMEOUT_SECONDS"] = "1"
    return open_office(installation, FaultyPost(faulty_smtp))


@pytest.fixture
def cut_office(installation: Installation, postfix_server: PostfixServer) -> Iterator[Office]:
    """On a real SMTP server, through a relay that breaks off; silence is waited for one second."""
    installation.extra["SMTP_TIMEOUT_SECONDS"] = "1"
    with CuttingRelay(postfix_server) as relay:
        yield open_office(installation, relay)


@pytest.fixture
def twilio(certificates: Certificates) -> Iterator[TwilioServer]:
    """A provider of text messages that behaves as Twilio documents."""
    with TwilioServer(certificates) as server:
        yield server


@pytest.fixture
def text_office(
    installation: Installation, embedded_smtp: EmbeddedSmtpServer, twilio: TwilioServer
) -> TextOffice:
    """A company whose invoices are reminded of by text message; silence is waited for a second."""
    installation.extra["SMS_TIMEOUT_SECONDS"] = "1"
    return open_text_office(installation, embedded_smtp, twilio)
