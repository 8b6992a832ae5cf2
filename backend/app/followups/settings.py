"""A company's follow-up rules: from its JSON document to validated, frozen settings.

The document is the value of `company_settings.settings["followups"]`. Everything is optional:

    {
      "invoice_unpaid": {
        "delays_days": [7, 14, 21],   days after the due date at which each step falls due
        "maximum": 3,                 how many steps go out (default: one per delay)
        "min_gap_days": 5,            calendar days between two steps, however late the first was
        "send_hour": 9,               the company's wall clock, 0 to 23
        "freshness_minutes": 15       how recently the reply mailbox must have been synchronised
      },
      "quote_unanswered": { ... }     and so on, one object a FollowupType
    }

A company edits this by hand: an unknown key is refused, since a misspelt one that was ignored
would leave the default at work unseen.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from backend.app.errors import SettingsInvalid

MAX_STEPS = 20
MAX_DAYS = 3650
_SHOWN_ERRORS = 5
_SHOWN_KEY_CHARS = 60


class FollowupType(StrEnum):
    """What a client is reminded of: the value of `followups.type`."""

    QUOTE_UNANSWERED = "quote_unanswered"  # a quote without an answer
    INVOICE_UNPAID = "invoice_unpaid"
    MISSING_INFORMATION = "missing_information"  # the client owes us information or a document
    APPOINTMENT = "appointment"  # a date is still to be agreed on
    INACTIVE_CLIENT = "inactive_client"  # nothing was heard for long
    PROJECT_WAITING = "project_waiting"  # a project rests until the client decides


_Days = Annotated[int, Field(ge=0, le=MAX_DAYS)]


class TypeRules(BaseModel):
    """The rules of one follow-up type. Step n falls due `delays_days[n - 1]` after the due date."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    # Not strict: JSON knows no tuples. The numbers within stay strict.
    delays_days: Annotated[tuple[_Days, ...], Field(strict=False, max_length=MAX_STEPS)] = (
        7,
        14,
        21,
    )
    maximum: Annotated[int, Field(ge=1, le=MAX_STEPS)] = Field(
        default_factory=lambda validated: len(validated.get("delays_days", ()))
    )
    # At least one day: with none, a whole series would go out in one run after an outage (I8).
    min_gap_days: Annotated[int, Field(ge=1, le=MAX_DAYS)] = 5
    send_hour: Annotated[int, Field(ge=0, le=23)] = 9
    freshness_minutes: Annotated[int, Field(ge=1, le=24 * 60)] = 15

    @field_validator("delays_days")
    @classmethod
    def _delays_rise(cls, delays: tuple[int, ...]) -> tuple[int, ...]:
        # Not by min_length: pydantic counts the valid ones only, and would blame the list as well.
        if not delays:
            raise PydanticCustomError("no_delay", "must hold at least one delay")
        if any(later <= earlier for earlier, later in pairwise(delays)):
            raise PydanticCustomError(
                "delays_rise", "each delay must be longer than the one before"
            )
        return delays

    @model_validator(mode="after")
    def _every_step_has_a_delay(self) -> Self:
        if self.maximum > len(self.delays_days):
            raise PydanticCustomError(
                "maximum_delays",
                "maximum is {maximum}, but delays_days has a delay for {delays} only",
                {"maximum": self.maximum, "delays": len(self.delays_days)},
            )
        return self


class FollowupRules(BaseModel):
    """The rules of one company, for every type. Made by `load_rules`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    quote_unanswered: TypeRules = TypeRules()
    invoice_unpaid: TypeRules = TypeRules()
    missing_information: TypeRules = TypeRules()
    appointment: TypeRules = TypeRules()
    inactive_client: TypeRules = TypeRules()
    project_waiting: TypeRules = TypeRules()

    def for_type(self, name: str) -> TypeRules | None:
        """Return the rules of the follow-up type `name`; None when there is no such type."""
        by_name: dict[str, TypeRules] = dict(self)
        return by_name.get(name)


def load_rules(document: Mapping[str, Any] | None) -> FollowupRules:
    """Validate `company_settings.settings["followups"]`; None or {} gives the defaults.

    Raises SettingsInvalid, whose one-line message names every wrong key (the first few of them),
    such as `followups.invoice_unpaid.send_hour: Input should be less than or equal to 23`.
    """
    try:
        return FollowupRules.model_validate({} if document is None else document)
    except ValidationError as error:
        found = [_explained(detail) for detail in error.errors() if detail["type"] != _FOLLOW_ON]
        more = [f"and {len(found) - _SHOWN_ERRORS} more"] if len(found) > _SHOWN_ERRORS else []
        raise SettingsInvalid("; ".join(found[:_SHOWN_ERRORS] + more)) from None


# Said of `maximum` when the delays are wrong already.
_FOLLOW_ON = "default_factory_not_called"
# pydantic speaks of Python; the reader edits JSON.
_IN_JSON_WORDS = {
    "extra_forbidden": "unknown key",
    "model_type": "must be an object",
    "tuple_type": "must be a list",
    "too_long": f"must hold at most {MAX_STEPS} delays",
}


def _explained(detail: ErrorDetails) -> str:
    path = "followups"
    for part in detail["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{_key(part)}"
    return f"{path}: {_IN_JSON_WORDS.get(detail['type'], detail['msg'])}"


def _key(part: str) -> str:
    # An unknown key is whatever somebody typed: it must not break a log line.
    printable = "".join(char if char.isprintable() else "?" for char in part)
    return printable[:_SHOWN_KEY_CHARS]
