"""The HTML of a reminder, made from its text: one source, so that both always say the same. Pure.

    an empty line         between paragraphs
    - Name : value        a line of the table of facts; `- value` alone is its heading
    - one | two | three   a line of a table with columns, where the caller says that there are such
    Name : https://...    a line of its own: a button that shows the name

Styles stand in the tags, since many mail programs drop a style sheet. The layout is one table of
at most 600 pixels, which Outlook's Word engine and telephones both draw.
"""

from __future__ import annotations

import re
from html import escape
from itertools import groupby

_FACT = re.compile(r"- (?P<name>[^:]{1,60}?[ \u00a0]?:) (?P<value>.+)")
_LINK = re.compile(r"(?P<name>[^:]{1,80}?)[ \u00a0]?: (?P<url>https://\S+)")

_FONT = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
_TEXT = f"{_FONT};font-size:16px;line-height:1.5;color:#1f2933"
_PARAGRAPH = f"margin:0 0 16px;{_TEXT}"
_FACTS = "margin:0 0 16px;border-collapse:collapse;border-left:3px solid #9aa5b1"
_CELL = f"padding:3px 0 3px 14px;vertical-align:top;{_TEXT}"
_COLUMN = f"padding:6px 14px 6px 0;vertical-align:top;border-bottom:1px solid #d9dee3;{_TEXT}"
_BUTTON = (
    f"display:inline-block;padding:11px 22px;border-radius:4px;background:#1f4e79;color:#ffffff;"
    f"text-decoration:none;font-weight:600;{_FONT};font-size:16px"
)


def to_html(text: str, *, language: str, title: str, columns: bool = False) -> str:
    """A whole HTML document. Everything in it is escaped; only https addresses become links.

    columns: the lines of facts that hold ` | ` are those of a table with columns.
    """
    body = part_to_html(text, columns=columns)
    return (
        f'<!DOCTYPE html>\n<html lang="{escape(language)}">\n<head>\n'
        '<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n</head>\n"
        '<body style="margin:0;padding:0;background:#ffffff">\n'
        '<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0">'
        '<tr><td align="left" style="padding:24px 16px">\n'
        '<table role="presentation" width="600" cellpadding="0" cellspacing="0" border="0" '
        'style="width:100%;max-width:600px"><tr><td>\n'
        f"{body}\n"
        "</td></tr></table>\n</td></tr></table>\n</body>\n</html>\n"
    )


def part_to_html(text: str, *, columns: bool = False) -> str:
    """Paragraphs, tables and links, to stand in a document. See to_html."""
    blocks = re.split(r"\n{2,}", text.strip("\n"))
    return "\n".join(_block(block.split("\n"), columns) for block in blocks)


def _block(lines: list[str], columns: bool) -> str:
    return "\n".join(
        _list(list(group), columns) if is_fact else _paragraph(list(group))
        for is_fact, group in groupby(lines, lambda line: line.startswith("- "))
    )


def _list(lines: list[str], columns: bool) -> str:
    rows = [line[2:].split(" | ") for line in lines]
    return _table(rows) if columns and any(len(row) > 1 for row in rows) else _facts(lines)


def _table(rows: list[list[str]]) -> str:
    width = max(len(row) for row in rows)
    lines = "\n".join(_row(row, width) for row in rows)
    return (
        '<table role="presentation" cellpadding="0" cellspacing="0" border="0" '
        f'style="margin:0 0 16px;border-collapse:collapse">\n{lines}\n</table>'
    )


def _row(cells: list[str], width: int) -> str:
    """A short row, such as the total, has a wide first cell and is emphasised."""
    weight = ";font-weight:600" if len(cells) < width else ""
    wide = f' colspan="{width - len(cells) + 1}"' if len(cells) < width else ""
    first, *rest = (escape(cell) for cell in cells)
    out = f'<td{wide} style="{_COLUMN}{weight}">{first} </td>'
    for number, cell in enumerate(rest, start=1):
        amount = ";text-align:right;white-space:nowrap" if number == len(rest) else ""
        out += f'<td style="{_COLUMN}{weight}{amount}">{cell} </td>'
    return f"<tr>{out}</tr>"


def _facts(lines: list[str]) -> str:
    rows = "\n".join(_fact(line) for line in lines)
    return (
        f'<table role="presentation" cellpadding="0" cellspacing="0" border="0" style="{_FACTS}">\n'
        f"{rows}\n</table>"
    )


def _fact(line: str) -> str:
    found = _FACT.fullmatch(line)
    if found is None:
        return f'<tr><td colspan="2" style="{_CELL};font-weight:600">{escape(line[2:])}</td></tr>'
    name, value = escape(found["name"]), escape(found["value"])
    # The colon stays for what reads the HTML without its table: text browsers, our own parser.
    return (
        f'<tr><td style="{_CELL};color:#52606d">{name} </td><td style="{_CELL}">{value}</td></tr>'
    )


def _paragraph(lines: list[str]) -> str:
    if len(lines) == 1 and (link := _LINK.fullmatch(lines[0])):
        url, name = escape(link["url"]), escape(link["name"])
        return f'<p style="{_PARAGRAPH}"><a href="{url}" style="{_BUTTON}">{name}</a></p>'
    links = [_LINK.fullmatch(line) for line in lines]
    if all(links):
        shown = (f'<a href="{escape(x["url"])}">{escape(x["name"])}</a>' for x in links if x)
        return f'<p style="{_PARAGRAPH}">{"<br>".join(shown)}</p>'
    text = "<br>\n".join(escape(line) for line in lines)
    return f'<p style="{_PARAGRAPH}">{text}</p>'
