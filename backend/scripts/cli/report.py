"""manage.py report"""

from __future__ import annotations

from pathlib import Path

import click

from backend.scripts.cli.commands import company_option, examples, json_option
from backend.scripts.cli.terminal import say, show_json


@click.command(
    epilog=examples("report --output report.html", "report --company 1 --output dubois.html")
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write, in one step; standard output where left out.",
)
@company_option()
@json_option
def command(output: Path | None, company_id: int | None, as_json: bool) -> None:
    """Write one HTML page: how the last day and month went, and what waits for a person.

    It shows names of companies, addresses of mailboxes and counts; no client, no subject, no text
    of a mail. It loads nothing and runs no script, so that any web server or mail can carry it.
    """
    from backend.app import db
    from backend.app.operate.report.figures import load_report
    from backend.app.operate.report.page import render_page, write_page
    from backend.scripts.cli.installation import opened
    from backend.scripts.cli.processes import is_alive

    with opened():
        report = db.read(load_report, company_id, is_alive)
    if as_json:
        show_json(report)
        return
    html = render_page(report)
    if output is None:
        click.echo(html)
        return
    write_page(output, html)
    say(f"written: {output}", err=True)
