"""`manage.py settings`: a company's document of rules, shown, changed and checked.

The host application owns `company_settings.settings` and may keep more in it: only the sections
that the two scripts read are looked at, and the rest is left as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy.orm import Session

from backend.app.errors import BadInput
from backend.app.followups.settings import load_rules
from backend.app.inbox.rules import load_filing_rules
from backend.app.store import admin_tenants
from backend.app.store.records import settings_section

# What each script reads, and what validates it.
SECTIONS: dict[str, Callable[[Any], object]] = {
    "followups": load_rules,
    "inbox": load_filing_rules,
}


def check_document(document: object) -> None:
    """Raises SettingsInvalid, which names the key."""
    for name, load in SECTIONS.items():
        load(settings_section(document, name))


def set_key(session: Session, company_id: int, path: str, value: object) -> None:
    """Put one value into the document, at a path such as followups.window.closes.

    Raises BadInput (no such section), Refused (no such company), SettingsInvalid.
    """
    document = dict(admin_tenants.lock_settings(session, company_id))
    *parents, last = path.split(".")
    if (parents or [last])[0] not in SECTIONS:
        raise BadInput(f"{path}: a key begins with one of: {', '.join(SECTIONS)}")
    here = document
    for name in parents:
        below = here.get(name, {})
        if not isinstance(below, Mapping):
            raise BadInput(f"{path}: {name} is no object, so there is nothing within it")
        here[name] = dict(below)
        here = here[name]
    here[last] = value
    check_document(document)
    admin_tenants.save_settings(session, company_id, document)


def unset_key(session: Session, company_id: int, path: str) -> None:
    """Take a key out, so that its default holds again; nothing happens where there is none.

    Raises Refused and SettingsInvalid.
    """
    document = json.loads(json.dumps(admin_tenants.lock_settings(session, company_id)))
    *parents, last = path.split(".")
    here = document
    for name in parents:
        here = here.get(name) if isinstance(here, dict) else None
    if isinstance(here, dict):
        here.pop(last, None)
    check_document(document)
    admin_tenants.save_settings(session, company_id, document)


def replace_sections(session: Session, company_id: int, new: object) -> None:
    """Take over the sections that `new` holds, whole. Raises Refused and SettingsInvalid."""
    check_document(new)
    assert isinstance(new, Mapping)  # noqa: S101 - check_document saw to it
    document = dict(admin_tenants.lock_settings(session, company_id))
    document.update({name: new[name] for name in SECTIONS if name in new})
    admin_tenants.save_settings(session, company_id, document)


def read_value(text: str) -> object:
    """JSON, or the text itself where it is none: 18:30 needs no quotes."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def read_file(text: str, name: str) -> object:
    """Raises BadInput."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadInput(f"{name} is not JSON: {error}") from error
