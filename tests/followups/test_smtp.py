"""The SMTP edge: what is known after each way in which a mail can end, and what goes over it."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from backend.app.errors import (
    CredentialsRefused,
    MailboxError,
    MailboxMisconfigured,
    NetworkFault,
    NotSent,
    SendUncertain,
    ServerFault,
    Throttled,
)
from backend.app.mail.endpoint import Endpoint
from backend.app.mail.smtp import SmtpConnection, open_smtp
from tests.conftest import EmbeddedSmtpServer, PostfixServer, SmtpServer
from tests.servers.cutting_relay import CuttingRelay
from tests.servers.faulty_smtp import FaultySmtpServer

RAW = (
    b"From: <us@example.test>\r\nTo: <them@client.test>\r\nSubject: s\r\n"
    b"Message-ID: <one@example.test>\r\n\r\nBonjour\r\n"
)


def endpoint_of(server: Any, **more: Any) -> Endpoint:
    values = {"host": server.host, "port": server.port, "security": "plain", "username": ""}
    return Endpoint(**(values | {"password": "", "timeout": 1, **more}))


@contextlib.contextmanager
def connected(server: Any, **more: Any) -> Iterator[SmtpConnection]:
    connection = open_smtp(endpoint_of(server, **more))
    try:
        yield connection
    finally:
        connection.close()


def send(
    connection: SmtpConnection,
    recipient: str,
    raw: bytes = RAW,
    sender: str = "us@example.test",
    before_body: Any = lambda: None,
    body_within: float = 30.0,
) -> str:
    return connection.send(
        sender=sender,
        recipient=recipient,
        raw=raw,
        before_body=before_body,
        body_within=body_within,
    )


def new_address() -> str:
    return f"r-{secrets.token_hex(5)}@client.test"


def test_the_last_words_of_the_server_come_back(smtp_server: SmtpServer) -> None:
    recipient = new_address()
    with connected(smtp_server, timeout=10) as connection:
        assert "2.0.0" in send(connection, recipient)
    assert len(smtp_server.delivered(recipient)) == 1


NOT_SENT: list[tuple[str, bool, int | None, str]] = [
    ("4xx-at-rcpt", False, 451, "451 4.3.0 Try again later"),
    ("5xx-at-rcpt", True, 554, "554 5.7.1 Refused"),
    ("421-at-rcpt", False, 421, "421 4.3.2 Service shutting down"),
    ("drop-at-rcpt", False, None, "went away"),
    ("silence-at-rcpt", False, None, "timeout: no answer from"),
    ("4xx-at-data", False, 451, "451"),
    ("5xx-at-data", True, 554, "554"),
    ("421-at-data", False, 421, "421"),
    ("drop-at-data", False, None, "went away"),
    ("silence-at-data", False, None, "timeout: no answer from"),
    ("4xx-at-dot", False, 451, "451"),
    ("5xx-at-dot", True, 554, "554"),
    ("421-at-dot", False, 421, "421"),
    ("odd-at-dot", True, 554, "554 5.7.1 Not [31mtoday"),
]


@pytest.mark.parametrize(("recipient", "permanent", "code", "words"), NOT_SENT)
def test_what_certainly_did_not_go_out(
    faulty_smtp: FaultySmtpServer, recipient: str, permanent: bool, code: int | None, words: str
) -> None:
    with connected(faulty_smtp) as connection:
        with pytest.raises(NotSent) as told:
            send(connection, f"{recipient}@client.test")
        usable = connection.usable

    assert (told.value.permanent, told.value.code) == (permanent, code)
    assert words in str(told.value)
    assert faulty_smtp.accepted() == []
    assert usable == (code not in (None, 421))


UNCERTAIN: list[tuple[str, int, str]] = [
    ("drop-at-dot", 1, "went away"),
    ("silence-at-dot", 1, "timeout: no answer from"),
    ("lost-at-dot", 0, "went away"),
    ("354-at-dot", 0, "does not allow: 354"),
]


@pytest.mark.parametrize(("recipient", "accepted", "words"), UNCERTAIN)
def test_after_the_final_dot_only_an_answer_is_certain(
    faulty_smtp: FaultySmtpServer, recipient: str, accepted: int, words: str
) -> None:
    with connected(faulty_smtp) as connection:
        with pytest.raises(SendUncertain, match=words):
            send(connection, f"{recipient}@client.test")
        assert not connection.usable
    assert len(faulty_smtp.accepted()) == accepted


@pytest.mark.parametrize("recipient", ["drop-at-body", "cut-at-body"])
def test_a_connection_that_breaks_in_a_long_body_sends_nothing(
    faulty_smtp: FaultySmtpServer, recipient: str
) -> None:
    long = RAW + b"x" * 70 + b"\r\n"
    with connected(faulty_smtp) as connection, pytest.raises(NotSent) as told:
        send(connection, f"{recipient}@client.test", long + b"line\r\n" * 1_500_000)
    assert not told.value.permanent
    assert faulty_smtp.accepted() == []


def test_a_body_that_breaks_off_before_its_dot_leaves_nothing_in_postfix(
    postfix_server: PostfixServer,
) -> None:
    recipient = f"cut-after-data-{new_address()}"
    with CuttingRelay(postfix_server) as relay, connected(relay, timeout=10) as connection:
        with pytest.raises(NotSent) as told:
            send(connection, recipient, RAW + b"line\r\n" * 1_500_000)
        assert (told.value.permanent, connection.usable) == (False, False)
        assert relay.delivered(recipient) == []


@pytest.mark.parametrize("recipient", ["drop-at-body", "cut-at-body"])
def test_a_connection_that_breaks_in_a_short_body_is_never_taken_for_sent(
    faulty_smtp: FaultySmtpServer, recipient: str
) -> None:
    """A short body is in the kernel's hands at once: the break shows before or after the dot."""
    with connected(faulty_smtp) as connection, pytest.raises((NotSent, SendUncertain)):
        send(connection, f"{recipient}@client.test")
    assert faulty_smtp.accepted() == []


def test_what_before_body_raises_passes_through_and_nothing_is_delivered(
    smtp_server: SmtpServer,
) -> None:
    recipient = new_address()

    class Stopped(Exception):
        pass

    def stop() -> None:
        raise Stopped

    with connected(smtp_server, timeout=10) as connection:
        with pytest.raises(Stopped):
            send(connection, recipient, before_body=stop)
        assert not connection.usable
    with connected(smtp_server, timeout=10) as connection:
        send(connection, recipient, RAW.replace(b"Subject: s", b"Subject: another"))
    assert [b"another" in raw for raw in smtp_server.delivered(recipient)] == [True]


def test_a_worker_that_was_held_up_before_the_body_sends_nothing(
    faulty_smtp: FaultySmtpServer,
) -> None:
    with connected(faulty_smtp) as connection:
        with pytest.raises(NotSent, match="held up"):
            send(connection, "them@client.test", body_within=-1.0)
        assert not connection.usable
    assert faulty_smtp.accepted() == []


@pytest.mark.parametrize("name", ["refused", "deferred", "rejected"])
def test_after_a_refusal_the_same_connection_serves_the_next_mail(
    smtp_server: SmtpServer, name: str
) -> None:
    recipient = new_address()
    raw = RAW.replace(b"them@", f"{name}-{recipient}@".encode())
    with connected(smtp_server, timeout=10) as connection:
        with pytest.raises(NotSent):
            send(connection, f"{name}-{recipient}", raw)
        assert connection.usable
        send(connection, recipient)
    assert len(smtp_server.delivered(recipient)) == 1
    assert smtp_server.delivered(f"{name}-{recipient}") == []


def test_one_connection_survives_refusals_at_each_stage(faulty_smtp: FaultySmtpServer) -> None:
    with connected(faulty_smtp) as connection:
        for refused in ("5xx-at-rcpt", "4xx-at-data", "5xx-at-dot"):
            with pytest.raises(NotSent):
                send(connection, f"{refused}@client.test")
            send(connection, "them@client.test")
    assert {mail.recipients for mail in faulty_smtp.accepted()} == {("them@client.test",)}
    assert (len(faulty_smtp.accepted()), faulty_smtp.connections) == (3, 1)


def test_a_connection_that_the_server_has_closed_is_noticed(faulty_smtp: FaultySmtpServer) -> None:
    with connected(faulty_smtp) as connection:
        send(connection, "them@client.test")
        assert connection.answers()
        send(connection, "bye-at-dot@client.test")
        assert not connection.answers()


def test_a_mailbox_that_may_not_send_is_not_the_recipients_fault(
    faulty_smtp: FaultySmtpServer,
) -> None:
    with connected(faulty_smtp) as connection, pytest.raises(ServerFault, match="sender: 554"):
        send(connection, "them@client.test", sender="5xx-at-mail@example.test")


def test_a_passing_trouble_with_the_sender_puts_the_mail_off(faulty_smtp: FaultySmtpServer) -> None:
    with connected(faulty_smtp) as connection, pytest.raises(NotSent) as told:
        send(connection, "them@client.test", sender="4xx-at-mail@example.test")
    assert (told.value.permanent, told.value.code) == (False, 451)


# What goes over the wire


@pytest.mark.parametrize(
    ("body", "arrives"),
    [
        (b".", b"."),
        (b"..\r\n.\r\nQUIT", b"..\r\n.\r\nQUIT"),
        (b"a\n.b\rc\r\n.", b"a\r\n.b\r\nc\r\n."),
        (b"a\r\n", b"a"),
        (b"\r\n\r\n.\r\n", b"\r\n\r\n."),
    ],
)
def test_lines_that_begin_with_a_dot_arrive_as_they_are(
    faulty_smtp: FaultySmtpServer, body: bytes, arrives: bytes
) -> None:
    with connected(faulty_smtp) as connection:
        send(connection, "them@client.test", RAW + body)
        send(connection, "them@client.test")
    first, second = faulty_smtp.accepted()
    assert first.raw == RAW + arrives + b"\r\n"
    assert second.raw == RAW


def test_a_domain_in_national_letters_goes_into_the_envelope_in_ascii(
    faulty_smtp: FaultySmtpServer,
) -> None:
    with connected(faulty_smtp) as connection:
        send(connection, "jean@société.test")
    assert faulty_smtp.accepted()[0].recipients == ("jean@xn--socit-esab.test",)


@pytest.mark.parametrize(
    "recipient",
    [
        "jérôme@client.test",
        "jean@client.test>\r\nRCPT TO:<all@client.test",
        "jean @client.test",
        "<jean@client.test>",
        "jean",
        "jean@" + "a" * 64 + ".test",
    ],
)
def test_no_address_can_change_the_envelope(faulty_smtp: FaultySmtpServer, recipient: str) -> None:
    with connected(faulty_smtp) as connection:
        with pytest.raises(NotSent) as told:
            send(connection, recipient)
        send(connection, "them@client.test")
    assert told.value.permanent
    assert [mail.recipients for mail in faulty_smtp.accepted()] == [("them@client.test",)]


# Connecting and signing in


@pytest.mark.parametrize("security", ["plain", "starttls", "tls"])
@pytest.mark.parametrize("sign_in", [True, False])
def test_each_way_to_connect(smtp_server: SmtpServer, security: str, sign_in: bool) -> None:
    recipient = new_address()
    port = smtp_server.tls_port if security == "tls" else smtp_server.port
    account = smtp_server.add_user()
    credentials = {"username": account.username, "password": account.password} if sign_in else {}

    with connected(
        smtp_server,
        port=port,
        security=security,
        ca_file=smtp_server.ca_file,
        timeout=10,
        **credentials,
    ) as connection:
        send(connection, recipient)

    assert len(smtp_server.delivered(recipient)) == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_that_nobody_vouches_for_is_refused(
    embedded_smtp: EmbeddedSmtpServer, security: str
) -> None:
    port = embedded_smtp.tls_port if security == "tls" else embedded_smtp.port
    endpoint = endpoint_of(embedded_smtp, port=port, security=security, timeout=10)
    with pytest.raises(NetworkFault, match="not trusted"):
        open_smtp(endpoint)


def test_a_server_without_starttls_gets_no_password(faulty_smtp: FaultySmtpServer) -> None:
    endpoint = endpoint_of(faulty_smtp, security="starttls", username="us", password="secret")
    with pytest.raises(ServerFault, match="STARTTLS"):
        open_smtp(endpoint)


def test_no_password_goes_unencrypted_over_a_network(faulty_smtp: FaultySmtpServer) -> None:
    endpoint = endpoint_of(faulty_smtp, username="us", password="secret")
    with pytest.raises(MailboxMisconfigured):
        open_smtp(replace(endpoint, host="mail.example.test"))


@pytest.mark.parametrize("password", ["a wrong password", "un mot de passe erroné"])
def test_a_refused_sign_in_is_named_and_tells_no_secret(
    faulty_smtp: FaultySmtpServer, password: str
) -> None:
    with pytest.raises(CredentialsRefused) as told:
        open_smtp(endpoint_of(faulty_smtp, username="us", password=password))
    assert "535" in str(told.value)
    assert password not in f"{told.value!r} {told.value.__cause__!r}"


def test_a_password_may_hold_any_letter(faulty_smtp: FaultySmtpServer) -> None:
    faulty_smtp.password = "crème brûlée €5"
    with connected(
        faulty_smtp, username="us@example.test", password=faulty_smtp.password
    ) as opened:
        send(opened, "them@client.test")
    assert len(faulty_smtp.accepted()) == 1


@pytest.mark.parametrize(
    ("greeting", "error", "words"),
    [
        ("421", Throttled, "421 4.3.2"),
        ("drop", NetworkFault, "no connection"),
        ("silence", NetworkFault, "timeout: no answer"),
    ],
)
def test_a_greeting_that_fails(
    faulty_smtp: FaultySmtpServer, greeting: str, error: type[MailboxError], words: str
) -> None:
    faulty_smtp.at_connect = greeting
    with pytest.raises(error, match=words):
        open_smtp(endpoint_of(faulty_smtp))


def test_a_host_that_is_not_there() -> None:
    endpoint = Endpoint(host="127.0.0.1", port=1, security="plain", username="", password="")
    with pytest.raises(NetworkFault, match=r"127\.0\.0\.1:1"):
        open_smtp(endpoint)
