"""Most minutes bring nothing: what only mail, an audit or another database needs is not loaded."""

from __future__ import annotations

import subprocess
import sys

from backend.app.config import ROOT
from tests.inbox.desk import Desk

NOT_NEEDED = (
    *("backend.app.mail.parse", "backend.app.inbox.reader", "backend.app.inbox.audit"),
    *("backend.app.store.belongings", "backend.app.store.erasure", "backend.app.store.gauges"),
    *("backend.app.store.outbox", "backend.app.store.unsettled"),
    *("backend.app.models.partial_indexes", "pydantic", "nh3", "oauthlib", "alembic"),
)
OTHER_DIALECT = {"sqlite": "postgresql", "postgresql": "sqlite"}


def test_a_minute_without_mail_loads_nothing_that_it_does_not_need(embedded_desk: Desk) -> None:
    desk = embedded_desk
    desk.receive(desk.mail())
    desk.sync()
    desk.sync()  # the audit that follows a first sync
    dialect = OTHER_DIALECT[desk.installation.url.partition("://")[0].partition("+")[0]]
    names = (*NOT_NEEDED, f"sqlalchemy.dialects.{dialect}")
    code = (
        "import sys; from backend.scripts.sync_emails_periodic import main\n"
        "status = main([])\n"
        f"print(status, [name for name in {names} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=desk.installation.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr
