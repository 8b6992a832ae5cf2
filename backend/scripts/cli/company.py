"""manage.py company"""

from __future__ import annotations

import click

from backend.scripts.cli.commands import examples, json_option
from backend.scripts.cli.terminal import say, show_json, show_table


@click.group(epilog=examples("company add 'Atelier Martin'", "company list"))
def command() -> None:
    """Companies: the tenants of this installation."""


@command.command(
    "add",
    epilog=examples(
        "company add 'Atelier Martin'",
        "company add 'Smith Ltd' --timezone Europe/London \\\n    --locale en_GB --country GB",
    ),
)
@click.argument("name")
@click.option("--timezone", default="Europe/Paris", show_default=True, help="IANA name.")
@click.option("--locale", default="fr_FR", show_default=True, help="Language of reminders.")
@click.option("--country", default="FR", show_default=True, help="ISO 3166-1 alpha-2.")
@click.option("--same-name", is_flag=True, help="Add it though another one is called so.")
@json_option
def add(
    name: str, timezone: str, locale: str, country: str, same_name: bool, as_json: bool
) -> None:
    """Add a company. A name that one bears already is refused, or it would be there twice."""
    from backend.app import db
    from backend.app.errors import BadInput
    from backend.app.operate.fields import read_line
    from backend.app.operate.places import check_country, check_locale, check_time_zone
    from backend.app.store import admin_tenants
    from backend.scripts.cli.installation import opened

    name = read_line(name, "the name", 200)
    if not name:
        raise BadInput("the name is empty")
    with opened():
        company_id = db.write(
            admin_tenants.add_company,
            name=name,
            timezone=check_time_zone(timezone),
            locale=check_locale(locale),
            country=check_country(country),
            same_name=same_name,
        )
        row = db.read(admin_tenants.load_company_row, company_id)
    if as_json:
        show_json(row)
    else:
        say(f"company {row.id} added: {row.name}, {row.timezone}, {row.locale}, {row.country}")


@command.command("list", epilog=examples("company list", "company list --json"))
@json_option
def list_(as_json: bool) -> None:
    """List the companies."""
    from backend.app import db
    from backend.app.store import admin_tenants
    from backend.scripts.cli.installation import opened

    with opened():
        rows = db.read(admin_tenants.list_companies)
    if as_json:
        show_json(rows)
        return
    show_table(
        ("ID", "TIME ZONE", "LOCALE", "COUNTRY", "NAME"),
        [(row.id, row.timezone, row.locale, row.country, row.name) for row in rows],
    )
