"""The page: the report's values into HTML, and into its file in one step."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from backend.app.errors import StorageFault
from backend.app.operate.report import pictures
from backend.app.operate.report.figures import Day, Hour, Report, RunFate, RunSpan
from backend.app.operate.report.funnel import Outcome
from backend.app.operate.report.pictures import Column, Row, Span
from backend.app.store.report_figures import DELAY_BOUNDS

READABLE = 0o644  # a web server of another user serves it
SYNC_LANES = 2
DELAYS = (
    "within 1 minute",
    "within 2 minutes",
    "within 5 minutes",
    "within 15 minutes",
    "within 1 hour",
    "later",
)
OUTCOMES = {
    Outcome.ANSWERED: ("answered", "ours"),
    Outcome.PAID: ("paid", "ours"),
    Outcome.ENDED: ("ended otherwise: refused, accepted, cancelled, stopped", "quiet"),
    Outcome.EXHAUSTED: ("no answer to the last step", "warn"),
    Outcome.HELD: ("held for somebody’s word", "bad"),
    Outcome.GOING_ON: ("going on", "people"),
}
STYLES = {
    RunFate.FAILED: "warn",
    RunFate.KILLED: "bad",
    RunFate.RUNNING: "running",
}


def render_page(report: Report) -> str:
    """One HTML document that asks nothing of the network and runs no script. Pure.

    Names of companies and mailboxes come from people's forms: everything is escaped.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": pictures.number, "passed": passed}

    def local(moment: datetime, form: str = "%Y-%m-%d %H:%M") -> str:
        return _local(report, moment).strftime(form)

    return environment.get_template("page.html").render(
        report=report,
        local=local,
        zone=report.zone or f"{report.at.astimezone():%Z}, this host’s",
        runs=_runs(report),
        days=_days(report),
        hours=_hours(report),
        delays=_delays(report),
        funnel=_funnel(report),
        facts=_facts(report),
        ledger_states=("stored", "duplicate", "ignored", "quarantined"),
    )


def write_page(path: Path, html: str) -> None:
    """In one step: whoever looks sees the old page or the new one. Raises StorageFault."""
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(html)
                os.fchmod(file.fileno(), READABLE)
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise StorageFault(f"{path} cannot be written: {error.strerror}") from error


def _local(report: Report, moment: datetime) -> datetime:
    return moment.astimezone(ZoneInfo(report.zone) if report.zone else None)


def passed(seconds: float | None) -> str:
    """`42 s`, `3 min`, `5 h`, `12 d`; a dash for None."""
    if seconds is None:
        return "–"
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{int(seconds // unit)} {name}"
    return f"{int(seconds)} s"


def percent(part: int, whole: int) -> str:
    """Never rounded up to all of them, nor down to none."""
    if not whole:
        return "–"
    rounded = round(100 * part / whole)
    if part and not rounded:
        return "under 1 %"
    return "over 99 %" if rounded == 100 and part < whole else f"{rounded} %"


def _facts(report: Report) -> list[tuple[str, str]]:
    """The few numbers at the top: what it is, and how many."""
    read, known = sum(report.delays[:2]), sum(report.delays)
    settled = report.funnel.outcomes[Outcome.ANSWERED] + report.funnel.outcomes[Outcome.PAID]
    return [
        ("mails from people in 24 hours", pictures.number(sum(h.people for h in report.hours))),
        (f"of mail was here within {DELAY_BOUNDS[1] // 60} minutes", percent(read, known)),
        ("reminders sent in 30 days", pictures.number(report.funnel.mails)),
        ("of those reminded answered or paid", percent(settled, report.funnel.reminded)),
    ]


def _spans(report: Report, script: str) -> list[Span]:
    done = "people" if script == "sync" else "ours"
    return [
        Span(
            (run.since - report.hours_begin).total_seconds(),
            (run.until - report.hours_begin).total_seconds(),
            STYLES.get(run.fate, done),
        )
        for run in report.runs[script]
    ]


def _runs(report: Report) -> Markup:
    sync, followups = (_spans(report, script) for script in ("sync", "followups"))
    about = " ".join(
        f"{name}: {_told(report.runs[script], pictures.count_overlaps(spans))}"
        for name, script, spans in (
            ("Sync", "sync", sync),
            ("Follow-ups", "followups", followups),
        )
    )
    lanes = {
        "sync": pictures.side_by_side(sync, SYNC_LANES),
        "followups": pictures.side_by_side(followups, 1),
    }
    begin = _local(report, report.hours_begin)
    return pictures.draw_hours("Runs of both scripts in the last 24 hours", about, begin, lanes)


def _told(runs: Sequence[RunSpan], overlaps: int) -> str:
    fates = {fate: sum(run.fate is fate for run in runs) for fate in RunFate}
    longest = max((run.until - run.since for run in runs), default=timedelta())
    return (
        f"{len(runs)} runs, {overlaps} began while another was at work, "
        f"{fates[RunFate.FAILED]} with something that failed, "
        f"{fates[RunFate.KILLED]} without an end; the longest took "
        f"{passed(longest.total_seconds())}."
    )


def _days(report: Report) -> dict[str, dict[str, Markup]]:
    words = {"sync": ("Sync", "mails stored"), "followups": ("Follow-ups", "reminders sent")}
    return {
        script: {
            "runs": _run_days(f"{name}: runs a day", report.days[script]),
            "items": _item_days(f"{items.capitalize()} a day", items, report.days[script]),
        }
        for script, (name, items) in words.items()
    }


def _run_days(name: str, days: Sequence[Day]) -> Markup:
    columns = [
        Column(
            f"{day.day:%-d %b}",
            f"{day.day:%-d %B}: {day.runs} runs, {day.failed} with something that failed, "
            f"{day.unfinished} without an end, the longest {passed(day.longest_seconds)}",
            (day.runs - day.failed - day.unfinished, day.failed, day.unfinished),
        )
        for day in days
    ]
    about = (
        f"{sum(day.runs for day in days)} runs in {len(days)} days, "
        f"{sum(day.failed for day in days)} with something that failed, "
        f"{sum(day.unfinished for day in days)} without an end."
    )
    return pictures.draw_columns(name, about, columns, ("people", "warn", "bad"), label_every=7)


def _item_days(name: str, items: str, days: Sequence[Day]) -> Markup:
    columns = [
        Column(f"{day.day:%-d %b}", f"{day.day:%-d %B}: {day.items} {items}", (day.items,))
        for day in days
    ]
    about = f"{sum(day.items for day in days)} {items} in {len(days)} days."
    return pictures.draw_columns(name, about, columns, ("ours",), label_every=7)


def _hours(report: Report) -> Markup:
    columns = [_hour_column(hour, report) for hour in report.hours]
    people, machines, ours = (sum(c.parts[part] for c in columns) for part in range(3))
    about = f"{people} from people, {machines} from machines, {ours} of our own."
    styles = ("people", "machines", "ours")
    return pictures.draw_columns("Mail per hour", about, columns, styles, label_every=4)


def _hour_column(hour: Hour, report: Report) -> Column:
    begins = _local(report, hour.begins)
    tip = (
        f"{begins:%H:%M} to {begins + timedelta(hours=1):%H:%M}: {hour.people} from people, "
        f"{hour.machines} from machines, {hour.ours} of our own"
    )
    return Column(f"{begins:%H} h", tip, (hour.people, hour.machines, hour.ours))


def _delays(report: Report) -> Markup:
    styles = ("ours", "ours", "people", "people", "warn", "bad")
    rows = [
        Row(name, count, style)
        for name, count, style in zip(DELAYS, report.delays, styles, strict=True)
    ]
    about = ", ".join(f"{row.label}: {row.value}" for row in rows) + "."
    return pictures.draw_rows("From arrival at the server into the inbox", about, rows)


def _funnel(report: Report) -> Markup:
    funnel = report.funnel
    rows = [
        Row("follow-ups whose time had come", funnel.due, "quiet"),
        Row("reminded at least once", funnel.reminded, "people"),
        *(Row(name, funnel.outcomes[each], style) for each, (name, style) in OUTCOMES.items()),
    ]
    about = ", ".join(f"{row.label}: {row.value}" for row in rows) + "."
    return pictures.draw_rows("The reminders of the last 30 days", about, rows)
