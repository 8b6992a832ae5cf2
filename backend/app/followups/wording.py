"""The words of a reminder: a template, and the values that are put into it.

A packaged template is `templates/<language>/<type>.<escalation>.txt`: a line `Subject: ...`, an
empty line, the body; its HTML is made from its text (letterhead.py). A company's own stand in its
settings (own_templates.py). All are Jinja2, and may use the variables of values.py.

A variable without a usable value is left out, and printing one that is left out raises
MissingVariable: the reminder is held, and no client ever reads a sentence with a hole in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Protocol

from jinja2 import FileSystemLoader, Template, UndefinedError
from jinja2.sandbox import SandboxedEnvironment

from backend.app.errors import RelanceError
from backend.app.followups.letterhead import to_html
from backend.app.followups.own_templates import (
    PACKAGED_NAMES,
    Language,
    NamedUndefined,
    OwnTemplate,
    compiled,
    own_template_name,
)
from backend.app.followups.type_rules import FollowupType
from backend.app.followups.values import (
    BODY_VALUE_CHARS,
    LOCALES,
    SUBJECT_VALUE_CHARS,
    WordingContext,
    is_payable,
    values_of,
)
from backend.app.mail.markup import sanitise, text_from_html

DEFAULT_LANGUAGE = "fr"
LAST_TEMPLATE_STEP = 3
OWN_SUBJECT_CHARS = 200
TEMPLATES = Path(__file__).parent / "templates"


class WordingUnusable(RelanceError):
    """No mail can be made of the wording, and the reminder must be held. The message says why."""


class MissingVariable(WordingUnusable):
    """The wording needs `name`, which has no usable value."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the wording needs {name}, which is missing or unusable")
        self.name = name


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
            own_template_name(type, level, self.template),
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
    return spoken if spoken in LOCALES else DEFAULT_LANGUAGE


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


def _spaced_for_french(text: str) -> str:
    """Make the space before : ; ! ? » and after « unbreakable; in the files it is a plain one."""
    return re.sub(r" ([:;!?»])", "\u00a0\\1", text).replace("« ", "«\u00a0")
