"""The rules of one follow-up type: its steps, and when and by which way they go.

As they stand in the company's document, under the type's name:

    "invoice_unpaid": {
      "steps": [
        {"days_from_due": -3, "template": "invoice_soon_due"},
        {"days_from_due": 7},
        {"days_after_previous": 10, "escalation": 2},
        {"days_after_previous": 5, "channel": "sms"}
      ],
      "maximum": 4,                 how many of the steps go out (default: all)
      "min_gap_days": 5,            calendar days between two of them, however late the first was
      "channel": "email",           or "sms", for every step that names none itself
      "send_hour": 9,               the hour at which a step falls due, 0 to 23
      "freshness_minutes": 15,      how recently the reply mailbox must have been synchronised
      "stop_on": ["answered", "paid", "refused", "accepted"],
      "group": false                several of one client that are due together in one mail; for
                                    invoice_unpaid and quote_unanswered
    }

`"delays_days": [7, 14, 21]` is short for three steps, so many days after the due date.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator
from pydantic_core import PydanticCustomError

from backend.app.channel import Channel
from backend.app.followups.company_rules import Rules

MAX_STEPS = 20
MAX_DAYS = 3650
LAST_ESCALATION = 3
StopEvent = Literal["answered", "paid", "refused", "accepted"]
STOP_EVENTS: tuple[StopEvent, ...] = ("answered", "paid", "refused", "accepted")
# Not strict: JSON knows no enumerations.
_Channel = Annotated[Channel, Field(strict=False)]
_Days = Annotated[int, Field(ge=0, le=MAX_DAYS)]


class FollowupType(StrEnum):
    """What a client is reminded of: the value of `followups.type`."""

    QUOTE_UNANSWERED = "quote_unanswered"  # a quote without an answer
    INVOICE_UNPAID = "invoice_unpaid"
    MISSING_INFORMATION = "missing_information"  # the client owes us information or a document
    APPOINTMENT = "appointment"  # a date is still to be agreed on
    INACTIVE_CLIENT = "inactive_client"  # nothing was heard for long
    PROJECT_WAITING = "project_waiting"  # a project rests until the client decides


class StepRule(Rules):
    """One reminder. Exactly one of the two offsets says when it falls due.

    days_from_due         calendar days from the due date; negative: before it
    days_after_previous   calendar days from the day on which the previous step went out
    channel               None: the type's
    template              a wording's name; None: by type and escalation
    escalation            how firm the wording is, 1 (a friendly word) to 3; None: by position
    """

    days_from_due: Annotated[int, Field(ge=-365, le=MAX_DAYS)] | None = None
    days_after_previous: Annotated[int, Field(ge=1, le=MAX_DAYS)] | None = None
    channel: _Channel | None = None
    template: Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9_]{0,59}$")] | None = None
    escalation: Annotated[int, Field(ge=1, le=LAST_ESCALATION)] | None = None

    @model_validator(mode="after")
    def _has_one_offset(self) -> Self:
        if (self.days_from_due is None) == (self.days_after_previous is None):
            raise PydanticCustomError(
                "one_offset", "must have either days_from_due or days_after_previous"
            )
        return self


class TypeRules(Rules):
    """The rules of one follow-up type. `plan` gives the steps, however they were written."""

    steps: Annotated[tuple[StepRule, ...], Field(strict=False, max_length=MAX_STEPS)] | None = None
    # Not strict: JSON knows no tuples. The numbers within stay strict.
    delays_days: Annotated[tuple[_Days, ...], Field(strict=False, max_length=MAX_STEPS)] = (
        7,
        14,
        21,
    )
    maximum: Annotated[int, Field(ge=1, le=MAX_STEPS)] = Field(
        default_factory=lambda validated: len(
            validated.get("steps") or validated.get("delays_days", ())
        )
    )
    # At least one day: with none, a whole series would go out in one run after an outage (I8).
    min_gap_days: Annotated[int, Field(ge=1, le=MAX_DAYS)] = 5
    channel: _Channel = Channel.EMAIL
    send_hour: Annotated[int, Field(ge=0, le=23)] = 9
    freshness_minutes: Annotated[int, Field(ge=1, le=24 * 60)] = 15
    stop_on: Annotated[tuple[StopEvent, ...], Field(strict=False)] = STOP_EVENTS
    group: bool = False

    @cached_property
    def plan(self) -> tuple[StepRule, ...]:
        """The steps in their order, as many as may go out."""
        steps = self.steps or tuple(StepRule(days_from_due=days) for days in self.delays_days)
        return steps[: self.maximum]

    def channel_of(self, step: int) -> Channel:
        """By which way step `step` (the first is 1) goes."""
        return self.plan[step - 1].channel or self.channel

    def escalation_of(self, step: int) -> int:
        """How firm step `step` (the first is 1) is worded: what it says, else its place.

        A step before the due date does not count as a place: nothing is late yet.
        """
        said = self.plan[step - 1].escalation
        if said is not None:
            return said
        late = sum((each.days_from_due or 0) >= 0 for each in self.plan[:step])
        return max(1, min(late, LAST_ESCALATION))

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

    @field_validator("steps")
    @classmethod
    def _steps_follow(cls, steps: tuple[StepRule, ...] | None) -> tuple[StepRule, ...] | None:
        if steps is None:
            return None
        if not steps:
            raise PydanticCustomError("no_step", "must hold at least one step")
        if steps[0].days_from_due is None:
            raise PydanticCustomError("first_step", "the first step must have days_from_due")
        days = [step.days_from_due for step in steps if step.days_from_due is not None]
        if any(later <= earlier for earlier, later in pairwise(days)):
            raise PydanticCustomError(
                "steps_rise", "each days_from_due must be greater than the one before"
            )
        return steps

    @model_validator(mode="after")
    def _every_step_has_a_delay(self) -> Self:
        if "steps" in self.model_fields_set and "delays_days" in self.model_fields_set:
            raise PydanticCustomError("two_plans", "has both steps and delays_days: keep one")
        key, number = (
            ("steps", len(self.steps))
            if self.steps
            else (
                "delays_days",
                len(self.delays_days),
            )
        )
        if self.maximum > number:
            raise PydanticCustomError(
                "maximum_delays",
                "maximum is {maximum}, but {key} holds {number} only",
                {"maximum": self.maximum, "key": key, "number": number},
            )
        return self
