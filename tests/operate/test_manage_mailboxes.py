"""Mailboxes: signed in to before they are stored, and their passwords seen nowhere."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink

from backend.app.models import InboxIntegration, MailboxState, Security
from backend.demo.servers import Account, MailServers
from backend.scripts.cli.mailbox import SECURITIES
from tests.installation import Installation
from tests.operate.conftest import Manage
from tests.servers.shared import HOST, free_ports

PASSWORD = "pass word: %'\"\\ 7f3a"


@pytest.fixture
def account(mail_servers: MailServers) -> Account:
    name = f"box-{os.urandom(6).hex()}@atelier.test"
    return mail_servers.add_account(name, PASSWORD)


@pytest.fixture
def relay() -> Iterator[Controller]:
    """An SMTP server that knows its users by their addresses and offers no sign-in."""
    server = Controller(Sink(), hostname=HOST, port=free_ports(1)[0])
    server.start()
    yield server
    server.stop()


def add_arguments(
    company_id: int, account: Account, servers: MailServers, *more: object
) -> list[object]:
    return [
        *("mailbox", "add", "--company", company_id, "--email", account.address),
        *("--imap-host", servers.host, "--imap-port", servers.imap_tls_port),
        *("--smtp-host", servers.host, "--smtp-port", servers.smtp_tls_port),
        *("--password-stdin", *more),
    ]


def test_the_commands_know_every_kind_of_protection() -> None:
    assert list(SECURITIES) == [security.value for security in Security]


def test_a_mailbox_is_stored_after_both_sign_ins_and_reads_at_once(
    manage: Manage,
    installation: Installation,
    company_id: int,
    account: Account,
    mail_servers: MailServers,
) -> None:
    mail_servers.append(account.address, b"From: a@b.fr\r\nSubject: x\r\n\r\nx\r\n")
    result = manage(
        *add_arguments(company_id, account, mail_servers, "--alias", "info@atelier.test"),
        stdin=PASSWORD + "\n",
    )
    assert "mails in INBOX: 1" in result.stdout
    assert "Sent folder: Sent, mails in it: 0" in result.stdout
    assert f"SMTP {mail_servers.host}:{mail_servers.smtp_tls_port}: signed in" in result.stdout
    [row] = installation.rows(InboxIntegration)
    assert installation.vault.decrypt(row.secret) == PASSWORD
    assert row.aliases == ["info@atelier.test"]
    assert row.smtp_secret is None
    assert installation.sync().counts == {"mailboxes": 1, "stored": 1}


def test_the_password_is_in_no_output_and_not_in_the_database_in_clear(
    manage: Manage,
    installation: Installation,
    company_id: int,
    account: Account,
    mail_servers: MailServers,
) -> None:
    add = add_arguments(company_id, account, mail_servers)
    added = manage(*add, "--json", stdin=PASSWORD)
    listed = manage("mailbox", "list", "--json")
    shown = manage("mailbox", "list")
    again = manage(*add, stdin=PASSWORD, status=1)
    [row] = installation.rows(InboxIntegration)
    written = added.output + listed.output + shown.output + again.output
    for secret in (PASSWORD, row.secret, installation.key):
        assert secret not in written
        assert json.dumps(secret)[1:-1] not in written
    assert PASSWORD not in row.secret


@pytest.mark.parametrize("wrong", ["imap", "smtp"])
def test_a_refused_sign_in_stores_nothing_and_says_why(
    wrong: str,
    manage: Manage,
    installation: Installation,
    company_id: int,
    account: Account,
    mail_servers: MailServers,
) -> None:
    add = add_arguments(company_id, account, mail_servers, "--smtp-password")
    lines = {"imap": f"wrong\n{PASSWORD}\n", "smtp": f"{PASSWORD}\nwrong\n"}[wrong]
    result = manage(*add, stdin=lines, status=1)
    assert f"{wrong.upper()}: " in result.stderr
    assert "refused the user name or password" in result.stderr
    assert "nothing was stored" in result.stderr
    assert installation.count(InboxIntegration) == 0
    assert "wrong\n" not in result.output


def test_a_refusal_of_one_server_still_shows_what_the_other_holds(
    manage: Manage, company_id: int, account: Account, mail_servers: MailServers
) -> None:
    add = add_arguments(company_id, account, mail_servers, "--smtp-password")
    result = manage(*add, stdin=f"{PASSWORD}\nwrong\n", status=1)
    assert "signed in; mails in INBOX: 0" in result.stdout
    assert "SMTP" not in result.stdout


def test_a_relay_that_knows_us_by_address_is_not_said_to_have_let_us_in(
    manage: Manage,
    company_id: int,
    account: Account,
    mail_servers: MailServers,
    relay: Controller,
) -> None:
    add = [
        *add_arguments(company_id, account, mail_servers),
        *("--smtp-host", relay.hostname, "--smtp-port", relay.port, "--smtp-security", "plain"),
    ]
    refused = manage(*add, stdin=PASSWORD, status=1)
    assert "an empty user name (--smtp-username '')" in refused.stderr
    stored = manage(*add, "--smtp-username", "", stdin=PASSWORD)
    assert f"SMTP {relay.hostname}:{relay.port}: answers; no sign-in was asked for" in (
        stored.stdout
    )


def test_no_check_stores_it_as_it_is(
    manage: Manage, installation: Installation, company_id: int
) -> None:
    arguments = ("--email", "a@atelier.test", "--imap-host", "imap.invalid", "--no-check")
    manage("mailbox", "add", "--company", company_id, *arguments, "--password-stdin", stdin="x")
    [row] = manage.json("mailbox", "list")
    assert (row["imap_port"], row["imap_security"], row["smtp_host"]) == (993, "tls", None)
    assert row["username"] == "a@atelier.test"
    manage("mailbox", "check", row["id"], status=1)


def test_smtp_may_have_a_password_of_its_own(
    manage: Manage, installation: Installation, company_id: int
) -> None:
    arguments = ("--email", "a@atelier.test", "--imap-host", "i.test", "--smtp-host", "s.test")
    manage(
        *("mailbox", "add", "--company", company_id, *arguments),
        *("--smtp-password", "--password-stdin", "--no-check"),
        stdin="first\r\nsecond\r\n",
    )
    [row] = installation.rows(InboxIntegration)
    assert row.smtp_secret is not None
    vault = installation.vault
    assert (vault.decrypt(row.secret), vault.decrypt(row.smtp_secret)) == ("first", "second")


def test_one_address_is_one_mailbox_of_a_company_however_it_is_spelt(
    manage: Manage, installation: Installation, company_id: int
) -> None:
    other = installation.add_company("Une autre")
    add = ("--imap-host", "imap.test", "--no-check", "--password-stdin")
    manage("mailbox", "add", "--company", company_id, "--email", "a@b.fr", *add, stdin="x")
    manage("mailbox", "add", "--company", other, "--email", "a@b.fr", *add, stdin="x")
    refused = manage(
        "mailbox", "add", "--company", company_id, "--email", "A@B.fr", *add, stdin="x", status=1
    )
    assert "has A@B.fr already" in refused.stderr
    assert installation.count(InboxIntegration) == 2


@pytest.mark.parametrize("stdin", ["", "\n", "x" * 5000, b"\xff\xfe\n"])
def test_a_password_that_cannot_be_one_is_refused(
    stdin: str | bytes, manage: Manage, company_id: int
) -> None:
    arguments = ("--email", "a@b.fr", "--imap-host", "imap.test", "--no-check")
    manage(
        *("mailbox", "add", "--company", company_id, *arguments, "--password-stdin"),
        stdin=stdin,
        status=2,
    )


def test_without_a_terminal_nothing_hangs_on_a_prompt(manage: Manage, company_id: int) -> None:
    arguments = ("--email", "a@b.fr", "--imap-host", "imap.test", "--no-check")
    result = manage("mailbox", "add", "--company", company_id, *arguments, status=2)
    assert "--password-stdin" in result.stderr


def test_a_prompted_password_is_not_echoed(installation: Installation, company_id: int) -> None:
    arguments = ("--email", "a@b.fr", "--imap-host", "imap.test", "--no-check")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        installation.command("manage", "mailbox", "add", "--company", company_id, *arguments),
        env=installation.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    screen = read_until(ours, b"Password of a@b.fr: ")
    os.write(ours, b"typed-by-hand\n")
    screen += read_until(ours, b"no reminder goes out from it")
    assert process.wait(30) == 0
    os.close(ours)
    assert b"typed-by-hand" not in screen
    [row] = installation.rows(InboxIntegration)
    assert installation.vault.decrypt(row.secret) == "typed-by-hand"


def read_until(terminal: int, words: bytes) -> bytes:
    """What the terminal shows up to these words. Fails after 30 seconds."""
    seen, deadline = b"", time.monotonic() + 30
    while words not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, seen
        seen += os.read(terminal, 4096)
    return seen


def test_a_new_password_is_tried_first_and_ends_the_back_off(
    manage: Manage,
    installation: Installation,
    company_id: int,
    account: Account,
    mail_servers: MailServers,
) -> None:
    add = add_arguments(company_id, account, mail_servers, "--no-check")
    manage(*add, stdin="outdated")
    assert installation.sync().failed
    assert installation.sync().counts == {}  # backing off

    refused = manage("mailbox", "set", 1, "--password-stdin", stdin="wrong", status=1)
    assert "the old password was kept" in refused.stderr
    assert installation.vault.decrypt(installation.rows(InboxIntegration)[0].secret) == "outdated"

    manage("mailbox", "set", 1, "--password-stdin", stdin=PASSWORD)
    assert installation.sync().counts == {"mailboxes": 1}
    [state] = installation.rows(MailboxState)
    assert state.failures == 0


def test_an_inactive_mailbox_is_not_read(
    manage: Manage,
    installation: Installation,
    company_id: int,
    account: Account,
    mail_servers: MailServers,
) -> None:
    manage(*add_arguments(company_id, account, mail_servers), stdin=PASSWORD)
    manage("mailbox", "set", 1, "--inactive")
    assert installation.sync().counts == {}
    manage("mailbox", "set", 1, "--active")
    assert installation.sync().counts == {"mailboxes": 1}
    manage("mailbox", "set", 1, status=2)


def test_check_uses_what_is_stored_and_changes_nothing(
    manage: Manage,
    installation: Installation,
    company_id: int,
    account: Account,
    mail_servers: MailServers,
) -> None:
    manage(*add_arguments(company_id, account, mail_servers), stdin=PASSWORD)
    found = manage.json("mailbox", "check", 1)
    assert found["imap"]["inbox_messages"] == 0
    assert found["smtp"] == f"{mail_servers.host}:{mail_servers.smtp_tls_port}"
    assert found["failures"] == []
    other = installation.add_company("Une autre")
    manage("mailbox", "check", 1, "--company", other, status=1)
    manage("mailbox", "set", 1, "--company", other, "--inactive", status=1)


def test_a_sent_folder_that_is_not_there_is_told_at_once(
    manage: Manage, company_id: int, account: Account, mail_servers: MailServers, tmp_path: Path
) -> None:
    add = add_arguments(company_id, account, mail_servers, "--sent-folder", "Sent by us")
    result = manage(*add, stdin=PASSWORD, status=1)
    assert "the folder 'Sent by us' on" in result.stderr
    assert "there are 'INBOX', 'Sent'" in result.stderr


def test_a_sent_folder_is_looked_for_before_its_name_is_stored(
    manage: Manage,
    installation: Installation,
    company_id: int,
    account: Account,
    mail_servers: MailServers,
) -> None:
    manage(*add_arguments(company_id, account, mail_servers), stdin=PASSWORD)

    def named() -> str | None:
        return installation.rows(InboxIntegration)[0].sent_folder

    assert "'Sent'" in manage("mailbox", "set", 1, "--sent-folder", "Snet", status=1).stderr
    assert named() is None
    manage("mailbox", "set", 1, "--sent-folder", "Sent")
    assert named() == "Sent"
    manage("mailbox", "set", 1, "--sent-folder", "Snet", "--no-check")
    assert named() == "Snet"
    checked = manage("mailbox", "check", 1, status=1)
    assert "'Snet'" in checked.stdout
    assert "mailbox set 1 --sent-folder" in checked.stderr


def test_a_wrong_sent_folder_keeps_no_new_password_from_being_stored(
    manage: Manage,
    installation: Installation,
    company_id: int,
    account: Account,
    mail_servers: MailServers,
) -> None:
    manage(*add_arguments(company_id, account, mail_servers), stdin=PASSWORD)
    manage("mailbox", "set", 1, "--sent-folder", "Snet", "--no-check")
    manage("mailbox", "set", 1, "--password-stdin", "--no-check", stdin="old")
    manage("mailbox", "set", 1, "--password-stdin", stdin=PASSWORD)
    [row] = installation.rows(InboxIntegration)
    assert installation.vault.decrypt(row.secret) == PASSWORD
