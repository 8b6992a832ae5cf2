"""A company's own wordings, from its settings: checked when they are loaded, bounded when rendered.

They are Jinja2 in its sandbox, and a small part of it: text, the variables of values.py, `if`
with and, or, not and comparisons, the tests `is defined` and `is not defined`, and a few filters.
There are no loops, no arithmetic, no calls, no attributes and no includes, so that what a template
costs is bounded by its length: `range(10**9)` or `'x' * 10**9` cannot be written.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal, Self

from jinja2 import StrictUndefined, Template, TemplateError, nodes
from jinja2.sandbox import SandboxedEnvironment
from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from backend.app.channel import Channel
from backend.app.followups.company_rules import Rules

# Packaged wordings besides those of each type and escalation, for a step's `template`.
PACKAGED_NAMES = ("invoice_soon_due",)
MOST_TEMPLATES = 60
MOST_CHARS = 20_000
MOST_SMS_CHARS = 1_600
VARIABLES = frozenset(
    (
        "amount",
        "client_email",
        "client_name",
        "company_name",
        "days_late",
        "due_date",
        "due_day",
        "late_charge",
        "late_interest",
        "late_rate",
        "late_total",
        "payment_link",
        "sender_email",
        "sender_name",
        "signature",
        "signature_link",
        "source_label",
    )
)
# Those of one follow-up alone have no meaning in a mail about several, and the other way round.
GROUP_SUFFIX = "_group"
GROUP_VARIABLES = frozenset(
    (
        "all_reminded",
        "count",
        "items",
        "late_items",
        "late_total",
        "links",
        "some_reminded",
        "total",
    )
)
_OF_ALL = frozenset(
    ("client_email", "client_name", "company_name", "sender_email", "sender_name", "signature")
)
FILTERS = frozenset(("capitalize", "lower", "trim", "upper"))
_NODES = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.If,
    nodes.CondExpr,
    nodes.Name,
    nodes.Const,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Filter,
    nodes.Test,
)


class NamedUndefined(StrictUndefined):
    """StrictUndefined whose error message is the bare name, for MissingVariable."""

    @property
    def _undefined_message(self) -> str:
        return self._undefined_name or "a value"


@lru_cache(maxsize=2)
def _environment(html: bool) -> SandboxedEnvironment:
    return SandboxedEnvironment(
        undefined=NamedUndefined,
        autoescape=html,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


@lru_cache(maxsize=500)
def compiled(source: str, *, html: bool) -> Template:
    """The template, ready to render. Raises ValueError, which says what it may not hold."""
    environment = _environment(html)
    try:
        for node in _walk(environment.parse(source)):
            _require_allowed(node)
        return environment.from_string(source)
    except TemplateError as error:
        raise ValueError(f"not a template: {error.message}") from None
    except (RecursionError, SyntaxError, MemoryError):
        raise ValueError("too deeply nested") from None


def _walk(tree: nodes.Template) -> list[nodes.Node]:
    return [tree, *tree.find_all(nodes.Node)]


def _require_allowed(node: nodes.Node) -> None:
    if not isinstance(node, _NODES):
        raise ValueError(f"line {node.lineno}: {type(node).__name__.lower()} is not allowed here")
    if isinstance(node, nodes.Name) and node.name not in VARIABLES | GROUP_VARIABLES:
        raise ValueError(
            f"line {node.lineno}: there is no variable {node.name[:60]}; there are "
            + ", ".join(sorted(VARIABLES))
        )
    if isinstance(node, nodes.Filter) and node.name not in FILTERS:
        raise ValueError(f"line {node.lineno}: there is no filter {node.name[:60]} here")
    if isinstance(node, nodes.Test) and node.name not in ("defined", "undefined"):
        raise ValueError(f"line {node.lineno}: there is no test {node.name[:60]} here")


@lru_cache(maxsize=500)
def _names_in(source: str) -> frozenset[str]:
    tree = _environment(html=False).parse(source)
    return frozenset(node.name for node in tree.find_all(nodes.Name))


class OwnTemplate(Rules):
    """One wording in one language: a mail's, a text message's (`sms`), or both.

    With one of text and html alone, the other is made from it.
    """

    subject: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    text: Annotated[str, Field(min_length=1, max_length=MOST_CHARS)] | None = None
    html: Annotated[str, Field(min_length=1, max_length=MOST_CHARS)] | None = None

    sms: Annotated[str, Field(min_length=1, max_length=MOST_SMS_CHARS)] | None = None

    def serves(self, channel: Channel) -> bool:
        """Whether a step of this channel finds its words here."""
        return (self.subject if channel is Channel.EMAIL else self.sms) is not None

    @model_validator(mode="after")
    def _can_be_rendered(self) -> Self:
        has_body = self.text is not None or self.html is not None
        if has_body and self.subject is None:
            raise PydanticCustomError("no_subject", "must have a subject beside text or html")
        if not has_body and (self.subject is not None or self.sms is None):
            raise PydanticCustomError("no_body", "must have text, html, or both; or sms alone")
        for name, html in (("subject", False), ("text", False), ("html", True), ("sms", False)):
            source: Any = getattr(self, name)
            if source is None:
                continue
            try:
                compiled(source, html=html)
            except ValueError as error:
                raise PydanticCustomError(
                    "template", "{name}: {error}", {"name": name, "error": str(error)}
                ) from None
        return self

    def misplaced(self, name: str) -> list[str]:
        """The variables that have no value in a template of this name; see GROUP_SUFFIX."""
        sources = filter(None, (self.subject, self.text, self.html, self.sms))
        used = frozenset().union(*map(_names_in, sources))
        known = _OF_ALL | GROUP_VARIABLES if name.endswith(GROUP_SUFFIX) else VARIABLES
        return sorted(used - known)


Language = Literal["fr", "en"]
TemplateName = Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9_]{0,59}$")]
OwnTemplates = Annotated[
    dict[TemplateName, Annotated[dict[Language, OwnTemplate], Field(min_length=1)]],
    Field(max_length=MOST_TEMPLATES),
]


def own_template_name(type: str, level: int, named: str | None) -> str:
    """Under which name a company's own words for a step stand.

    level: 1 to 3. named: the template that the step names; None for none.
    """
    return named or f"{type}_{level}"
