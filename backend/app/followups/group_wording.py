"""The words of one mail about several follow-ups of a client. Pure.

A packaged template is `templates/<language>/<name>.group.txt`, where <name> is that of the wording
for one; a company's own is called as its own for one, with `_group` behind it. They know what all
have in common (company_name, sender_name, sender_email, signature, client_name, client_email), and

    count          how many there are
    items          the list: label, due date and amount in a line each, with the sum below
    total          the sum, one amount for each currency
    late_items     what professionals owe besides, with its calculation and the sum: `is defined`
    late_total     that sum: `is defined`
    links          an address for each, in a line of its own, or one for all: `is defined`
    all_reminded, some_reminded   whether each of them, or any, was written of before

Lists are text in a text and tables in HTML, so that no template needs a loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

from jinja2 import Template
from markupsafe import Markup

from backend.app.followups.letterhead import part_to_html, to_html
from backend.app.followups.own_templates import GROUP_SUFFIX, compiled
from backend.app.followups.type_rules import FollowupType
from backend.app.followups.values import (
    BODY_VALUE_CHARS,
    SUBJECT_VALUE_CHARS,
    WordingContext,
    is_payable,
    money,
    values_of,
)
from backend.app.followups.wording import (
    ENVIRONMENT,
    TEMPLATES,
    Style,
    Wording,
    chosen_language,
    fill_in,
    own_wording,
    packaged_template,
    spoken_language,
)

# The lists of each type, and the link that belongs to an item.
_ITEMS = {
    FollowupType.INVOICE_UNPAID: ("invoices", "payment_link"),
    FollowupType.QUOTE_UNANSWERED: ("quotes", "signature_link"),
}
_LISTS = ("items", "late_items", "links")
_OF_ALL = (
    "client_email",
    "client_name",
    "company_name",
    "sender_email",
    "sender_name",
    "signature",
)


@dataclass(frozen=True, slots=True)
class Item:
    """One follow-up of the mail. reminded: it was written of before."""

    context: WordingContext
    reminded: bool


def can_group(type: FollowupType, style: Style) -> bool:
    """Whether there are words for several in this style.

    A company's own words for one are not replaced by packaged ones for several.
    """
    own, packaged = style.names(type)
    if style.own_mail(own + GROUP_SUFFIX):
        return True
    return not style.own_mail(own) and (TEMPLATES / "fr" / f"{packaged}.group.txt").exists()


def render_group(type: FollowupType, style: Style, language: str, items: Sequence[Item]) -> Wording:
    """Word one mail about all items, in their order. language: as for wording.render.

    Raises MissingVariable; ValueError when there are no words for several, see can_group.
    """
    if not can_group(type, style):
        raise ValueError(f"no words for several in {style.names(type)}")
    spoken = spoken_language(language)
    own, packaged = style.names(type)
    if choices := style.own_mail(own + GROUP_SUFFIX):
        spoken, template = chosen_language(choices, spoken)
        values = _values(type, items, spoken)

        def fill(source: str, *, html: bool, chars: int) -> str:
            shown = _in_html(values) if html else values
            return fill_in(compiled(source, html=html), spoken, shown, spaced=not html)

        return own_wording(template, spoken, fill)
    values = _values(type, items, spoken)
    subject, body = packaged_template(spoken, f"{packaged}.group")
    line = fill_in(subject, spoken, values)
    text = fill_in(body, spoken, values)
    return Wording(line, text, to_html(text, language=spoken, title=line, columns=True))


def _values(type: FollowupType, items: Sequence[Item], language: str) -> dict[str, object]:
    contexts = [item.context for item in items]
    rows = [_row(context, language) for context in contexts]
    lists, link = _ITEMS[type]
    links = [row.get(link) for row in rows]
    balances = [(each.amount, each.currency) for each in contexts]
    late = [each.late.total - each.late.balance for each in contexts if each.late is not None]
    known: dict[str, object] = {name: rows[0][name] for name in _OF_ALL if name in rows[0]}
    known |= {
        "count": len(items),
        "all_reminded": all(item.reminded for item in items),
        "some_reminded": any(item.reminded for item in items),
    }
    optional: dict[str, object] = {"total": _total(balances, language)}
    if late:
        owed = [*balances, *((each, "EUR") for each in late)]
        optional["late_total"] = _total(owed, language)
    shown = {name: value for name, value in optional.items() if value} | {"rows": rows}
    if links[0] and len(set(links)) == 1:
        shown["one_link"] = links[0]
    optional["items"] = _list(language, lists, shown)
    optional["links"] = any(links) and _list(language, f"{lists}_links", shown)
    optional["late_items"] = bool(late) and _list(language, "late_items", shown)
    return known | {name: value for name, value in optional.items() if value}


def _row(context: WordingContext, language: str) -> dict[str, object]:
    """The variables of one follow-up; a label cannot break its line of the table."""
    values = values_of(context, language, BODY_VALUE_CHARS)
    if context.source_label and "source_label" in values:
        label = values_of(context, language, SUBJECT_VALUE_CHARS)["source_label"]
        values["source_label"] = str(label).replace(" | ", " / ")
    return values


def _total(amounts: Sequence[tuple[Decimal | None, str]], language: str) -> str | None:
    """One sum a currency, in the order in which they come; None where an amount is missing."""
    sums: dict[str, Decimal] = {}
    for amount, currency in amounts:
        if amount is None or not is_payable(amount):
            return None
        code = currency.strip().upper()
        sums[code] = sums.get(code, Decimal(0)) + amount
    shown = [money(amount, code, language) for code, amount in sums.items()]
    return None if None in shown else " + ".join(filter(None, shown))


def _list(language: str, name: str, values: dict[str, object]) -> str:
    return fill_in(_list_template(language, name), language, values).strip("\n")


@cache
def _list_template(language: str, name: str) -> Template:
    return ENVIRONMENT.get_template(f"{language}/_group_{name}.txt")


def _in_html(values: dict[str, object]) -> dict[str, object]:
    """Safe: the letterhead escapes what it makes of the lists."""
    shown = {
        name: Markup(part_to_html(str(values[name]), columns=True))  # noqa: S704
        for name in _LISTS
        if name in values
    }
    return values | shown
