"""manage.py client"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from backend.scripts.cli.commands import (
    company_option,
    examples,
    id_argument,
    json_option,
    limit_option,
    tell_if_cut,
)
from backend.scripts.cli.terminal import plain, say, show_json, show_table

if TYPE_CHECKING:
    from backend.app.store.belongings import ClientFound


# How `client erase` says what it counts.
NAMED = {"messages": "mails", "quarantined": "in quarantine", "followups": "follow-ups"}


@click.group(epilog=examples("client list --company 1", "client set 12 --do-not-contact yes"))
def command() -> None:
    """Clients of a company."""


@command.command(
    "add",
    epilog=examples(
        "client add --company 1 --email claire@example.fr \\\n    --name 'Claire Petit'"
    ),
)
@company_option(required=True)
@click.option("--email", help="Without one, no reminder can go out.")
@click.option("--name", default="", help="As it stands in greetings.")
@click.option("--language", metavar="fr|en", help="Of reminders; the company's where left out.")
@click.option(
    "--phone", help="For text messages: +33 6 12 34 56 78, or as in the company's country."
)
@json_option
def add(
    company_id: int,
    email: str | None,
    name: str,
    language: str | None,
    phone: str | None,
    as_json: bool,
) -> None:
    """Add a client. One who writes first is added by the sync script itself."""
    from backend.app import db
    from backend.app.errors import BadInput
    from backend.app.operate import fields
    from backend.app.sms.numbers import parse_mobile
    from backend.app.store import admin_tenants
    from backend.scripts.cli.installation import opened

    name = fields.read_line(name, "the name", 200)
    email = fields.parse_email(email) if email else None
    language = fields.parse_language(language) if language else None
    if not name and email is None:
        raise BadInput("give --email, --name or both")
    with opened():
        country = db.read(admin_tenants.load_company_row, company_id).country
        number = parse_mobile(phone, country) if phone else None
        client_id = db.write(
            admin_tenants.add_client,
            company_id,
            name=name,
            email=email,
            language=language,
            phone=number,
        )
    if as_json:
        show_json(
            {
                "id": client_id,
                "company_id": company_id,
                "name": name,
                "email": email,
                "language": language,
                "phone": number,
            }
        )
    else:
        say(f"client {client_id} added: {name} {f'<{email}>' if email else ''}".rstrip())


@command.command(
    "erase", epilog=examples("client erase 12", "client erase 12 --company 1 --yes --json")
)
@id_argument("client_id")
@company_option()
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def erase(client_id: int, company_id: int | None, yes: bool, as_json: bool) -> None:
    """Erase a client: conversations, mails, files, follow-ups, history. It cannot be undone.

    Says first what goes. Both scripts may run meanwhile. The mailbox itself is never changed: its
    mails stay at the mail server, and do not come back from there, since their fingerprints
    (hashes) are kept. Backups and the host application's own tables are yours to see to.
    """
    from backend.app import db
    from backend.app.operate.erasure import erase_client
    from backend.app.store import belongings
    from backend.scripts.cli.installation import opened

    with opened() as installation:
        client = db.read(belongings.find_client, company_id, client_id)
        found = db.read(belongings.count_belongings, client)
        say(f"client {client.id} of company {client.company_id}: {_called(client)}", err=True)
        for name, number in plain(found).items():
            say(f"  {NAMED.get(name, name)}: {number}", err=True)
        if not yes:
            click.confirm("Erase all of it, for good?", abort=True, err=True)
        erased = erase_client(installation.settings, client)
    if as_json:
        show_json(erased)
        return
    say(f"client {client.id} is erased; files removed: {erased.files_removed}")
    if erased.files_left:
        say(f"in use just now, removed by the next hourly audit: {erased.files_left}")


def _called(client: ClientFound) -> str:
    return f"{client.name} {f'<{client.email}>' if client.email else ''}".strip()


@command.command("export", epilog=examples("client export 12 --to /srv/export/claire"))
@id_argument("client_id")
@company_option()
@click.option(
    "--to",
    "directory",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="A directory that is not there yet.",
)
@json_option
def export(client_id: int, company_id: int | None, directory: Path, as_json: bool) -> None:
    """Write one client's data: mails as .eml, files, and JSON for everything else.

    READ-ME.txt in it says what is original and what is rebuilt. The directory appears when all of
    it is there, for your eyes alone (mode 0700).
    """
    from backend.app import db
    from backend.app.operate.export import export_client
    from backend.app.store import belongings
    from backend.scripts.cli.installation import opened

    with opened() as installation:
        client = db.read(belongings.find_client, company_id, client_id)
        exported = export_client(installation.settings.attachments_dir, client, directory)
    if as_json:
        show_json(exported)
        return
    say(
        f"written to {directory}, mails: {exported.mails}, files: {exported.files}, "
        f"follow-ups: {exported.followups}, reminders: {exported.reminders}"
    )
    if exported.files_missing:
        say(f"{exported.files_missing} files are not on this host's disk; READ-ME.txt names them")


@command.command("list", epilog=examples("client list --company 1", "client list --json"))
@company_option()
@limit_option()
@json_option
def list_(company_id: int | None, limit: int, as_json: bool) -> None:
    """List clients."""
    from backend.app import db
    from backend.app.store import admin_tenants
    from backend.scripts.cli.installation import opened

    with opened():
        rows = db.read(admin_tenants.list_clients, company_id, limit)
    if as_json:
        show_json(rows)
    else:
        show_table(
            ("ID", "COMPANY", "LANGUAGE", "CONTACT", "EMAIL", "PHONE", "NAME"),
            [
                (
                    row.id,
                    row.company_id,
                    row.language or "-",
                    "no" if row.do_not_contact else "yes",
                    row.email,
                    row.phone or "-",
                    row.name,
                )
                for row in rows
            ],
        )
    tell_if_cut(len(rows), limit)


@command.command(
    "set",
    epilog=examples(
        "client set 12 --do-not-contact yes",
        "client set 12 --phone '06 12 34 56 78'",
        "client set 12 --phone ''",
    ),
)
@id_argument("client_id")
@click.option(
    "--do-not-contact",
    type=click.Choice(["yes", "no"]),
    help="yes: every reminder to this client is held. no: they may go out, once released.",
)
@click.option("--phone", help="For text messages, as for `client add`; '' for none.")
@company_option()
def set_(
    client_id: int, do_not_contact: str | None, phone: str | None, company_id: int | None
) -> None:
    """Change what reminders need to know of a client."""
    from backend.app import db
    from backend.app.sms.numbers import parse_mobile
    from backend.app.store import admin_tenants
    from backend.scripts.cli.installation import opened

    values: dict[str, bool | str | None] = {}
    if do_not_contact is not None:
        values["do_not_contact"] = do_not_contact == "yes"
    if phone is None and not values:
        raise click.UsageError("give --do-not-contact, --phone or both")
    with opened():
        if phone is not None:
            company = db.read(admin_tenants.load_client_company, client_id)
            country = db.read(admin_tenants.load_company_row, company).country
            values["phone"] = parse_mobile(phone, country) if phone.strip() else None
        db.write(admin_tenants.set_client, company_id, client_id, values)
    said: dict[object, object] = {True: "yes", False: "no", None: "none"}
    words = (f"{name} {said.get(value, value)}" for name, value in values.items())
    say(f"client {client_id}: {', '.join(words)}")
