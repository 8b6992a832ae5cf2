"""The words of a text message: templates, and the same values as in a mail's (see values.py).

The packaged ones are `templates/<language>/sms.ini`, a section for each type and escalation. A
company's own stand beside the mail's in its settings, under the key `sms`. Quotes, dashes and
spaces become plain ones, which the GSM alphabet has; letters stay as they are.
"""

from __future__ import annotations

from configparser import ConfigParser
from functools import cache
from pathlib import Path

from jinja2 import Template

from backend.app.followups.own_templates import compiled
from backend.app.followups.type_rules import FollowupType
from backend.app.followups.values import WordingContext
from backend.app.followups.wording import MissingVariable, Style, filled, spoken_language
from backend.app.sms.segments import plain

_TEMPLATES = Path(__file__).parent / "templates"
_VALUE_CHARS = 60


def render_text(type: FollowupType, style: Style, language: str, context: WordingContext) -> str:
    """Word a text message. Raises WordingUnusable, MissingVariable for a value that it needs.

    language: as for `render`.
    """
    spoken, template = _chosen(type, style, spoken_language(language))
    text = plain(filled(template, spoken, context, _VALUE_CHARS))
    lines = (" ".join(line.split()) for line in text.splitlines())
    text = "\n".join(lines).strip("\n")
    if not text:
        raise MissingVariable("sms")
    return text


def _chosen(type: FollowupType, style: Style, spoken: str) -> tuple[str, Template]:
    """A company's own in the client's language if it has it, else in the one it has."""
    own_name, packaged = style.names(type)
    own = {
        language: each.sms
        for language, each in style.own.get(own_name, {}).items()
        if each.sms is not None
    }
    if not own:
        return spoken, compiled(_packaged(spoken)[packaged], html=False)
    language, source = next(
        (each for each in own.items() if each[0] == spoken), next(iter(own.items()))
    )
    return language, compiled(source, html=False)


@cache
def _packaged(language: str) -> dict[str, str]:
    parser = ConfigParser(interpolation=None)
    parser.read_string((_TEMPLATES / language / "sms.ini").read_text(encoding="utf-8"))
    return {name: parser[name]["text"] for name in parser.sections()}
