"""The words of a reminder: templates, and the values that are put into them.

A packaged template is `templates/<language>/<type>.<escalation>.txt`: a line `Subject: ...`, an
empty line, the body; its HTML is made from its text (letterhead.py). A company's own stand in its
settings (own_templates.py). All are Jinja2, and may use these variables:

    company_name, sender_name    who writes; sender_name may be empty
    sender_email, signature      the mailbox's address; the company's lines under each reminder
    client_name, client_email    to whom; the name is empty when unknown: the greeting goes without
    source_label                 what it is about, with its noun: 'Facture F-2026-012'
    amount                       in the client's notation: 1 234,50 € or €1,234.50
    due_date                     12 novembre 2026, 12 November 2026
    due_day                      12/11/2026
    days_late                    whole days since the due date, a number
    payment_link, signature_link https addresses; ask with `is defined`
    late_charge, late_total, late_rate, late_interest
                                 what a professional owes besides, where it applies: `is defined`

A variable without a usable value is left out, and printing one that is left out raises
MissingVariable: the reminder is held, and no client ever reads a sentence with a hole in it.

Values come from mail and from other people's forms. They are never read as a template, and are
brought to one bounded line each, so that a name can break neither a header nor the layout.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cache, lru_cache
from pathlib import Path
from typing import Protocol

from babel.dates import format_date
from babel.numbers import format_currency, format_decimal
from jinja2 import FileSystemLoader, Template, UndefinedError
from jinja2.sandbox import SandboxedEnvironment

from backend.app.errors import RelanceError
from backend.app.followups.late_payment import LateDue
from backend.app.followups.letterhead import to_html
from backend.app.followups.own_templates import (
    PACKAGED_NAMES,
    Language,
    NamedUndefined,
    OwnTemplate,
    compiled,
)
from backend.app.followups.settings import FollowupType
from backend.app.mail.markup import sanitise, text_from_html

DEFAULT_LANGUAGE = "fr"
LAST_TEMPLATE_STEP = 3
_LOCALES = {"fr": "fr_FR", "en": "en_GB"}
SUBJECT_VALUE_CHARS = 60  # leaves every packaged subject within 120
BODY_VALUE_CHARS = 200
OWN_SUBJECT_CHARS = 200
_ADDRESS_CHARS = 320  # one that is cut is another one
_AMOUNT_LIMIT = Decimal(10) ** 12  # followups.amount holds less; 1E+999999 would fill the memory
TEMPLATES = Path(__file__).parent / "templates"


class WordingUnusable(RelanceError):
    """No mail can be made of the wording, and the reminder must be held. The message says why."""


class MissingVariable(WordingUnusable):
    """The wording needs `name`, which has no usable value."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the wording needs {name}, which is missing or unusable")
        self.name = name


@dataclass(frozen=True, slots=True, kw_only=True)
class WordingContext:
    """The values of one reminder, as they stand in the database; see the module's table.

    amount     in units of `currency` (not cents); None, 0 or less: there is nothing to ask for
    currency   ISO 4217
    days_late  by the company's calendar, on the day on which the mail goes out
    """

    company_name: str
    client_name: str
    source_label: str
    amount: Decimal | None
    currency: str
    due_date: date | None
    days_late: int | None
    sender_name: str
    sender_email: str = ""
    client_email: str = ""
    signature: str | None = None
    payment_link: str | None = None
    signature_link: str | None = None
    late: LateDue | None = None


@dataclass(frozen=True, slots=True)
class Wording:
    """A rendered reminder: a subject of one line, and plain text that ends with a line feed.

    html: the same as a whole document.
    """

    subject: str
    text: str
    html: str


class Fill(Protocol):
    """Puts the values into an own template, each bounded to `chars`."""

    def __call__(self, source: str, *, html: bool, chars: int) -> str: ...


@dataclass(frozen=True, slots=True)
class Style:
    """Which wording a step has.

    escalation  how firm, 1 to 3; a higher one counts as 3
    template    a name; None: the one of the type and the escalation
    own         the company's own templates: name -> language -> template
    """

    escalation: int
    template: str | None = None
    own: Mapping[str, Mapping[Language, OwnTemplate]] = field(default_factory=dict)

    def own_mail(self, name: str) -> dict[Language, OwnTemplate]:
        """The company's own words for a mail, by language; {} when it has none of this name."""
        choices = self.own.get(name, {})
        return {each: own for each, own in choices.items() if own.subject is not None}

    def names(self, type: FollowupType) -> tuple[str, str]:
        """The own template's name, and the packaged one's."""
        level = min(self.escalation, LAST_TEMPLATE_STEP)
        return (
            self.template or f"{type.value}_{level}",
            self.template if self.template in PACKAGED_NAMES else f"{type.value}.{level}",
        )


def render(
    type: FollowupType, style: Style | int, language: str, context: WordingContext
) -> Wording:
    """Word a reminder. style: a number is an escalation with the packaged wording.

    language: 'fr', 'en', or a tag or locale that begins so (fr-CA, en_US); any other gets French.
    Raises MissingVariable, and ValueError for an escalation below 1.
    """
    style = Style(style) if isinstance(style, int) else style
    if style.escalation < 1:
        raise ValueError(f"escalations begin at 1, not {style.escalation}")
    spoken = spoken_language(language)
    own_name, packaged = style.names(type)
    own = style.own_mail(own_name)
    if own:
        return _own(own, spoken, context)
    subject, body = packaged_template(spoken, packaged)
    line = filled(subject, spoken, context, SUBJECT_VALUE_CHARS)
    text = filled(body, spoken, context, BODY_VALUE_CHARS)
    return Wording(line, text, to_html(text, language=spoken, title=line))


def _own(choices: Mapping[Language, OwnTemplate], spoken: str, context: WordingContext) -> Wording:
    """A company's own wording, in the client's language if it has it, else in the one it has."""
    language, own = chosen_language(choices, spoken)

    def fill(source: str, *, html: bool, chars: int) -> str:
        return filled(compiled(source, html=html), language, context, chars, spaced=not html)

    return own_wording(own, language, fill)


def chosen_language(
    choices: Mapping[Language, OwnTemplate], spoken: str
) -> tuple[Language, OwnTemplate]:
    """The one in the client's language, else the first."""
    only = next(iter(choices.items()))
    return next((each for each in choices.items() if each[0] == spoken), only)


def own_wording(own: OwnTemplate, language: str, fill: Fill) -> Wording:
    """Subject, text and HTML, one of the last two made from the other where it is not given."""
    subject = fill(own.subject or "", html=False, chars=SUBJECT_VALUE_CHARS)
    line = re.sub(r"[ \t\r\n]+", " ", subject).strip()
    html = own.html and fill(own.html, html=True, chars=BODY_VALUE_CHARS)
    if own.text:
        text = fill(own.text, html=False, chars=BODY_VALUE_CHARS)
    else:
        text = text_from_html(sanitise(html or ""))[0]
    text = text.strip("\n") + "\n"
    if not line or not text.strip():
        raise MissingVariable("subject" if not line else "text")
    return Wording(
        line[:OWN_SUBJECT_CHARS], text, html or to_html(text, language=language, title=line)
    )


def spoken_language(language: str) -> str:
    """Return the language of the templates that `render` takes for a tag or locale."""
    spoken = re.split("[-_]", language.casefold())[0]
    return spoken if spoken in _LOCALES else DEFAULT_LANGUAGE


ENVIRONMENT = SandboxedEnvironment(
    loader=FileSystemLoader(TEMPLATES),
    undefined=NamedUndefined,
    autoescape=False,  # plain text: nobody would turn &amp; back
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


@cache
def packaged_template(language: str, name: str) -> tuple[Template, Template]:
    """Return subject and body. They are split before rendering: no value can move the border."""
    name = f"{language}/{name}.txt"
    first_line, _, body = (TEMPLATES / name).read_text(encoding="utf-8").partition("\n\n")
    if not first_line.startswith("Subject: ") or "\n" in first_line:
        raise ValueError(f"{name} does not begin with a Subject line and an empty one")
    return (
        ENVIRONMENT.from_string(first_line.removeprefix("Subject: ")),
        ENVIRONMENT.from_string(body),
    )


def filled(
    template: Template,
    language: str,
    context: WordingContext,
    chars: int,
    *,
    spaced: bool = True,
) -> str:
    """A template with its values. chars: how long one may be. Raises WordingUnusable."""
    try:
        return fill_in(template, language, values_of(context, language, chars), spaced=spaced)
    except MissingVariable as missing:
        raise MissingVariable(_culprit(missing.name, context)) from None


def fill_in(
    template: Template, language: str, values: Mapping[str, object], *, spaced: bool = True
) -> str:
    """Raises MissingVariable, and WordingUnusable."""
    try:
        text = template.render(values)
    except UndefinedError as error:
        raise MissingVariable(error.message or "a value") from None
    except (TypeError, ValueError) as error:
        # Only a company's own can ask for it: `amount > 100` compares text with a number.
        raise WordingUnusable(f"the template cannot be filled in: {error}") from None
    return _spaced_for_french(text) if spaced and language == "fr" else text


def _culprit(name: str, context: WordingContext) -> str:
    # An amount is left out when its currency is unusable, too.
    return "currency" if name == "amount" and is_payable(context.amount) else name


def values_of(
    context: WordingContext, language: str, chars: int = BODY_VALUE_CHARS
) -> dict[str, object]:
    """The variables of the module's table, as they are printed in bounded lines."""
    client_name = _one_line(context.client_name, chars)
    values: dict[str, object] = {
        # Where nobody gave a name, many address books put the address: no way to greet a person.
        "client_name": "" if "@" in client_name else client_name,
        "sender_name": _one_line(context.sender_name, chars),
        "signature": _lines(context.signature or ""),
    }
    optional: dict[str, object] = {
        "company_name": _one_line(context.company_name, chars),
        "source_label": _one_line(context.source_label, chars),
        "amount": money(context.amount, context.currency, language),
        "due_date": _day(context.due_date, language) if context.due_date else None,
        "due_day": context.due_date.strftime("%d/%m/%Y") if context.due_date else None,
        "days_late": context.days_late,
        "client_email": _one_line(context.client_email, _ADDRESS_CHARS),
        "sender_email": _one_line(context.sender_email, _ADDRESS_CHARS),
        "payment_link": context.payment_link,
        "signature_link": context.signature_link,
    }
    optional |= _late_values(context.late, language) if context.late else {}
    return values | {name: value for name, value in optional.items() if value not in (None, "")}


def _late_values(late: LateDue, language: str) -> dict[str, object]:
    """The charge, the interest with its calculation, and the total: all as they are printed."""
    locale = _LOCALES[language]
    values: dict[str, object] = {
        "late_charge": money(late.charge, "EUR", language),
        "late_total": money(late.total, "EUR", language),
    }
    if late.rate_percent is not None and late.interest is not None:
        # The sign stands after an unbreakable space in French (CLDR has a narrow one).
        percent = format_decimal(late.rate_percent, locale=locale)
        values["late_rate"] = f"{percent}\u00a0%" if locale.startswith("fr") else f"{percent}%"
        values["late_interest"] = money(late.interest, "EUR", language) or format_currency(
            late.interest, "EUR", locale=locale
        ).replace("\u202f", "\u00a0")
    return values


def is_payable(amount: Decimal | None) -> bool:
    """Whether a client can be asked for it; PostgreSQL's numeric may be NaN."""
    return amount is not None and amount.is_finite() and 0 < amount < _AMOUNT_LIMIT


@lru_cache(maxsize=1000)  # babel takes its time, and subject and text say the same
def money(amount: Decimal | None, currency: str, language: str) -> str | None:
    """As the client reads it; None for what nobody can be asked for."""
    code = currency.strip().upper()
    if amount is None or not is_payable(amount) or not re.fullmatch("[A-Z]{3}", code):
        return None
    # CLDR groups French digits with U+202F, which old mail programs draw as a box.
    return format_currency(amount, code, locale=_LOCALES[language]).replace("\u202f", "\u00a0")


@lru_cache(maxsize=1000)
def _day(day: date, language: str) -> str:
    text = format_date(day, format="long", locale=_LOCALES[language])
    # French writes the first of a month as an ordinal; CLDR does not.
    return re.sub(r"^1 ", "1er ", text) if language == "fr" else text


def _spaced_for_french(text: str) -> str:
    """Make the space before : ; ! ? » and after « unbreakable; in the files it is a plain one."""
    return re.sub(r" ([:;!?»])", "\u00a0\\1", text).replace("« ", "«\u00a0")


def _lines(value: str) -> str:
    return "\n".join(_one_line(line, BODY_VALUE_CHARS) for line in value.splitlines()).strip()


def _one_line(value: str, chars: int) -> str:
    """Drop control and formatting characters, make every run of blanks one space, and bound it.

    The formatting ones can turn the reading direction around or hide text (Unicode TR36).
    """
    shown = value if value.isprintable() else "".join(_shown(char) for char in value)
    line = " ".join(shown.split())
    return line if len(line) <= chars else line[: chars - 1].rstrip() + "…"


def _shown(char: str) -> str:
    category = unicodedata.category(char)
    if category in ("Cc", "Zl", "Zp"):
        return " "
    return "" if category in ("Cf", "Cs") else char
