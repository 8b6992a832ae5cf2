"""manage.py sms"""

from __future__ import annotations

import sys

import click

from backend.scripts.cli.commands import company_option, examples, json_option
from backend.scripts.cli.terminal import say, show_json, show_table

token_stdin = click.option(
    "--token-stdin", "from_stdin", is_flag=True, help="Read the secret from standard input."
)
no_check = click.option("--no-check", is_flag=True, help="Store it without asking the provider.")
sender_help = (
    "Whom the messages come from: a number of the account (+33...), or a name of at most 11 "
    "letters, digits and spaces, which nobody can answer and North America does not carry."
)


@click.group(
    epilog=examples("sms add --company 1 --account AC... --sender Dubois", "sms check --company 1")
)
def command() -> None:
    """The account that sends a company's text messages (Twilio)."""


@command.command(
    "add",
    epilog=examples(
        "sms add --company 1 --account AC01... --sender 'Atelier M'",
        "sms add --company 1 --account AC01... --key SK4567... \\\n    --sender +33757000000",
    ),
)
@company_option(required=True)
@click.option("--account", required=True, metavar="SID", help="The Account SID, AC...")
@click.option("--key", metavar="SID", help="An API key of it, SK...  [default: its auth token]")
@click.option("--sender", required=True, help=sender_help)
@token_stdin
@no_check
def add(
    company_id: int, account: str, key: str | None, sender: str, from_stdin: bool, no_check: bool
) -> None:
    """Add a company's account: ask the provider once, and store it if that went well.

    The auth token, or the API key's secret, is asked for without being shown, and stored encrypted.
    """
    from backend.app import db
    from backend.app.errors import Refused
    from backend.app.operate.sms_accounts import new_access, what_it_says
    from backend.app.store import admin_tenants, sms_accounts
    from backend.scripts.cli.installation import opened

    with opened() as installation:
        db.read(admin_tenants.load_company_row, company_id)
        secret = installation.vault.encrypt(_read_secret(from_stdin))
        access = new_access(company_id, account, key, secret, sender)
        if not no_check:
            say(what_it_says(access, installation.settings, installation.vault))
        if not db.write(sms_accounts.add_account, access):
            raise Refused(
                f"company {company_id} has an account already; see: manage.py sms set --help"
            )
    say(f"text messages of company {company_id} come from {access.sender}")


@command.command("list", epilog=examples("sms list", "sms list --json"))
@company_option()
@json_option
def list_(company_id: int | None, as_json: bool) -> None:
    """List the accounts; never a secret."""
    from backend.app import db
    from backend.app.store import sms_accounts
    from backend.scripts.cli.installation import opened

    names = ("company_id", "provider", "account", "username", "sender", "is_active")
    with opened():
        found = db.read(sms_accounts.list_accounts, company_id)
    rows = [{name: getattr(each, name) for name in names} for each in found]
    if as_json:
        show_json(rows)
    else:
        show_table(
            ("COMPANY", "PROVIDER", "ACCOUNT", "SIGNS IN AS", "SENDER", "ACTIVE"),
            [tuple(row.values()) for row in rows],
        )


@command.command(
    "set",
    epilog=examples("sms set --company 1 --sender +33757000000", "sms set --company 1 --inactive"),
)
@company_option(required=True)
@click.option("--sender", help=sender_help)
@click.option("--active/--inactive", default=None, help="Inactive: text messages are held.")
@token_stdin
def set_(company_id: int, sender: str | None, active: bool | None, from_stdin: bool) -> None:
    """Change a company's account: its sender, its secret, or whether it is used."""
    from backend.app import db
    from backend.app.errors import Refused
    from backend.app.sms.numbers import parse_sender
    from backend.app.store import sms_accounts
    from backend.scripts.cli.installation import opened

    values: dict[str, object] = {}
    if sender is not None:
        values["sender"] = parse_sender(sender)
    if active is not None:
        values["is_active"] = active
    with opened() as installation:
        if from_stdin:
            values["secret"] = installation.vault.encrypt(_read_secret(from_stdin=True))
        if not values:
            raise click.UsageError("give --sender, --active, --inactive or --token-stdin")
        if not db.write(sms_accounts.set_account, company_id, values):
            raise Refused(f"company {company_id} has no account; see: manage.py sms add --help")
    say(f"account of company {company_id} changed: {', '.join(sorted(values))}")


@command.command("check", epilog=examples("sms check --company 1"))
@company_option(required=True)
@json_option
def check(company_id: int, as_json: bool) -> None:
    """Sign in to the provider. Nothing is sent."""
    from backend.app import db
    from backend.app.errors import Refused
    from backend.app.operate.sms_accounts import what_it_says
    from backend.app.store import sms_accounts
    from backend.scripts.cli.installation import opened

    with opened() as installation:
        access = db.read(sms_accounts.find_account, company_id)
        if access is None:
            raise Refused(f"company {company_id} has no account; see: manage.py sms add --help")
        said = what_it_says(access, installation.settings, installation.vault)
    if as_json:
        show_json({"company_id": company_id, "said": said})
    else:
        say(said)


def _read_secret(from_stdin: bool) -> str:
    from backend.scripts.cli.passwords import read_line

    if from_stdin:
        return read_line("the secret")
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask on; use --token-stdin")
    return str(click.prompt("Auth token, or secret of the API key", hide_input=True, err=True))
