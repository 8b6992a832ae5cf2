"""The next batch is fetched while one is stored; what goes wrong with it costs that one nothing."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from backend.app.errors import NetworkFault
from backend.app.inbox import ingest as ingest_module
from backend.app.inbox import reader
from tests.inbox.desk import Desk, Fetches

SECONDS = 20


@pytest.fixture
def fetches(embedded_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Fetches:
    """Three mails, each a batch of its own."""
    monkeypatch.setattr(reader, "BATCH_MAILS", 1)
    for number in range(3):
        embedded_desk.receive(embedded_desk.mail(f"mail {number}"))
    fetches = Fetches()
    fetches.watch(monkeypatch)
    return fetches


def test_the_next_batch_is_asked_for_before_this_one_is_stored(
    embedded_desk: Desk, fetches: Fetches, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_is_asked_for, in_time = threading.Event(), []
    fetches.before = lambda uids: second_is_asked_for.set() if fetches.uids else None
    real = ingest_module.ingest

    def ingest(*arguments: Any) -> Any:
        in_time.append(second_is_asked_for.wait(SECONDS))
        return real(*arguments)

    monkeypatch.setattr(ingest_module, "ingest", ingest)
    assert embedded_desk.sync()["stored"] == 3
    assert in_time == [True, True, True]


def test_a_connection_lost_meanwhile_leaves_this_batch_stored(
    embedded_desk: Desk, fetches: Fetches
) -> None:
    def lose(uids: list[int]) -> None:
        if fetches.uids:
            raise NetworkFault("no connection")

    fetches.before = lose
    assert embedded_desk.sync() == {"mailboxes": 1, "stored": 1, "mailboxes_failed": 1}
    fetches.before = lambda uids: None
    embedded_desk.end_pauses()
    assert embedded_desk.sync() == {"mailboxes": 1, "stored": 2}


def test_a_day_that_is_used_up_by_the_next_batch_leaves_this_one_stored(
    embedded_desk: Desk, fetches: Fetches
) -> None:
    embedded_desk.installation.extra["SYNC_DAILY_BYTES"] = "1"
    assert embedded_desk.sync() == {"mailboxes": 1, "stored": 1, "mailboxes_failed": 1}
    assert len(fetches.uids) == 1
