"""A company's own filing rules: from its JSON document to validated, frozen rules. Pure.

The document is the value of `company_settings.settings["inbox"]`. Everything is optional:

    {
      "folders": {"suppliers": "Fournisseurs"},       what people read for a slug
      "rules": [
        {"name": "Suppliers", "folder": "suppliers",
         "when": {"any": [{"sender": "@wood.example"},
                          {"all": [{"subject": "facture"}, {"not": {"recipient": "info@"}}]},
                          {"header": {"name": "X-Project", "contains": "A12"}}]}}
      ]
    }

The first rule that matches decides. Every test is "contains", without case, accents or white
space differences; there are no regular expressions, so that no rule can hold up a mailbox.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from backend.app.errors import SettingsInvalid
from backend.app.mail.message import Address, ParsedMail

MOST_RULES = 100
MOST_CONDITIONS = 50  # in one all or any
MOST_TESTS = 200  # in one rule, together
DEEPEST = 5
BODY_CHARS = 20_000  # of the text that a body test looks at
_SHOWN_ERRORS = 5

_Words = Annotated[str, Field(min_length=1, max_length=200)]
_Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
_STRICT = ConfigDict(strict=True, extra="forbid", frozen=True, serialize_by_alias=True)


class HeaderTest(BaseModel):
    model_config = _STRICT

    name: Annotated[str, Field(pattern=r"^[!-9;-~]{1,76}$")]
    contains: _Words


class Condition(BaseModel):
    """Exactly one test. sender and recipient look at address and name; body at the whole text."""

    model_config = _STRICT

    sender: _Words | None = None
    recipient: _Words | None = None
    subject: _Words | None = None
    body: _Words | None = None
    header: HeaderTest | None = None
    all_of: _Several | None = Field(default=None, alias="all")
    any_of: _Several | None = Field(default=None, alias="any")
    none_of: Condition | None = Field(default=None, alias="not")

    @model_serializer(mode="wrap")
    def _as_written(self, dump: Callable[[Self], dict[str, Any]]) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if value is not None}

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise PydanticCustomError(
                "one_test",
                "must hold exactly one of sender, recipient, subject, body, header, all, any, not",
            )
        return self


_Several = Annotated[
    tuple[Condition, ...], Field(strict=False, min_length=1, max_length=MOST_CONDITIONS)
]
Condition.model_rebuild()


class Rule(BaseModel):
    """folder: the slug of a drawer, which is made when it is not there."""

    model_config = _STRICT

    name: Annotated[str, Field(min_length=1, max_length=60)]
    folder: _Slug
    when: Condition

    @field_validator("when")
    @classmethod
    def _is_bounded(cls, when: Condition) -> Condition:
        if _depth(when) > DEEPEST:
            raise PydanticCustomError("too_deep", f"nested deeper than {DEEPEST} levels")
        if _count(when) > MOST_TESTS:
            raise PydanticCustomError("too_many", f"holds more than {MOST_TESTS} tests")
        return when


class FilingRules(BaseModel):
    """The rules of one company. Made by `load_filing_rules`."""

    model_config = _STRICT

    folders: dict[_Slug, Annotated[str, Field(min_length=1, max_length=120)]] = {}
    rules: Annotated[tuple[Rule, ...], Field(strict=False, max_length=MOST_RULES)] = ()


NO_RULES = FilingRules()


def load_filing_rules(document: Mapping[str, Any] | None) -> FilingRules:
    """Validate `company_settings.settings["inbox"]`; None or {} gives no rules.

    Raises SettingsInvalid, whose one-line message names each wrong rule (the first few), such as
    `inbox.rules[0] "Suppliers".when.any[1]: must hold exactly one of ...`.
    """
    try:
        return FilingRules.model_validate({} if document is None else document)
    except ValidationError as error:
        found = list(dict.fromkeys(_explained(detail, document) for detail in error.errors()))
    except RecursionError:
        found = [f"inbox: nested deeper than {DEEPEST} levels"]
    more = [f"and {len(found) - _SHOWN_ERRORS} more"] if len(found) > _SHOWN_ERRORS else []
    raise SettingsInvalid("; ".join(found[:_SHOWN_ERRORS] + more)) from None


def find_rule(rules: FilingRules, mail: ParsedMail) -> Rule | None:
    """The first rule that matches."""
    if not rules.rules:
        return None
    facts = _Facts(
        sender=_addresses((mail.sender,) if mail.sender else ()),
        recipient=_addresses(mail.recipients),
        subject=fold(mail.subject),
        body=fold(mail.text[:BODY_CHARS]),
        headers=mail.headers,
    )
    return next((rule for rule in rules.rules if _matches(rule.when, facts)), None)


def fold(text: str) -> str:
    """Text as it is compared: without case, accents and differences of white space."""
    plain = unicodedata.normalize("NFKD", text.casefold().replace("’", "'"))
    return " ".join("".join(c for c in plain if not unicodedata.combining(c)).split())


@dataclass(frozen=True, slots=True)
class _Facts:
    sender: str
    recipient: str
    subject: str
    body: str
    headers: Mapping[str, tuple[str, ...]]


def _addresses(addresses: tuple[Address, ...]) -> str:
    return " ".join(fold(f"{address.name} <{address.email}>") for address in addresses)


def _matches(condition: Condition, facts: _Facts) -> bool:
    for name in ("sender", "recipient", "subject", "body"):
        wanted = getattr(condition, name)
        if wanted is not None:
            return fold(wanted) in getattr(facts, name)
    if condition.header is not None:
        values = facts.headers.get(condition.header.name.lower(), ())
        return any(fold(condition.header.contains) in fold(value) for value in values)
    if condition.all_of is not None:
        return all(_matches(each, facts) for each in condition.all_of)
    if condition.any_of is not None:
        return any(_matches(each, facts) for each in condition.any_of)
    return condition.none_of is not None and not _matches(condition.none_of, facts)


def _below(condition: Condition) -> list[Condition]:
    below = [*(condition.all_of or ()), *(condition.any_of or ())]
    return below if condition.none_of is None else [*below, condition.none_of]


def _depth(condition: Condition) -> int:
    return 1 + max((_depth(each) for each in _below(condition)), default=0)


def _count(condition: Condition) -> int:
    return 1 + sum(_count(each) for each in _below(condition))


# pydantic speaks of Python; the reader edits JSON.
_IN_JSON_WORDS = {
    "extra_forbidden": "unknown key",
    "model_type": "must be an object",
    "dict_type": "must be an object",
    "tuple_type": "must be a list",
    "missing": "is missing",
}


def _explained(detail: ErrorDetails, document: object) -> str:
    path, here = "inbox", document
    for part in detail["loc"]:
        here = _within(here, part)
        path += f"[{part}]" if isinstance(part, int) else f".{_printable(part)}"
        if path.count("[") == 1 and path.endswith("]") and path.startswith("inbox.rules["):
            name = _within(here, "name")
            path += f' "{_printable(name)}"' if isinstance(name, str) else ""
    return f"{path}: {_IN_JSON_WORDS.get(detail['type'], detail['msg'])}"


def _within(here: object, part: int | str) -> object:
    if isinstance(here, Mapping):
        return here.get(part)
    if isinstance(here, list) and isinstance(part, int) and part < len(here):
        return here[part]
    return None


def _printable(part: str) -> str:
    # A key or a name is whatever somebody typed: it must not break a log line.
    return "".join(char if char.isprintable() else "?" for char in part)[:60]
