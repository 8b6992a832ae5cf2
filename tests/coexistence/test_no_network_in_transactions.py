"""No transaction is open while a mail server is spoken to: a slow one would hold everybody up."""

from __future__ import annotations

import smtplib
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import sqlalchemy as sa
from imapclient import tls as imap_tls
from sqlalchemy import event
from sqlalchemy.engine import Engine

from backend.app.db import database_now
from backend.app.models import SentCopy
from tests.coexistence.inside import run_inside
from tests.coexistence.scenes import due_reminders, fill, new_mailbox, threads
from tests.installation import Installation
from tests.servers.faulty_smtp import FaultySmtpServer

NETWORK = ((smtplib.SMTP, "send"), (smtplib.SMTP, "getreply"), (imap_tls.IMAP4_TLS, "send"))


@contextmanager
def watched() -> Iterator[Counter[str]]:
    """How often each network step was taken, in a transaction and without one."""
    steps: Counter[str] = Counter()
    here = threading.local()

    def note(owner: Any, name: str) -> Any:
        real = getattr(owner, name)

        def step(*arguments: Any) -> Any:
            inside = getattr(here, "open", 0) > 0
            steps[f"{owner.__name__}.{name}{' in a transaction' if inside else ''}"] += 1
            return real(*arguments)

        return mock.patch.object(owner, name, step)

    def begun(_connection: Any) -> None:
        here.open = getattr(here, "open", 0) + 1

    def ended(_connection: Any) -> None:
        here.open = getattr(here, "open", 0) - 1

    listeners = {"begin": begun, "commit": ended, "rollback": ended}
    for name, listener in listeners.items():
        event.listen(Engine, name, listener)
    try:
        with note(*NETWORK[0]), note(*NETWORK[1]), note(*NETWORK[2]):
            yield steps
    finally:
        for name, listener in listeners.items():
            event.remove(Engine, name, listener)


def test_no_transaction_is_open_while_a_server_is_spoken_to(
    installation: Installation, embedded_imap: Any, faulty_smtp: FaultySmtpServer
) -> None:
    box = new_mailbox(installation, embedded_imap, faulty_smtp)
    fill(embedded_imap, box.account, threads(box.account.address, 2, 1))
    due_reminders(installation, box, 2)
    copies_are_due = sa.update(SentCopy).values(next_attempt_at=database_now(-1))
    with watched() as steps:
        assert run_inside(installation, "followups") == 0
        installation.change(lambda s: s.execute(copies_are_due))
        assert run_inside(installation, "sync") == 0

    assert [each for each in steps if "in a transaction" in each] == []
    assert {f"{owner.__name__}.{name}" for owner, name in NETWORK} == set(steps)
    assert len(embedded_imap.messages(box.account, "Sent")) == 2
