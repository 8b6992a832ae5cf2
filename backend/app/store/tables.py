"""The tables as SQLAlchemy Core sees them, for statements that run once for each mail.

Such a statement is built once, when its module is imported, with `sa.bindparam` for what differs:
to build it anew costs several times as much as to run it, and to go through the ORM as much again.
The parameters of an UPDATE must not be named like a column, which they would set.
"""

from __future__ import annotations

from typing import cast

import sqlalchemy as sa

from backend.app.models import Base


def table_of(model: type[Base]) -> sa.Table:
    return cast(sa.Table, model.__table__)
