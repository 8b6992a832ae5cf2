"""Pictures as inline SVG: pure functions from counts to markup, in the page's colours.

Each picture is 400 units wide, so that its letters can be read on a phone, and says in words what
it shows (`title`, `desc`). Colours are CSS classes; the page gives them, for light and dark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from markupsafe import Markup

WIDTH = 400
LEFT = 40  # for the numbers beside an axis
PLOT = WIDTH - LEFT - 4
HOUR_SECONDS = 3_600
# So wide at least, so that it can be seen: what went wrong more than what went well.
NARROWEST = {"bad": 4.0, "warn": 2.2}


@dataclass(frozen=True, slots=True)
class Column:
    """One bar of stacked parts, from the bottom up. tip: what it says when pointed at.

    label: below it, where there is room for one.
    """

    label: str
    tip: str
    parts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One horizontal bar; style: its CSS class."""

    label: str
    value: int
    style: str


@dataclass(frozen=True, slots=True)
class Span:
    """Something that lasted: seconds since the picture's beginning. lane: its row's lane."""

    begins: float
    ends: float
    style: str


def draw_columns(
    name: str, about: str, columns: Sequence[Column], styles: Sequence[str], *, label_every: int
) -> Markup:
    """Stacked bars over time. styles: the CSS class of each part."""
    height, base = 132, 110
    top = nice_top(max((sum(column.parts) for column in columns), default=0))
    step = PLOT / max(1, len(columns))
    shapes = [_grid(base, top, 96)]
    if not any(any(column.parts) for column in columns):
        shapes.append(_text(LEFT + PLOT / 2, base - 30, "nothing yet", "middle"))
    for index, column in enumerate(columns):
        x, y = LEFT + index * step, float(base)
        bars = []
        for style, part in zip(styles, column.parts, strict=True):
            tall = 96 * part / top if part else 0
            # What is there can be seen, however little it is beside the rest.
            tall = max(tall, 1.5) if part else 0
            y -= tall
            if part:
                bars.append(_rect(x + step * 0.1, y, step * 0.8, tall, style))
        shapes.append(_tipped(column.tip, bars))
        if index % label_every == 0:
            shapes.append(_text(x + step / 2, base + 15, column.label, "middle"))
    return _picture(name, about, height, shapes)


def draw_rows(name: str, about: str, rows: Sequence[Row]) -> Markup:
    """Horizontal bars, each under its label with its number."""
    most = max((row.value for row in rows), default=0) or 1
    shapes = []
    for index, row in enumerate(rows):
        y = index * 34
        shapes.append(_text(0, y + 13, row.label, "start"))
        shapes.append(_text(WIDTH, y + 13, number(row.value), "end", "strong"))
        shapes.append(_rect(0, y + 18, WIDTH, 9, "track"))
        if row.value:
            shapes.append(_rect(0, y + 18, max(2, WIDTH * row.value / most), 9, row.style))
    return _picture(name, about, len(rows) * 34, shapes)


def draw_hours(
    name: str,
    about: str,
    begin: datetime,
    lanes: Mapping[str, Sequence[Sequence[Span]]],
    hours: int = 24,
) -> Markup:
    """One line for each hour, its minutes from left to right; each lane has a place in the line.

    lanes: by script, so many tracks as may lie side by side.
    """
    tracks = [track for several in lanes.values() for track in several]
    tall, line = 5, 5 * len(tracks) + 4
    shapes = [_minutes(hours * line)]
    for hour in range(hours):
        moment = begin + timedelta(hours=hour)
        shapes.append(_text(LEFT - 6, hour * line + line - 4, f"{moment:%H} h", "end"))
        if hour % 2:
            shapes.append(_rect(LEFT, hour * line, PLOT, line, "band"))
    if not any(tracks):
        shapes.append(_text(LEFT + PLOT / 2, hours * line / 2, "nothing yet", "middle"))
    for place, track in enumerate(tracks):
        shapes.extend(_track(track, place * tall + 2, tall - 1, line, hours))
    return _picture(name, about, hours * line + 18, shapes)


def _track(track: Sequence[Span], y: int, tall: int, line: int, hours: int) -> list[Markup]:
    """One path for each colour, since there are some thousand runs in a day."""
    paths: dict[str, list[str]] = {}
    for span in track:
        for hour, begins, ends in by_hours(span, hours):
            x = LEFT + PLOT * begins / HOUR_SECONDS
            wide = max(NARROWEST.get(span.style, 1.2), PLOT * (ends - begins) / HOUR_SECONDS)
            at = f"M{x:.1f} {hour * line + y}h{wide:.1f}v{tall}h-{wide:.1f}z"
            paths.setdefault(span.style, []).append(at)
    worst_last = sorted(paths, key=lambda style: NARROWEST.get(style, 0))
    return [
        Markup('<path class="{}" d="{}"/>').format(style, "".join(paths[style]))
        for style in worst_last
    ]


def by_hours(span: Span, hours: int) -> list[tuple[int, float, float]]:
    """A span cut at the full hours: (hour, begins, ends), the last two within the hour."""
    pieces = []
    hour = int(max(0.0, span.begins) // HOUR_SECONDS)
    while hour < hours and hour * HOUR_SECONDS <= span.ends:
        start = hour * HOUR_SECONDS
        begins = max(0.0, span.begins - start)
        ends = min(float(HOUR_SECONDS), span.ends - start)
        if ends > begins or (ends == begins and span.begins >= start):
            pieces.append((hour, begins, max(begins, ends)))
        hour += 1
    return pieces


def side_by_side(spans: Sequence[Span], most: int) -> list[list[Span]]:
    """Spans in lanes, so that those that overlap lie in different ones; the last takes the rest.

    spans: in the order in which they began.
    """
    lanes: list[list[Span]] = [[] for _ in range(most)]
    for span in spans:
        free = (lane for lane in lanes if not lane or lane[-1].ends <= span.begins)
        next(free, lanes[-1]).append(span)
    return lanes


def count_overlaps(spans: Sequence[Span]) -> int:
    """How many began while an earlier one was still at work."""
    overlaps, latest = 0, float("-inf")
    for span in spans:
        overlaps += span.begins < latest
        latest = max(latest, span.ends)
    return overlaps


def nice_top(most: int) -> int:
    """The end of an axis: 2 or 5, or 1, 2 or 5 times a power of ten."""
    top = 2
    while top < most:
        top = top * 5 // 2 if str(top)[0] == "2" else top * 2
    return top


def number(value: int) -> str:
    """Thousands apart, by a space that breaks no line."""
    return f"{value:,}".replace(",", "\u202f")


def _grid(base: int, top: int, tall: int) -> Markup:
    lines = []
    for part in (0, 1, 2):
        y = base - tall * part / 2
        lines.append(Markup('<path class="grid" d="M{} {}h{}"/>').format(LEFT, f"{y:.1f}", PLOT))
        if top * part % 2 == 0:  # 5 has no half to be named
            lines.append(_text(LEFT - 5, y + 4, number(top * part // 2), "end"))
    return Markup("").join(lines)


def _minutes(tall: int) -> Markup:
    marks = []
    for minute in (0, 15, 30, 45, 60):
        x = LEFT + PLOT * minute / 60
        marks.append(Markup('<path class="grid" d="M{} 0v{}"/>').format(f"{x:.1f}", tall))
        anchor = "end" if minute == 60 else "middle"
        words = f"{minute} min" if minute == 60 else str(minute)
        marks.append(_text(WIDTH if minute == 60 else x, tall + 14, words, anchor))
    return Markup("").join(marks)


def _rect(x: float, y: float, wide: float, tall: float, style: str) -> Markup:
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
        style, f"{x:.1f}", f"{y:.1f}", f"{wide:.1f}", f"{tall:.1f}"
    )


def _tipped(tip: str, shapes: Sequence[Markup]) -> Markup:
    if not shapes:
        return Markup("")
    return Markup("<g><title>{}</title>{}</g>").format(tip, Markup("").join(shapes))


def _text(x: float, y: float, words: str, anchor: str, style: str = "label") -> Markup:
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        style, f"{x:.1f}", f"{y:.1f}", anchor, words
    )


def _picture(name: str, about: str, tall: int, shapes: Sequence[Markup]) -> Markup:
    """Named for those who cannot see it; its parts are left out of what is read aloud."""
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, tall, f"{name}. {about}", Markup("").join(shapes)
    )
