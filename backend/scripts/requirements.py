"""A word instead of a traceback where the packages are not installed.

Called first by each script; imports the standard library alone.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

EXIT_CONFIGURATION = 78  # as in backend.app.errors, which may not be importable here
NEEDED = ("sqlalchemy", "click")


def check_requirements() -> None:
    """Exit with a line that says what to type."""
    missing = next((name for name in NEEDED if find_spec(name) is None), None)
    if missing is not None:
        print(
            f"Error: {missing} is not installed for {sys.executable}. Run `make install`, then use "
            ".venv/bin/python (or `. .venv/bin/activate`).",
            file=sys.stderr,
        )
        sys.exit(EXIT_CONFIGURATION)
