"""The servers do what the other tests rely on."""

from __future__ import annotations

import smtplib
import socket
import ssl
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message

import pytest
import sqlalchemy as sa
from imapclient import IMAPClient
from imapclient.exceptions import LoginError

from backend.app.schema import head_revision
from backend.demo.servers import Account, MailServers
from tests.conftest import ImapServer, SmtpServer
from tests.servers.accounts import new_account
from tests.servers.databases import Database
from tests.servers.faulty_smtp import FaultySmtpServer

RAW = b"Message-ID: <1@example.test>\r\nTo: x@example.test\r\nSubject: Devis\r\n\r\nBonjour\r\n"
WHEN = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)


# Databases


def test_a_database_is_migrated_and_empty(database: Database) -> None:
    engine = sa.create_engine(database.url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        tables = set(sa.inspect(connection).get_table_names())
        assert {"companies", "inbox_messages", "followups"} <= tables
        revision = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        assert revision == head_revision()
        for table in tables - {"alembic_version", "installation"}:  # a row each from the first
            assert connection.scalar(sa.text(f"SELECT count(*) FROM {table}")) == 0


@pytest.mark.parametrize("_time", ["first", "second"])
def test_what_one_test_writes_another_does_not_see(database: Database, _time: str) -> None:
    engine = sa.create_engine(database.url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE left_behind (id integer)"))


def test_a_bare_database_has_no_table(bare_database: Database) -> None:
    engine = sa.create_engine(bare_database.url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        assert sa.inspect(connection).get_table_names() == []


# IMAP


def _over_tls(server: ImapServer, account: Account) -> IMAPClient:
    context = ssl.create_default_context(cafile=str(server.ca_file))
    client = IMAPClient(server.host, server.tls_port, ssl_context=context, timeout=20)
    client.login(account.username, account.password)
    return client


def test_what_was_appended_is_fetched_over_verified_tls(imap_server: ImapServer) -> None:
    account = imap_server.add_user()
    imap_server.append(account, RAW, when=WHEN)
    with _over_tls(imap_server, account) as client:
        client.normalise_times = False
        client.select_folder("INBOX", readonly=True)
        items = ["BODY.PEEK[]", "RFC822.SIZE", "INTERNALDATE", "FLAGS"]
        [mail] = client.fetch(client.search("ALL"), items).values()
    assert (mail[b"BODY[]"], mail[b"RFC822.SIZE"]) == (RAW, len(RAW))
    assert mail[b"INTERNALDATE"] == WHEN
    assert b"\\Seen" not in mail[b"FLAGS"]
    assert imap_server.messages(account) == [RAW]


def test_starttls_is_offered_on_the_plain_port(imap_server: ImapServer) -> None:
    account = imap_server.add_user()
    context = ssl.create_default_context(cafile=str(imap_server.ca_file))
    with IMAPClient(imap_server.host, imap_server.port, ssl=False, timeout=20) as client:
        client.starttls(context)
        client.login(account.username, account.password)


def test_an_authority_that_is_not_trusted_is_refused(imap_server: ImapServer) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        IMAPClient(imap_server.host, imap_server.tls_port, timeout=20)


def test_a_wrong_password_is_refused(imap_server: ImapServer) -> None:
    account = imap_server.add_user()
    with (
        IMAPClient(imap_server.host, imap_server.port, ssl=False, timeout=20) as client,
        pytest.raises(LoginError),
    ):
        client.login(account.username, "wrong")


def test_the_sent_folder_is_known_by_special_use(imap_server: ImapServer) -> None:
    account = imap_server.add_user()
    imap_server.create_folder(account, "Envoyés")
    with _over_tls(imap_server, account) as client:
        assert client.has_capability("SPECIAL-USE")
        flags = {name: flags for flags, _, name in client.list_folders()}
    assert [name for name in flags if b"\\Sent" in flags[name]] == ["Sent"]
    assert {"INBOX", "Envoyés"} <= set(flags)


def test_users_do_not_share_a_mailbox(imap_server: ImapServer) -> None:
    one, other = imap_server.add_user(), imap_server.add_user()
    imap_server.append(one, RAW, "Sent")
    assert imap_server.messages(other, "Sent") == []


@pytest.mark.parametrize("folder", ["INBOX", "Sent"])
def test_a_new_uidvalidity_keeps_the_mails(imap_server: ImapServer, folder: str) -> None:
    account = imap_server.add_user()
    mails = [RAW, RAW.replace(b"<1@", b"<2@")]
    for raw in mails:
        imap_server.append(account, raw, folder)
    with _over_tls(imap_server, account) as client:
        before = client.folder_status(folder, ["UIDVALIDITY"])
    imap_server.new_uidvalidity(account, folder)
    with _over_tls(imap_server, account) as client:
        after = client.folder_status(folder, ["UIDVALIDITY"])
    assert before != after
    assert imap_server.messages(account, folder) == mails


# SMTP


def _sender(server: SmtpServer) -> smtplib.SMTP:
    client = smtplib.SMTP(server.host, server.port, timeout=20)
    client.starttls(context=ssl.create_default_context(cafile=str(server.ca_file)))
    return client


def test_a_mail_is_delivered_after_starttls_and_auth(smtp_server: SmtpServer) -> None:
    account, recipient = smtp_server.add_user(), new_account("").address
    with _sender(smtp_server) as client:
        client.login(account.username, account.password)
        client.sendmail(account.address, [recipient], RAW)
    [raw] = smtp_server.delivered(recipient)
    mail = message_from_bytes(raw)
    assert (mail["Message-ID"], mail["Subject"]) == ("<1@example.test>", "Devis")
    assert mail.get_payload() == "Bonjour\r\n"


def test_the_tls_port_shows_the_same_certificate(smtp_server: SmtpServer) -> None:
    context = ssl.create_default_context(cafile=str(smtp_server.ca_file))
    with smtplib.SMTP_SSL(smtp_server.host, smtp_server.tls_port, context=context) as client:
        assert client.noop()[0] == 250


def test_auth_with_a_wrong_password_is_refused(smtp_server: SmtpServer) -> None:
    account = smtp_server.add_user()
    with _sender(smtp_server) as client, pytest.raises(smtplib.SMTPAuthenticationError) as caught:
        client.login(account.username, "wrong")
    assert caught.value.smtp_code == 535


@pytest.mark.parametrize(("local_part", "code"), [("refused", 550), ("deferred", 450)])
def test_some_recipients_are_refused_at_rcpt(
    smtp_server: SmtpServer, local_part: str, code: int
) -> None:
    recipient = f"{local_part}.someone@example.test"
    with _sender(smtp_server) as client:
        client.ehlo()
        client.mail("sender@example.test")
        assert client.rcpt(recipient)[0] == code
    assert smtp_server.delivered(recipient) == []


def test_some_mail_is_refused_after_the_final_dot(smtp_server: SmtpServer) -> None:
    recipient = "rejected.someone@example.test"
    raw = RAW.replace(b"x@example.test", recipient.encode())
    with _sender(smtp_server) as client, pytest.raises(smtplib.SMTPDataError) as caught:
        client.sendmail("sender@example.test", [recipient], raw)
    assert caught.value.smtp_code == 550
    assert smtp_server.delivered(recipient) == []


def test_a_mail_that_cannot_be_delivered_later_comes_back(smtp_server: SmtpServer) -> None:
    sender, recipient = new_account("").address, "bounced.someone@example.test"
    with _sender(smtp_server) as client:
        client.sendmail(sender, [recipient], RAW)
    [raw] = smtp_server.delivered(sender)
    _check_bounce(message_from_bytes(raw), recipient)


def _check_bounce(report: Message, recipient: str) -> None:
    assert report["Return-Path"] == "<>"
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    _text, status, original = _parts(report)
    _of_message, of_recipient = _parts(status)
    assert of_recipient["Action"] == "failed"
    assert of_recipient["Status"] == "5.1.1"
    assert of_recipient["Final-Recipient"] == f"rfc822; {recipient}"
    assert "<1@example.test>" in original.as_string()


def _parts(part: Message) -> list[Message]:
    parts = part.get_payload()
    assert isinstance(parts, list)
    return [inner for inner in parts if isinstance(inner, Message)]


# The embedded pair


def _send(servers: MailServers, account: Account, *recipients: str) -> None:
    with smtplib.SMTP(servers.host, servers.smtp_port, timeout=20) as client:
        client.login(account.username, account.password)
        client.sendmail(account.address, recipients, RAW)


def _member(servers: MailServers) -> Account:
    account = new_account("secret")
    return servers.add_account(account.address, account.password)


def test_the_pair_delivers_and_files_a_copy_in_sent(mail_servers: MailServers) -> None:
    company, client = _member(mail_servers), _member(mail_servers)
    _send(mail_servers, company, client.address)
    [arrived] = mail_servers.messages(client.address)
    assert arrived.endswith(RAW)
    assert message_from_bytes(arrived)["Return-Path"] == f"<{company.address}>"
    assert mail_servers.messages(company.address, "Sent") == [RAW]
    assert mail_servers.messages(company.address) == []


def test_the_pair_bounces_what_nobody_can_receive(mail_servers: MailServers) -> None:
    company = _member(mail_servers)
    _send(mail_servers, company, "nobody@example.test")
    [raw] = mail_servers.messages(company.address)
    _check_bounce(message_from_bytes(raw), "nobody@example.test")
    assert mail_servers.messages(company.address, "Sent") == [RAW]


def test_the_pair_sends_only_for_who_signed_in(mail_servers: MailServers) -> None:
    company, other = _member(mail_servers), _member(mail_servers)
    with smtplib.SMTP(mail_servers.host, mail_servers.smtp_port, timeout=20) as client:
        with pytest.raises(smtplib.SMTPSenderRefused) as caught:
            client.sendmail(company.address, [other.address], RAW)
        assert caught.value.smtp_code == 530
        client.login(company.username, company.password)
        with pytest.raises(smtplib.SMTPSenderRefused) as caught:
            client.sendmail(other.address, [other.address], RAW)
        assert caught.value.smtp_code == 553
    assert mail_servers.messages(other.address) == []


# The faulty one


def _try(server: FaultySmtpServer, recipient: str, timeout: float = 20) -> str | int:
    """What the client saw: the reply code of a refusal, the name of an error, or 250."""
    try:
        with smtplib.SMTP(server.host, server.port, timeout=timeout) as client:
            client.login("sender@example.test", server.password)
            client.sendmail("sender@example.test", [recipient], RAW * 20)
    except smtplib.SMTPRecipientsRefused as refused:
        return refused.recipients[recipient][0]
    except smtplib.SMTPResponseException as error:
        return error.smtp_code
    except (smtplib.SMTPServerDisconnected, OSError) as error:
        return type(error).__name__
    return 250


@pytest.mark.parametrize(
    ("recipient", "seen", "accepted"),
    [
        ("somebody@example.test", 250, True),
        ("4xx-at-rcpt@example.test", 451, False),
        ("5xx-at-rcpt@example.test", 554, False),
        ("421-at-rcpt@example.test", 421, False),
        ("drop-at-rcpt@example.test", "SMTPServerDisconnected", False),
        ("4xx-at-data@example.test", 451, False),
        ("5xx-at-data@example.test", 554, False),
        ("421-at-data@example.test", 421, False),
        ("drop-at-data@example.test", "SMTPServerDisconnected", False),
        ("4xx-at-dot@example.test", 451, False),
        ("5xx-at-dot.17@example.test", 554, False),
        ("421-at-dot@example.test", 421, False),
        ("lost-at-dot@example.test", "SMTPServerDisconnected", False),
        ("drop-at-dot@example.test", "SMTPServerDisconnected", True),
    ],
)
def test_each_fault_shows_at_its_stage(
    faulty_smtp: FaultySmtpServer, recipient: str, seen: str | int, accepted: bool
) -> None:
    assert _try(faulty_smtp, recipient) == seen
    mails = faulty_smtp.accepted()
    assert [mail.message_id for mail in mails] == ["<1@example.test>"] * accepted
    assert all(mail.answered == (seen == 250) for mail in mails)
    assert all(mail.raw == RAW * 20 for mail in mails)


@pytest.mark.parametrize("fault", ["drop", "cut"])
def test_a_connection_that_breaks_in_the_body_accepts_nothing(
    faulty_smtp: FaultySmtpServer, fault: str
) -> None:
    # A client that is still writing may see a reset instead of the end of the connection.
    seen = _try(faulty_smtp, f"{fault}-at-body@example.test")
    assert seen in ("SMTPServerDisconnected", "ConnectionResetError", "BrokenPipeError")
    assert faulty_smtp.accepted() == []


def test_a_client_that_leaves_before_the_final_dot_has_sent_nothing(
    faulty_smtp: FaultySmtpServer,
) -> None:
    with socket.create_connection((faulty_smtp.host, faulty_smtp.port), timeout=20) as client:
        client.sendall(b"MAIL FROM:<s@example.test>\r\nRCPT TO:<r@example.test>\r\nDATA\r\n" + RAW)
        client.shutdown(socket.SHUT_WR)
        replies = client.makefile("rb").read()
    assert replies.splitlines()[-1].startswith(b"354")
    assert faulty_smtp.accepted() == []


@pytest.mark.parametrize(("stage", "accepted"), [("rcpt", 0), ("data", 0), ("body", 0), ("dot", 1)])
def test_silence_lasts_until_the_client_gives_up(
    faulty_smtp: FaultySmtpServer, stage: str, accepted: int
) -> None:
    seen = _try(faulty_smtp, f"silence-at-{stage}@example.test", timeout=0.2)
    assert seen in ("SMTPServerDisconnected", "TimeoutError")
    assert len(faulty_smtp.accepted()) == accepted


@pytest.mark.parametrize(("fault", "seen"), [("421", 421), ("drop", "SMTPServerDisconnected")])
def test_a_greeting_can_fail(faulty_smtp: FaultySmtpServer, fault: str, seen: str | int) -> None:
    faulty_smtp.at_connect = fault
    assert _try(faulty_smtp, "somebody@example.test") == seen


def test_the_faulty_server_refuses_a_wrong_password(faulty_smtp: FaultySmtpServer) -> None:
    with (
        smtplib.SMTP(faulty_smtp.host, faulty_smtp.port, timeout=20) as client,
        pytest.raises(smtplib.SMTPAuthenticationError),
    ):
        client.login("sender@example.test", "wrong")
