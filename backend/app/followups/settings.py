"""A company's follow-up rules: from its JSON document to validated, frozen settings.

The document is the value of `company_settings.settings["followups"]`. Everything is optional;
docs/settings.md shows all of it. The rules of each follow-up type stand under its name: see
type_rules.py. Beside them stand `window`, `holidays`, `closures`, `budgets`, `activation`, `mail`,
`late_payment` and `sms`: see company_rules.py.

A company edits this by hand: an unknown key is refused, since a misspelt one that was ignored
would leave the default at work unseen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from backend.app.channel import Channel
from backend.app.errors import SettingsInvalid
from backend.app.followups.company_rules import (
    SMS_WINDOW,
    Activation,
    Budgets,
    FollowupCalendar,
    LatePayment,
    MailRules,
    SmsRules,
)
from backend.app.followups.own_templates import (
    GROUP_SUFFIX,
    PACKAGED_NAMES,
    OwnTemplates,
    own_template_name,
)
from backend.app.followups.type_rules import FollowupType, StepRule, TypeRules

_SHOWN_ERRORS = 5
_SHOWN_KEY_CHARS = 60
_TYPES = frozenset(each.value for each in FollowupType)
# Those for which there are packaged words for several in one mail.
GROUPED_TYPES = (FollowupType.INVOICE_UNPAID, FollowupType.QUOTE_UNANSWERED)
# Those by which a company offers its services: each must say how to refuse further ones (in France
# CPCE L34-5, elsewhere in the EU what stands for directive 2002/58, article 13).
ADVERTISING = (FollowupType.INACTIVE_CLIENT,)
_WAY_OUT = re.compile(r"\bstop\b", re.IGNORECASE)


class FollowupRules(FollowupCalendar):
    """The rules of one company: of every type, and those common to all. Made by `load_rules`."""

    quote_unanswered: TypeRules = TypeRules()
    invoice_unpaid: TypeRules = TypeRules()
    missing_information: TypeRules = TypeRules()
    appointment: TypeRules = TypeRules()
    inactive_client: TypeRules = TypeRules()
    project_waiting: TypeRules = TypeRules()

    budgets: Budgets = Budgets()
    activation: Activation = Activation()
    mail: MailRules = MailRules()
    late_payment: LatePayment = LatePayment()
    sms: SmsRules = SmsRules()
    templates: OwnTemplates = Field(default_factory=dict)

    @model_validator(mode="after")
    def _every_template_is_there(self) -> Self:
        for kind, rules, number, step in self._steps():
            if step.template is not None:
                self._require_words(kind, number, step.template, rules.channel_of(number))
        return self

    def _steps(self) -> Iterator[tuple[FollowupType, TypeRules, int, StepRule]]:
        """Each step of each type's plan, with its number; the first is 1."""
        for kind in FollowupType:
            if (rules := self.for_type(kind)) is not None:
                for number, step in enumerate(rules.plan, start=1):
                    yield kind, rules, number, step

    def _require_words(self, kind: str, number: int, name: str, channel: Channel) -> None:
        own = self.templates.get(name, {}).values()
        context = {"kind": str(kind), "number": number, "name": name}
        if not own and name not in PACKAGED_NAMES:
            raise PydanticCustomError(
                "no_template",
                "{kind}: step {number} names the template {name}, which is not among templates",
                context,
            )
        if own and not any(each.serves(channel) for each in own):
            raise PydanticCustomError(
                "other_channel",
                "{kind}: step {number} is sent by {channel}, and the template {name} is not for it",
                {**context, "channel": channel.value},
            )

    @model_validator(mode="after")
    def _text_messages_find_an_hour(self) -> Self:
        by_text = any(
            rules.channel_of(number) is Channel.SMS for _, rules, number, _ in self._steps()
        )
        if by_text and not self.window.meets(SMS_WINDOW):
            raise PydanticCustomError(
                "sms_window",
                "a step is a text message, and the window has no hour from Monday to Saturday "
                "between 08:00 and 20:00",
            )
        return self

    @model_validator(mode="after")
    def _advertising_texts_can_be_refused(self) -> Self:
        """A mail can be by its header; a text message only by what it says."""
        for kind, rules, number, step in self._steps():
            if kind not in ADVERTISING or rules.channel_of(number) is not Channel.SMS:
                continue
            name = own_template_name(kind, rules.escalation_of(number), step.template)
            texts = [own.sms for own in self.templates.get(name, {}).values() if own.sms]
            if not all(map(_WAY_OUT.search, texts)):
                raise PydanticCustomError(
                    "no_way_out",
                    "{kind}: step {number} is advertising by text message: the sms of the "
                    "template {name} must say how to refuse more, with the word STOP",
                    {"kind": kind.value, "number": number, "name": name},
                )
        return self

    @model_validator(mode="after")
    def _groups_have_words(self) -> Self:
        for kind in FollowupType:
            rules = self.for_type(kind)
            if rules is not None and rules.group and kind not in GROUPED_TYPES:
                raise PydanticCustomError(
                    "no_groups",
                    "{kind}.group: only {types} can go several in one mail",
                    {"kind": kind.value, "types": " and ".join(GROUPED_TYPES)},
                )
            for number, step in enumerate((rules and rules.plan) or (), start=1):
                if step.template is not None and step.template.endswith(GROUP_SUFFIX):
                    raise PydanticCustomError(
                        "group_template",
                        "{kind}: step {number} names {name}, which is for mails about several; "
                        "name the one without {suffix}",
                        {
                            "kind": kind.value,
                            "number": number,
                            "name": step.template,
                            "suffix": GROUP_SUFFIX,
                        },
                    )
        return self

    @model_validator(mode="after")
    def _variables_have_values(self) -> Self:
        for name, choices in self.templates.items():
            for own in choices.values():
                if misplaced := own.misplaced(name):
                    several = "several" if name.endswith(GROUP_SUFFIX) else "one"
                    raise PydanticCustomError(
                        "misplaced_variable",
                        "templates.{name}: {variables} has no value in a mail about {several}",
                        {"name": name, "variables": ", ".join(misplaced), "several": several},
                    )
        return self

    def for_type(self, name: str) -> TypeRules | None:
        """Return the rules of the follow-up type `name`; None when there is no such type."""
        return getattr(self, name) if name in _TYPES else None


def load_rules(document: Mapping[str, Any] | None) -> FollowupRules:
    """Validate `company_settings.settings["followups"]`; None or {} gives the defaults.

    Raises SettingsInvalid, whose one-line message names every wrong key (the first few of them),
    such as `followups.invoice_unpaid.send_hour: Input should be less than or equal to 23`.
    """
    try:
        return _validated(json.dumps({} if document is None else document))
    except ValidationError as error:
        found = [_explained(detail) for detail in error.errors() if detail["type"] != _FOLLOW_ON]
        more = [f"and {len(found) - _SHOWN_ERRORS} more"] if len(found) > _SHOWN_ERRORS else []
        raise SettingsInvalid("; ".join(found[:_SHOWN_ERRORS] + more)) from None


@lru_cache(maxsize=500)
def _validated(document: str) -> FollowupRules:
    """By content: each reminder asks three times, and compiles no template anew.

    Raises ValidationError.
    """
    return FollowupRules.model_validate(json.loads(document))


# Said of `maximum` when the delays are wrong already.
_FOLLOW_ON = "default_factory_not_called"
# pydantic speaks of Python; the reader edits JSON.
_IN_JSON_WORDS = {
    "extra_forbidden": "unknown key",
    "missing": "is missing",
    "model_type": "must be an object",
    "dict_type": "must be an object",
    "tuple_type": "must be a list",
    "too_short": "must not be empty",
}


def _explained(detail: ErrorDetails) -> str:
    path = "followups"
    for part in detail["loc"]:
        if part != _THE_KEY_ITSELF:
            path += f"[{part}]" if isinstance(part, int) else f".{_key(part)}"
    if detail["type"] == "too_long":
        return f"{path}: must hold at most {detail['ctx']['max_length']}"
    if detail["type"] == "string_pattern_mismatch":
        return f"{path}: {_SHAPES.get(str(detail['loc'][-1]), detail['msg'])}"
    return f"{path}: {_IN_JSON_WORDS.get(detail['type'], detail['msg'])}"


# What pydantic puts behind a key that is wrong itself.
_THE_KEY_ITSELF = "[key]"
_NAME = "must be lower-case letters, digits and _, beginning with a letter"
# A pattern says nothing to who edits JSON.
_SHAPES = {
    "opens": "must be a time such as 08:30",
    "closes": "must be a time such as 18:30, at most 24:00",
    "country": "must be two capital letters such as FR",
    "reply_to": "must be an e-mail address",
    "template": _NAME,
    _THE_KEY_ITSELF: _NAME,
}


def _key(part: str) -> str:
    # An unknown key is whatever somebody typed: it must not break a log line.
    printable = "".join(char if char.isprintable() else "?" for char in part)
    return printable[:_SHOWN_KEY_CHARS]
