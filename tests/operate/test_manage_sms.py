"""manage.py sms, and what `client set` and `key rotate` have to do with text messages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backend.app.credentials import Vault, new_key
from backend.app.models import Client, SmsAccount
from tests.installation import Installation
from tests.operate.conftest import Manage
from tests.servers.certificates import Certificates
from tests.servers.twilio_server import ACCOUNT, TOKEN, TwilioServer


@pytest.fixture
def twilio(installation: Installation, certificates: Certificates) -> Iterator[TwilioServer]:
    with TwilioServer(certificates) as server:
        installation.extra["TWILIO_URL"] = server.url
        yield server


def add(manage: Manage, company_id: int, secret: str = TOKEN, **more: int) -> str:
    arguments = ("--company", company_id, "--account", ACCOUNT, "--sender", "Dubois")
    return manage("sms", "add", *arguments, "--token-stdin", stdin=f"{secret}\n", **more).output


def test_an_account_is_asked_once_and_stored_encrypted(
    manage: Manage, company_id: int, twilio: TwilioServer
) -> None:
    said = add(manage, company_id)
    assert f"account {ACCOUNT} is active" in said
    assert "come from Dubois" in said
    (row,) = manage.installation.rows(SmsAccount)
    assert manage.installation.vault.decrypt(row.secret) == TOKEN
    assert manage.json("sms", "list") == [
        {
            "company_id": company_id,
            "provider": "twilio",
            "account": ACCOUNT,
            "username": ACCOUNT,
            "sender": "Dubois",
            "is_active": True,
        }
    ]
    assert "is active" in manage("sms", "check", "--company", company_id).stdout
    assert "has an account already" in add(manage, company_id, status=1)


def test_a_wrong_secret_is_not_stored_and_not_shown(
    manage: Manage, company_id: int, twilio: TwilioServer
) -> None:
    said = add(manage, company_id, "another secret", status=1)
    assert "refused the user name or secret: 401" in said
    assert "another secret" not in said
    assert manage.installation.count(SmsAccount) == 0


def test_an_api_key_signs_in_for_the_account(
    manage: Manage, company_id: int, twilio: TwilioServer
) -> None:
    key = "SK" + "7" * 32
    twilio.tokens = {key: "of the key"}
    manage(
        *("sms", "add", "--company", company_id, "--account", ACCOUNT, "--key", key),
        *("--sender", "+33757000000", "--token-stdin"),
        stdin="of the key\n",
    )
    (row,) = manage.installation.rows(SmsAccount)
    assert (row.account, row.username, row.sender) == (ACCOUNT, key, "+33757000000")


@pytest.mark.parametrize(
    ("account", "sender", "words"),
    [
        ("AC1/../../x", "Dubois", "is AC and 32 digits"),
        (ACCOUNT, "Menuiserie Dubois", "is no sender"),
    ],
)
def test_what_is_mistyped_is_refused(
    manage: Manage, company_id: int, account: str, sender: str, words: str
) -> None:
    arguments = ("--company", company_id, "--account", account, "--sender", sender)
    said = manage("sms", "add", *arguments, "--token-stdin", stdin="x\n", status=2)
    assert words in said.output


def test_an_account_changes_and_its_secret_moves_to_the_new_key(
    manage: Manage, company_id: int, twilio: TwilioServer
) -> None:
    add(manage, company_id)
    manage("sms", "set", "--company", company_id, "--sender", "Atelier M", "--inactive")
    manage("sms", "set", "--company", company_id, "--token-stdin", stdin="changed\n")
    manage("sms", "set", "--company", company_id, status=2)
    new = new_key()
    keys = f"{new},{manage.installation.key}"
    said = manage("key", "rotate", CREDENTIALS_KEYS=keys).stdout
    assert "accounts for text messages 1" in said
    (row,) = manage.installation.rows(SmsAccount)
    assert (row.sender, row.is_active) == ("Atelier M", False)
    assert Vault((new,)).decrypt(row.secret) == "changed"


def test_a_secret_that_fits_no_key_is_named(
    manage: Manage, company_id: int, twilio: TwilioServer
) -> None:
    add(manage, company_id)
    said = manage("key", "rotate", status=1, CREDENTIALS_KEYS=new_key()).output
    assert f"of these companies fit no key and were left alone: {company_id}" in said


def test_a_client_gets_a_number_and_wants_no_reminders(manage: Manage, company_id: int) -> None:
    arguments = ("--company", company_id, "--name", "Claire", "--phone", "06 12 34 56 78")
    client = manage.json("client", "add", *arguments)["id"]
    (row,) = manage.json("client", "list")
    assert (row["phone"], row["do_not_contact"]) == ("+33612345678", False)

    manage("client", "set", client, "--do-not-contact", "yes", "--phone", "+33 7 57 00 00 00")
    (row,) = manage.installation.rows(Client)
    assert (row.phone, row.do_not_contact) == ("+33757000000", True)
    manage("client", "set", client, "--do-not-contact", "no", "--phone", "")
    (row,) = manage.installation.rows(Client)
    assert (row.phone, row.do_not_contact) == (None, False)

    manage("client", "set", client, status=2)
    assert (
        "no mobile number"
        in manage("client", "set", client, "--phone", "01 42 68 53 00", status=2).output
    )
    other = manage.installation.add_company()
    manage("client", "set", client, "--do-not-contact", "yes", "--company", other, status=1)
    (row,) = manage.installation.rows(Client)
    assert row.do_not_contact is False
