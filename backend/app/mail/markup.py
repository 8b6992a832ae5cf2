"""HTML of mails: made safe to show (nh3), and turned into text.

nh3 (html5ever in Rust) parses whatever a mail calls HTML and writes it back well-formed, so the
text is made from its output by one linear pass. An lxml-based converter would add 45 ms to the
start of every cron run and recurses as deep as the sender likes.
"""

from __future__ import annotations

import html as entities
import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import nh3

# Marks that mail programs put on what they quote; the only classes and ids that stay.
QUOTE_CLASSES = frozenset(
    (
        "gmail_quote",
        "gmail_attr",
        "gmail_quote_container",
        "moz-cite-prefix",
        "yahoo_quoted",
        "protonmail_quote",
        "tutanota_quote",
        "zmail_extra",
        "moz-forward-container",
    )
)
QUOTE_IDS = frozenset(
    (
        "divRplyFwdMsg",
        "appendonsend",
        "mail-editor-reference-message-container",
        "reply-intro",
        "OLK_SRC_BODY_SECTION",
        "stopSpelling",
        "isForwardContent",
    )
)
# nh3 takes time with the square of the nesting (300,000 open tags: minutes). Real newsletters
# nest some 50 tables deep.
_DEEPEST = 200
_MOST_ATTRIBUTES = 2_000  # the time for one tag grows with the square of its attributes
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)([^>]*)>?")
# Closed by what follows, or never (HTML Standard, 13.1.2.4 and 13.1.2): their end tags lack.
# fmt: off
_UNNESTED = frozenset(
    (
        "p", "li", "td", "th", "tr", "dt", "dd", "option", "tbody", "thead", "br", "img",
        "hr", "input", "meta", "link", "col", "base", "area", "wbr", "source", "embed",
        "param",
    )
)
# fmt: on

_NODE = re.compile(r'<!--.*?-->|<(/?)([a-zA-Z][a-zA-Z0-9]*)((?:"[^"]*"|[^">])*)>', re.DOTALL)
_INVISIBLE_ELEMENT = re.compile(r"<(script|style)\b", re.IGNORECASE)
# fmt: off
_BLOCKS = frozenset(
    (
        "p", "div", "table", "tr", "ul", "ol", "dl", "h1", "h2", "h3", "h4", "h5", "h6",
        "pre", "center", "header", "footer", "section", "article", "address", "blockquote",
        "li", "dt", "dd", "hr", "figure", "main", "caption",
    )
)
# fmt: on
# fmt: off
_PARAGRAPHS = frozenset(
    (
        "p", "ul", "ol", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "table", "pre",
    )
)
# fmt: on
_SPACES = re.compile(r"[ \t\r\n\f]+")
_MANY_BREAKS = re.compile(r"\n{3,}")
_HREF = re.compile(r'href="((?:https?|mailto):[^"]{1,2000})"')
_QUOTE_MARK = re.compile(r'(?:class|id)="([^"]{1,300})"')


def too_deep(html: str) -> bool:
    """Whether tags nest deeper, or one is larger, than any real mail's; no parser is asked."""
    if html.count("<") <= _DEEPEST and len(html) <= _MOST_ATTRIBUTES:
        return False
    open_tags: dict[str, int] = {}
    depth = 0
    for match in _TAG.finditer(html):
        name = match[2].lower()
        if len(match[3]) > _MOST_ATTRIBUTES and len(match[3].split()) > _MOST_ATTRIBUTES:
            return True
        if name in _UNNESTED:
            continue
        if not match[1]:
            open_tags[name] = open_tags.get(name, 0) + 1
            depth += 1
            if depth > _DEEPEST:
                return True
        elif open_tags.get(name):
            open_tags[name] -= 1
            depth -= 1
    return False


def sanitise(html: str) -> str:
    """HTML that is safe to show: no script, style, form, frame or remote code.

    Images stay (`http`, `https`, `cid`, `data`); whether remote ones are loaded is for whoever
    shows them. Links open without a referrer.
    """
    return _cleaner().clean(html)


@lru_cache(maxsize=1)
def _cleaner() -> nh3.Cleaner:
    import nh3

    attributes = {tag: set(names) for tag, names in nh3.ALLOWED_ATTRIBUTES.items()}
    for tag in ("table", "td", "th", "tr", "div", "p"):
        attributes.setdefault(tag, set()).update(("align", "dir"))
    marked = ("div", "blockquote", "span", "p", "table")
    return nh3.Cleaner(
        attributes=attributes,
        allowed_classes={tag: set(QUOTE_CLASSES) for tag in marked},
        tag_attribute_values={"div": {"id": set(QUOTE_IDS)}},
        clean_content_tags={"script", "style", "title", "noscript", "template"},
        url_schemes={"http", "https", "mailto", "tel", "cid", "data"},
    )


class _Writer:
    """Text under construction: line breaks, list marks and quote depth."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.line: list[str] = []
        self.quote = 0
        self.pre = 0
        self.quoted_from: int | None = None  # line at which a quote mark of a mail program stood

    def write(self, text: str) -> None:
        if self.pre:
            *whole, last = text.split("\n")
            for line in whole:
                self.line.append(line)
                self.break_line(forced=True)
            self.line.append(last)
            return
        text = _SPACES.sub(" ", text)
        if text.startswith(" ") and (not self.line or self.line[-1].endswith(" ")):
            text = text[1:]
        if text:
            self.line.append(text)

    def break_line(self, *, forced: bool = False) -> None:
        text = "".join(self.line).rstrip()
        if text or forced:
            self.lines.append("> " * self.quote + text)
        self.line = []

    def paragraph(self) -> None:
        self.break_line()
        blank = "> " * self.quote
        if self.lines and self.lines[-1].strip("> "):
            self.lines.append(blank.rstrip())


def text_from_html(clean_html: str) -> tuple[str, int | None]:
    """The readable text of *sanitised* HTML, and where in it a mail program marked its quote.

    `blockquote` becomes `> ` lines, links keep their address in `<>` where the text differs.
    The second value is a character offset, None when there is no mark.
    """
    writer = _Writer()
    at = 0
    href = ""
    link_from = 0
    for match in _NODE.finditer(clean_html):
        if match.start() > at:
            writer.write(entities.unescape(clean_html[at : match.start()]))
        at = match.end()
        name = match[2]
        if name is None:
            continue
        if name == "a":
            if not match[1]:
                found = _HREF.search(match[3])
                href = entities.unescape(found[1]) if found else ""
                link_from = len(writer.line)
            else:
                _close_link(writer, href, link_from)
                href = ""
        else:
            _apply_tag(writer, name, closing=bool(match[1]), attributes=match[3])
    writer.write(entities.unescape(clean_html[at:]))
    writer.break_line()
    return _finish(writer)


def _close_link(writer: _Writer, href: str, link_from: int) -> None:
    label = "".join(writer.line[link_from:]).strip()
    bare = href.removeprefix("mailto:")
    if href and label and bare.rstrip("/") not in (label, label.rstrip("/")):
        writer.write(f" <{bare}>")


def _apply_tag(writer: _Writer, name: str, *, closing: bool, attributes: str) -> None:
    if not closing and writer.quoted_from is None and _is_quote_mark(attributes):
        writer.break_line()
        writer.quoted_from = len(writer.lines)
    if name == "br":
        writer.break_line(forced=True)
    elif name in ("td", "th") and closing:
        writer.write(" ")
    elif name in _BLOCKS:
        writer.paragraph() if name in _PARAGRAPHS else writer.break_line()
    if name == "li" and not closing:
        writer.line.append("- ")
    elif name == "blockquote":
        writer.quote = max(0, min(writer.quote + (-1 if closing else 1), 20))
    elif name == "pre":
        writer.pre = max(0, writer.pre + (-1 if closing else 1))


def _is_quote_mark(attributes: str) -> bool:
    marks = _QUOTE_MARK.findall(attributes) if attributes else ()
    return any(
        word in QUOTE_IDS or word.startswith(("gmail_quote", "moz-cite", "yahoo_q", "protonmail_q"))
        for value in marks
        for word in value.split()
    )


def _finish(writer: _Writer) -> tuple[str, int | None]:
    before = writer.lines if writer.quoted_from is None else writer.lines[: writer.quoted_from]
    head = _MANY_BREAKS.sub("\n\n", "\n".join(before)).strip()
    if writer.quoted_from is None:
        return head.replace("\xa0", " "), None
    tail = _MANY_BREAKS.sub("\n\n", "\n".join(writer.lines[writer.quoted_from :])).strip()
    text = f"{head}\n\n{tail}" if head and tail else head or tail
    return text.replace("\xa0", " "), len(head)


def strip_tags(html: str) -> str:
    """The text of HTML that is too large or too deep for the sanitiser: tags cut, no layout."""
    text = entities.unescape(_TAG.sub("\n", _without_scripts(html)))
    lines = (line.strip() for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def _without_scripts(html: str) -> str:
    kept: list[str] = []
    at = 0
    lowered = html.lower()
    while (match := _INVISIBLE_ELEMENT.search(html, at)) is not None:
        kept.append(html[at : match.start()])
        at = lowered.find(f"</{match[1].lower()}", match.end())
        if at < 0:  # never closed: browsers show nothing of what follows
            return "".join(kept)
    kept.append(html[at:])
    return "".join(kept)
