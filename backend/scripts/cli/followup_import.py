"""manage.py followup import"""

from __future__ import annotations

from collections import Counter
from typing import BinaryIO

import click

from backend.app.errors import EXIT_DONE, EXIT_SOME_FAILED
from backend.scripts.cli.commands import company_option, examples, json_option
from backend.scripts.cli.terminal import say, show_json


@click.command(
    "import",
    epilog=examples(
        "followup import factures.csv --company 1 --dry-run",
        "followup import factures.csv --company 1",
    ),
)
@click.argument("file", type=click.File("rb"))
@company_option(required=True)
@click.option("--dry-run", is_flag=True, help="Say what would be imported; write nothing.")
@json_option
@click.pass_context
def import_(
    ctx: click.Context, file: BinaryIO, company_id: int, dry_run: bool, as_json: bool
) -> None:
    """Import follow-ups from a CSV FILE ('-': standard input).

    The first line names the columns, in any order:

    \b
      client_email     a client who is not there yet is made
      type             quote_unanswered, invoice_unpaid, missing_information,
                       appointment, inactive_client or project_waiting
      due_date         2026-11-23 or 23/11/2026
    and, where wanted:
      label            as the client will read it: Facture F-2026-012
      amount           1234.50 or 1 234,50
      currency         EUR where it is left out
      client_name      for a client who is made now
      client_language  fr or en
      source_type      with source_id, what it is in your own software:
      source_id        invoice, F-2026-012

    Semicolons, commas or tabs; UTF-8 or Windows-1252. Each good line is imported, each bad one
    told with its number. The same file again doubles nothing: a line is known by its source
    where it has one, else by client, type, label and due date. Exit status 1 when some lines
    failed.
    """
    from backend.app import db
    from backend.app.operate.csv_file import MOST_BYTES, decode_file, read_lines
    from backend.app.operate.followup_import import Outcome, import_lines, preview_lines
    from backend.scripts.cli.installation import opened

    lines = read_lines(decode_file(file.read(MOST_BYTES + 1)))
    counts: Counter[str] = Counter({outcome.value: 0 for outcome in Outcome})
    results = []
    with opened():
        for result in (
            preview_lines(lines, company_id)
            if dry_run
            else import_lines(lines, company_id, db.utc_now())
        ):
            counts[result.outcome] += 1
            results.append(result)
            if result.reason is not None and not as_json:
                say(f"line {result.line}: {result.reason}", err=True)
    if as_json:
        show_json({"dry_run": dry_run, **counts, "lines": results})
    else:
        would = "would be " if dry_run else ""
        say(
            f"{counts['imported']} {would}imported, {counts['known']} there already, "
            f"{counts['failed']} failed"
        )
    ctx.exit(EXIT_SOME_FAILED if counts["failed"] else EXIT_DONE)
