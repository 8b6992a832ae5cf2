"""The report: what it counts, what it shows and what not, and how its file is written."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from backend.app import db
from backend.app.errors import StorageFault
from backend.app.models import CronRun, Followup, InboxMessage, OutboxMail
from backend.app.operate.report import figures, page, pictures, tables
from backend.app.operate.report.figures import Report, load_report
from backend.app.operate.report.funnel import Outcome, make_funnel, outcome_of
from backend.app.operate.report.page import percent, render_page, write_page
from backend.app.operate.report.pictures import Span, by_hours, count_overlaps, side_by_side
from backend.app.schema import upgrade
from backend.app.store.report_figures import FollowupCount, RunQuarter
from tests.followups.test_query_plans import heard
from tests.installation import Installation
from tests.operate.conftest import Manage
from tests.operate.report_days import HOSTILE, Days, make_day

CSS = (Path(page.__file__).parent / "page.css").read_text()
DAYS = ("empty", "ordinary", "bad")
# Of the ledger no more than MOST_UIDS rows are looked at.
GROWING = ("followups", "outbox", "inbox_messages", "conversations", "cron_runs")


class Page(HTMLParser):
    """What a browser would find: elements with their attributes, and the words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    """An empty, an ordinary and a bad day, for the tests that only look at the page."""
    return {name: one_day(tmp_path_factory.mktemp(name), name) for name in DAYS}


def one_day(directory: Path, name: str) -> Report:
    url = f"sqlite:///{directory / 'relance.db'}"
    upgrade(url)
    installation = Installation(url, directory)
    try:
        return make_day(installation, name, days=2)
    finally:
        installation.close()


# -- what is counted ---------------------------------------------------------------------------


def test_what_is_counted_is_what_the_rows_say(installation: Installation) -> None:
    report = make_day(installation, "bad", days=3)
    runs = installation.rows(CronRun)
    for script in ("sync", "followups"):
        of = [run for run in runs if run.script == script]
        recent = [run for run in of if run.started_at >= report.hours_begin]
        assert len(report.runs[script]) == len(recent)
        assert sum(day.runs for day in report.days[script]) == len(of)
        assert sum(day.failed for day in report.days[script]) == sum(
            run.exit_status == 1 for run in of
        )
        name = figures.ITEMS[script]
        assert sum(day.items for day in report.days[script]) == sum(
            run.counts.get(name, 0) for run in of
        )
    sent = installation.rows(OutboxMail, OutboxMail.state == "sent")
    assert report.funnel.mails == report.funnel.reminded == len(sent)
    assert report.funnel.outcomes[Outcome.PAID] <= 4 * 12
    states = Counter(row.auto_state for row in installation.rows(Followup))
    assert (
        sum(each.followups for each in report.funnel.why if each.state == "held")
        == (states["held"])
    )
    assert report.companies.all["held"] == states["held"]


def test_mails_are_counted_by_the_hour_in_which_they_arrived(installation: Installation) -> None:
    report = make_day(installation, "ordinary", days=1)
    rows = installation.rows(InboxMessage)
    expected = Counter(
        int((row.arrived_at - report.hours_begin).total_seconds() // 3600)
        for row in rows
        if row.kind == "human"
    )
    assert {n: hour.people for n, hour in enumerate(report.hours) if hour.people} == {
        n: count for n, count in expected.items() if 0 <= n < 24
    }
    assert report.delays[0] > report.delays[2]
    in_time = [row for row in rows if row.arrived_at >= report.hours_begin and row.kind != "own"]
    assert sum(report.delays) == len(in_time)


def test_another_companys_rows_are_not_there(
    manage: Manage, installation: Installation, tmp_path: Path
) -> None:
    Days(installation, 7, trouble=True, days=1).make()
    file = tmp_path / "one.html"
    manage("report", "--company", 1, "--output", file)
    text = Page(file.read_text()).text
    assert "Menuiserie Dubois" in text
    assert "contact@societe0.example" in text
    for other in ("Atelier Martin", "Cabinet", "Studio", "contact@societe1.example"):
        assert other not in text
    one = manage.json("report", "--company", 1)
    every = manage.json("report")
    assert 0 < one["funnel"]["reminded"] < every["funnel"]["reminded"]
    assert sum(h["people"] for h in one["hours"]) < sum(h["people"] for h in every["hours"])
    manage("report", "--company", 99, status=1)


@pytest.mark.parametrize(
    ("state", "reason", "status", "outcome"),
    [
        ("stopped", "answered", "pending", Outcome.ANSWERED),
        ("stopped", "paid", "pending", Outcome.PAID),
        ("stopped", "refused", "refused", Outcome.ENDED),
        ("stopped", "by_person", "pending", Outcome.ENDED),
        ("completed", "completed", "pending", Outcome.EXHAUSTED),
        ("held", "bounced_hard", "pending", Outcome.HELD),
        ("active", "not_due", "pending", Outcome.GOING_ON),
        ("active", "not_due", "payée", Outcome.PAID),
        ("active", None, "perdu", Outcome.ENDED),
        ("active", None, "litige", Outcome.GOING_ON),
    ],
)
def test_outcome_of_a_reminded_follow_up(
    state: str, reason: str | None, status: str, outcome: Outcome
) -> None:
    assert outcome_of(FollowupCount(state, reason, status, True, 1)) is outcome


def test_the_funnel_counts_each_follow_up_once() -> None:
    reminded = [FollowupCount("stopped", "paid", "", True, 5)]
    reminded += [FollowupCount("held", "bounced_hard", "", True, 2)]
    held = [FollowupCount("held", "bounced_hard", "", True, 2)]
    held += [FollowupCount("held", "too_old", "", False, 4)]
    funnel = make_funnel(reminded, held, [], mails=9)
    assert (funnel.due, funnel.reminded) == (11, 7)
    assert sum(funnel.outcomes.values()) == funnel.reminded
    assert [(why.reason, why.followups) for why in funnel.why] == [
        ("too_old", 4),
        ("bounced_hard", 2),
    ]


def test_the_day_of_the_clock_change_has_25_hours() -> None:
    zone = ZoneInfo("Europe/Paris")
    now = datetime(2026, 10, 26, 12, tzinfo=UTC)
    midnights = figures.local_midnights(now, zone)
    assert midnights[-1].timestamp() - midnights[-2].timestamp() == 25 * 3600
    first = midnights[0].timestamp()
    at = [midnights[-1].timestamp() - 1, midnights[-1].timestamp()]
    quarters = [RunQuarter(int(moment - first) // 900, 1, 0, 0, 0, 0) for moment in at]
    days = figures.fold_days(midnights, zone, quarters)
    assert [day.runs for day in days[-2:]] == [1, 1]
    assert str(days[-1].day) == "2026-10-26"


def plan_of(statement: str, parameters: Any) -> str:
    """PostgreSQL reads a small table from end to end whatever its indexes: not here."""
    engine = db.SessionLocal.kw["bind"]
    sqlite = engine.dialect.name == "sqlite"
    with engine.connect() as connection:
        if not sqlite:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        how = "EXPLAIN QUERY PLAN " if sqlite else "EXPLAIN "
        rows = connection.exec_driver_sql(how + statement, parameters).all()
        connection.rollback()
    return "\n".join(str(row[-1]) for row in rows)


def test_no_statement_reads_a_whole_table(installation: Installation) -> None:
    make_day(installation, "bad", days=1)
    with heard() as statements:
        db.read(load_report, None, lambda host, pid: None)
    plans = {each: plan_of(each, given) for each, given in statements.items()}
    # SQLite says SCAN too of a partial index that is read from end to end, which it is there for.
    read = re.compile(rf"(\bSCAN|Seq Scan on) ({'|'.join(GROWING)})(?! USING)")
    assert [each for each, plan in plans.items() if read.search(plan)] == []
    every = "\n".join(plans.values())
    for index in ("cron_runs_recent", "conversations_recent", "outbox_company_sent"):
        assert f"ix_{index}" in every
    assert "ix_followups_held" in every


def test_a_ledger_that_is_too_large_is_not_counted_for_the_page(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MOST_UIDS", 1_000)
    report = make_day(installation, "ordinary", days=1)
    first, *others = report.mailboxes.shown
    assert first.met == sum(first.states.values()) > 600
    assert [each.met for each in others] == [None, None, None]
    assert "too many to count here" in Page(render_page(report)).text


# -- what is shown -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["empty", "ordinary", "bad"])
def test_the_page_asks_nothing_of_the_network_and_runs_nothing(
    days: dict[str, Report], name: str
) -> None:
    html = render_page(days[name])
    found = Page(html)
    assert found.all("script") == found.all("link") == found.all("img") == []
    assert [each["href"] for each in found.all("a")] == ["#main"]
    for tag, attributes in found.elements:
        assert not [key for key in attributes if key.startswith("on") or key == "src"], tag
    assert "url(" not in html
    assert "default-src 'none'" in html


def test_hostile_names_stay_words_and_nobodys_mail_is_shown(days: dict[str, Report]) -> None:
    html = render_page(days["bad"])
    found = Page(html)
    assert "<script" not in html
    assert "<script>alert('x')</script>" in found.text  # the company's name
    bidi = [tag for tag, _ in found.elements].count("bdi")
    assert bidi >= 9  # each name that may hold letters that turn the line round
    # The same hostile words stand in every subject, client's name, label and error: shown once.
    assert found.text.count("alert(") == 1
    assert "client@example" not in html
    assert HOSTILE not in html


def test_every_picture_and_table_can_be_read_without_seeing(days: dict[str, Report]) -> None:
    found = Page(render_page(days["bad"]))
    svgs = found.all("svg")
    assert len(svgs) == 8
    for svg in svgs:
        assert svg["role"] == "img"
        assert re.search(r"\d", svg["aria-label"] or ""), svg
    assert all(each.get("scope") in ("col", "row") for each in found.all("th"))
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert found.all("html")[0]["lang"] == "en"
    for region in (each for each in found.all("div") if each.get("class") == "scroll"):
        assert region["tabindex"] == "0"  # scrolled by keyboard too
        assert region["aria-label"]


def _luminance(colour: str) -> float:
    def linear(part: int) -> float:
        value = part / 255
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(int(colour[at : at + 2], 16)) for at in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "print"])
def test_words_stand_out_from_what_is_behind_them(scheme: int) -> None:
    """WCAG 2.2, 1.4.3: at least 4.5 to 1, here for legends as well."""
    block = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
    words = ("ink", "soft", "people", "machines", "ours", "warn", "bad")
    pairs = [(word, behind) for word in words for behind in ("paper", "panel")]
    pairs += [("ink", "calm"), ("ink", "alarm")]
    for word, behind in pairs:
        light, dark = sorted((_luminance(colours[word]), _luminance(colours[behind])))[::-1]
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (word, behind)


def test_a_good_day_says_so_and_a_bad_one_names_its_commands(days: dict[str, Report]) -> None:
    assert "nothing waits for a person" in Page(render_page(days["ordinary"])).text


def test_a_bad_day_names_the_commands(days: dict[str, Report]) -> None:
    text = Page(render_page(days["bad"])).text
    assert "All is well" not in text
    for words in ("cannot be read", "in quarantine", "gone out or not", "did not come to an end"):
        assert words in text
    assert "does not add up" in text  # a mail at the server that is not here
    assert "manage.py outbox list --state uncertain" in text


def test_a_cron_that_sleeps_is_told(days: dict[str, Report]) -> None:
    report = days["empty"]
    assert "Cron has not run" in report.attention[0].text


def test_percent_never_rounds_to_all_or_none() -> None:
    assert [percent(*each) for each in ((999, 1000), (1, 1000), (0, 5), (5, 5), (0, 0))] == [
        "over 99 %",
        "under 1 %",
        "0 %",
        "100 %",
        "–",
    ]


# -- pictures ----------------------------------------------------------------------------------


def test_runs_that_overlap_lie_in_different_lanes() -> None:
    spans = [Span(0, 50, "a"), Span(60, 130, "a"), Span(120, 125, "a"), Span(124, 126, "a")]
    first, second = side_by_side(spans, 2)
    assert first == spans[:2]
    assert second == spans[2:]
    assert count_overlaps(spans) == 2


@pytest.mark.parametrize(
    ("span", "pieces"),
    [
        (Span(10, 20, "a"), [(0, 10, 20)]),
        (Span(3590, 3610, "a"), [(0, 3590, 3600), (1, 0, 10)]),
        (Span(-50, 20, "a"), [(0, 0, 20)]),
        (Span(3600, 3600, "a"), [(1, 0, 0)]),
        (Span(7200, 7300, "a"), []),
    ],
)
def test_a_run_is_cut_at_the_full_hours(span: Span, pieces: list[tuple[int, float, float]]) -> None:
    assert by_hours(span, 2) == pieces


@pytest.mark.parametrize(
    ("most", "top"), [(0, 2), (2, 2), (3, 5), (6, 10), (11, 20), (1441, 2000), (4001, 5000)]
)
def test_an_axis_ends_at_a_round_number(most: int, top: int) -> None:
    assert pictures.nice_top(most) == top


# -- the file ----------------------------------------------------------------------------------


def test_the_page_is_written_in_one_step_for_a_web_server_to_read(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text("old")
    write_page(file, "é")
    assert file.read_text(encoding="utf-8") == "é"
    assert file.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [file]


def test_a_page_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "report.html"
    file.write_text("old")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fchmod", full)
    with pytest.raises(StorageFault, match="No space left"):
        write_page(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(StorageFault, match="cannot be written"):
        write_page(tmp_path / "nowhere" / "report.html", "new")


def test_report_goes_to_standard_output_without_a_file(manage: Manage) -> None:
    assert manage("report").stdout.startswith("<!doctype html>")
