"""manage.py doctor"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from backend.app.errors import EXIT_DONE, EXIT_SOME_FAILED
from backend.scripts.cli.commands import ROW_ID, company_option, examples, json_option
from backend.scripts.cli.terminal import say_wrapped, show_json

if TYPE_CHECKING:
    from backend.app.operate.health.finding import Finding

COLOURS = {"ok": "green", "notice": "cyan", "warning": "yellow", "fault": "red"}


@click.command(
    epilog=examples("doctor", "doctor --mailbox 3", "doctor --offline --json")
    + "\n\n\b\nExit status:\n"
    + "  0 nothing to mend (with --strict: no warning either)\n"
    + "  1 something to mend   2 wrong usage",
)
@company_option()
@click.option("--mailbox", "mailbox_id", type=ROW_ID, metavar="ID", help="Sign in to this alone.")
@click.option("--offline", is_flag=True, help="Sign in nowhere, and ask no DNS.")
@click.option("--dns/--no-dns", default=True, help="Ask the DNS for SPF and DMARC.")
@click.option(
    "--seconds",
    type=click.FloatRange(1, 3600),
    default=60,
    show_default=True,
    help="At most so long for the sign-ins and the DNS together.",
)
@click.option("--strict", is_flag=True, help="A warning makes exit status 1 too.")
@click.option("-q", "--quiet", is_flag=True, help="Show only what is not as it should be.")
@json_option
def command(
    company_id: int | None,
    mailbox_id: int | None,
    offline: bool,
    dns: bool,
    seconds: float,
    strict: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Look at everything that can be wrong, and say what to type for each thing that is.

    Settings, key, directories, disk, clock, database, cron's last runs, each mailbox's sign-in
    to IMAP and SMTP with its certificate, SPF and DMARC, each company's settings. Writes nothing.
    """
    from backend.app.operate.health.doctor import Scope, examine
    from backend.app.operate.health.finding import Level, worst
    from backend.scripts.cli.processes import is_alive

    scope = Scope(company_id, mailbox_id, network=not offline, dns=dns, seconds=seconds)
    found = examine(scope, is_alive)
    shown = [each for each in found if not quiet or each.level is not Level.OK]
    if as_json:
        show_json(shown)
    else:
        say_findings(shown)
        if not quiet or shown:
            say_wrapped(summary(found))
    bad = (Level.FAULT, Level.WARNING) if strict else (Level.FAULT,)
    raise click.exceptions.Exit(EXIT_SOME_FAILED if worst(found) in bad else EXIT_DONE)


def say_findings(findings: list[Finding]) -> None:
    """One a line, with its fix below; what is bad comes last, where the eye is."""
    order = list(COLOURS)
    for each in sorted(findings, key=lambda one: order.index(one.level)):
        about = f"{each.subject}: " if each.subject and each.subject not in each.words else ""
        say_wrapped(
            f"{each.check}: {about}{each.words}",
            before=f"{each.level:<8} ",
            colour=COLOURS[each.level],
        )
        if each.fix:
            say_wrapped(each.fix, before="         -> ")


def summary(findings: list[Finding]) -> str:
    count = {name: sum(1 for each in findings if each.level == name) for name in COLOURS}
    return (
        f"faults: {count['fault']}, warnings: {count['warning']}, "
        f"notices: {count['notice']}, in order: {count['ok']}"
    )
