"""What a statement does to which table, as the databases see it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from backend.app.models import Base

TABLES = frozenset(Base.metadata.tables) | {"alembic_version"}
VERBS = (
    ("create", re.compile(r"INSERT INTO (\w+)")),
    ("update", re.compile(r"UPDATE (\w+)")),
    ("delete", re.compile(r"DELETE FROM (\w+)")),
)
ABOUT_A_TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE) (?!pg_)")

Touch = tuple[str, str]  # (table, operation)


def touches(statement: str) -> set[Touch]:
    """(table, read | create | update | delete) of one statement.

    SELECT ... FOR UPDATE is a read: it changes nothing, and locks until the commit. Every table
    that a statement names besides the one that it changes is read.
    """
    text = " ".join(statement.split())
    named = TABLES & set(re.findall(r"\w+", text))
    for operation, pattern in VERBS:
        if found := pattern.match(text):
            target = found[1]
            read_too = re.search(rf"\b(?:FROM|JOIN) {target}\b", text[found.end() :])
            reads = named if read_too else named - {target}
            found_too = {(target, "update")} if "DO UPDATE" in text else set()  # ON CONFLICT
            return {(target, operation), *found_too, *((table, "read") for table in reads)}
    if not named and ABOUT_A_TABLE.search(text):
        raise AssertionError(f"a statement about an unknown table: {text[:200]}")
    return {(table, "read") for table in named}


@contextmanager
def watched() -> Iterator[set[Touch]]:
    """What all statements of this process touch meanwhile, on whatever engine."""
    seen: set[Touch] = set()

    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        seen.update(touches(statement))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)
