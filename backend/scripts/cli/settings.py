"""manage.py settings"""

from __future__ import annotations

from typing import IO

import click

from backend.scripts.cli.commands import company_option, examples, json_option
from backend.scripts.cli.terminal import say, show_json


@click.group(
    epilog=examples(
        "settings show --company 1", "settings set --company 1 followups.window.closes 18:00"
    )
)
def command() -> None:
    """A company's rules: show, set, check.

    docs/settings.md shows a full example and says what each key means.
    """


@command.command(
    "show", epilog=examples("settings show --company 1", "settings show --company 1 --effective")
)
@company_option(required=True)
@click.option("--effective", is_flag=True, help="With the defaults filled in.")
@json_option
def show(company_id: int, effective: bool, as_json: bool) -> None:
    """Print a company's rules, as they are stored. It is JSON, with --json or without."""
    from backend.app import db
    from backend.app.operate.company_settings import SECTIONS, check_document
    from backend.app.store import admin_tenants
    from backend.scripts.cli.installation import opened

    with opened():
        document = db.read(admin_tenants.load_settings_document, company_id)
    if not effective:
        show_json(document)
        return
    check_document(document)
    loaded = {name: load(document.get(name)) for name, load in SECTIONS.items()}
    show_json({name: rules.model_dump(mode="json") for name, rules in loaded.items()})  # type: ignore[attr-defined]


@command.command(
    "set",
    epilog=examples(
        "settings set --company 1 followups.window.closes 18:00",
        'settings set --company 1 followups.holidays \\\n    \'{"country": "FR", "region": "57"}\'',
        "settings set --company 1 followups.budgets --default",
        "settings set --company 1 --file rules.json",
    ),
)
@click.argument("key", required=False)
@click.argument("value", required=False)
@company_option(required=True)
@click.option("--default", "default", is_flag=True, help="Take KEY out: its default holds again.")
@click.option(
    "--file", "file", type=click.File(encoding="utf-8"), help="Take over the sections of a file."
)
def set_(
    key: str | None, value: str | None, company_id: int, default: bool, file: IO[str] | None
) -> None:
    """Change one KEY to VALUE (JSON or plain text), or whole sections from a file.

    Nothing is written unless the whole document is right afterwards.
    """
    from backend.app import db
    from backend.app.operate import company_settings
    from backend.scripts.cli.installation import opened

    if file is not None and (key or value or default):
        raise click.UsageError("give either --file or a KEY")
    if file is None and (key is None or (value is None) != default):
        raise click.UsageError("give a KEY with a VALUE, a KEY with --default, or --file")
    with opened():
        if file is not None:
            new = company_settings.read_file(file.read(), file.name)
            db.write(company_settings.replace_sections, company_id, new)
        elif default:
            db.write(company_settings.unset_key, company_id, str(key))
        else:
            wanted = company_settings.read_value(str(value))
            db.write(company_settings.set_key, company_id, str(key), wanted)
    say(f"the settings of company {company_id} are changed, and right")


@command.command(
    "check",
    epilog=examples(
        "settings check", "settings check --company 1", "settings check --file rules.json"
    ),
)
@company_option()
@click.option(
    "--file", "file", type=click.File(encoding="utf-8"), help="Check a file instead; reads nothing."
)
@json_option
def check(company_id: int | None, file: IO[str] | None, as_json: bool) -> None:
    """Check the rules of every company, and name each wrong key. Exit status 1 if any is wrong."""
    from backend.app import db
    from backend.app.errors import SettingsInvalid
    from backend.app.operate.company_settings import check_document, read_file
    from backend.app.store import admin_tenants
    from backend.scripts.cli.installation import opened

    found: dict[str, str | None] = {}

    def look(name: str, document: object) -> None:
        try:
            check_document(document)
            found[name] = None
        except SettingsInvalid as error:
            found[name] = str(error)

    if file is not None:
        look(file.name, read_file(file.read(), file.name))
    else:
        with opened():
            all_ids = [row.id for row in db.read(admin_tenants.list_companies)]
            for each in [company_id] if company_id else all_ids:
                look(f"company {each}", db.read(admin_tenants.load_settings_document, each))
    if as_json:
        show_json(found)
    else:
        for name, error in found.items():
            say(f"{name}: {error or 'right'}")
    if any(found.values()):
        raise click.exceptions.Exit(1)
