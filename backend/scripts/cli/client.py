"""manage.py client"""

from __future__ import annotations

import click

from backend.scripts.cli.commands import (
    company_option,
    examples,
    json_option,
    limit_option,
    tell_if_cut,
)
from backend.scripts.cli.terminal import say, show_json, show_table


@click.group(epilog=examples("client list --company 1"))
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
@json_option
def add(company_id: int, email: str | None, name: str, language: str | None, as_json: bool) -> None:
    """Add a client. One who writes first is added by the sync script itself."""
    from backend.app import db
    from backend.app.errors import BadInput
    from backend.app.operate import fields
    from backend.app.store import admin_tenants
    from backend.scripts.cli.installation import opened

    name = fields.read_line(name, "the name", 200)
    email = fields.parse_email(email) if email else None
    language = fields.parse_language(language) if language else None
    if not name and email is None:
        raise BadInput("give --email, --name or both")
    with opened():
        client_id = db.write(
            admin_tenants.add_client, company_id, name=name, email=email, language=language
        )
    if as_json:
        show_json(
            {
                "id": client_id,
                "company_id": company_id,
                "name": name,
                "email": email,
                "language": language,
            }
        )
    else:
        say(f"client {client_id} added: {name} {f'<{email}>' if email else ''}".rstrip())


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
            ("ID", "COMPANY", "LANGUAGE", "EMAIL", "NAME"),
            [(row.id, row.company_id, row.language or "-", row.email, row.name) for row in rows],
        )
    tell_if_cut(len(rows), limit)
