"""What is fetched from a folder: plan.py."""

from __future__ import annotations

import pytest

from backend.app.inbox.plan import FetchPlan, plan_batches, plan_fetch, windows
from backend.app.mail.folder import FolderStatus
from backend.app.store.records import Checkpoint


def checkpoint(last_uid: int, uidvalidity: int = 7) -> Checkpoint:
    return Checkpoint(1, "INBOX", uidvalidity, last_uid, 0)


@pytest.mark.parametrize(
    ("known", "uidvalidity", "uidnext", "plan"),
    [
        (None, 7, 1, FetchPlan(1, 0, True, "first_sync")),
        (None, 7, 11, FetchPlan(1, 10, True, "first_sync")),
        (checkpoint(10), 7, 11, FetchPlan(11, 10, False, "new_mail")),
        (checkpoint(10), 7, 14, FetchPlan(11, 13, False, "new_mail")),
        (checkpoint(0), 7, 3, FetchPlan(1, 2, False, "new_mail")),
        (checkpoint(10), 8, 11, FetchPlan(1, 10, True, "renumbered")),
        (checkpoint(10), 6, 1, FetchPlan(1, 0, True, "renumbered")),
        # UIDNEXT must not shrink (RFC 3501, 2.3.1.1); where it does, nothing is read twice.
        (checkpoint(10), 7, 5, FetchPlan(11, 4, False, "new_mail")),
    ],
)
def test_plan(known: Checkpoint | None, uidvalidity: int, uidnext: int, plan: FetchPlan) -> None:
    assert plan_fetch(known, FolderStatus(uidvalidity, uidnext, 3)) == plan


@pytest.mark.parametrize(
    ("first", "last", "empty"), [(1, 0, True), (11, 10, True), (1, 1, False), (3, 9, False)]
)
def test_a_plan_that_ends_before_it_begins_is_empty(first: int, last: int, empty: bool) -> None:
    assert FetchPlan(first, last, False, "").empty is empty


@pytest.mark.parametrize(
    ("sizes", "max_bytes", "max_mails", "batches"),
    [
        ({}, 100, 10, []),
        ({1: 10}, 100, 10, [(1,)]),
        ({1: 50, 2: 50, 3: 1}, 100, 10, [(1, 2), (3,)]),
        ({1: 1, 2: 1, 3: 1}, 100, 2, [(1, 2), (3,)]),
        # One that is larger than a batch goes by itself, and does not keep the others back.
        ({1: 10, 2: 500, 3: 10}, 100, 10, [(1,), (2,), (3,)]),
        ({3: 1, 1: 1, 2: 1}, 100, 10, [(1, 2, 3)]),
        ({1: 0, 2: 0}, 100, 10, [(1, 2)]),
    ],
)
def test_batches(
    sizes: dict[int, int], max_bytes: int, max_mails: int, batches: list[tuple[int, ...]]
) -> None:
    assert list(plan_batches(sizes, max_bytes, max_mails)) == batches


@pytest.mark.parametrize(
    ("first", "last", "ranges"),
    [
        (1, 0, []),
        (1, 1, [(1, 1)]),
        (1, 10, [(1, 10)]),
        (1, 11, [(1, 10), (11, 11)]),
        (5, 24, [(5, 14), (15, 24)]),
    ],
)
def test_windows_cover_every_uid_once(first: int, last: int, ranges: list[tuple[int, int]]) -> None:
    assert list(windows(first, last, 10)) == ranges
