"""Where a company is: its time zone, locale and country, checked before they are stored."""

from __future__ import annotations

import difflib
import zoneinfo

from babel import Locale, UnknownLocaleError

from backend.app.errors import BadInput


def check_time_zone(name: str) -> str:
    """An IANA name. Raises BadInput, with the names that are nearest."""
    known = zoneinfo.available_timezones()
    if name not in known:
        near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise BadInput(f"{name!r} is no time zone, such as Europe/Paris{hint}")
    return name


def check_locale(name: str) -> str:
    """In the form fr_FR, from fr_FR or fr-FR. Raises BadInput."""
    try:
        return str(Locale.parse(name.replace("-", "_")))
    except (UnknownLocaleError, ValueError):
        raise BadInput(f"{name!r} is no locale, such as fr_FR or en_GB") from None


def check_country(code: str) -> str:
    """ISO 3166-1 alpha-2, in capitals. Raises BadInput. CLDR's ZZ is "unknown", no country."""
    capitals = code.upper()
    known = capitals in Locale("en").territories and capitals != "ZZ"
    if len(capitals) != 2 or not capitals.isalpha() or not known:
        raise BadInput(f"{code!r} is no country; give its two letters, such as FR")
    return capitals
