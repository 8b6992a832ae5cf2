"""Mails prepared by a second process: the same ones; one that kills it costs itself alone."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import sqlalchemy as sa

from backend.app import db
from backend.app.config import ROOT
from backend.app.errors import ParserDied
from backend.app.inbox import helper, prepare, visit
from backend.app.inbox.helper import _begin_work
from backend.app.inbox.prepare import Intake, PreparedMail, Unprepared
from backend.app.models import MailboxState, MessageAttachment, QuarantinedMail
from backend.app.store import leases
from backend.app.store.records import Lease
from tests.inbox.desk import Desk, ago
from tests.inbox.test_failures import with_attachment
from tests.servers.shared import process_state, wait_until

POISON = b"poison@client.test"


def die_of_poison(intake: Intake) -> None:
    """In the helper: a library that crashes on one mail."""
    _begin_work(intake)
    real = helper.prepare

    def prepare_or_die(intake: Intake, raw: bytes, *more: Any) -> Any:
        if POISON in raw:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(intake, raw, *more)

    helper.prepare = prepare_or_die


@pytest.fixture
def helped(embedded_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A helper for every mail; none is prepared by the process that stores it."""

    def never(*_: Any) -> None:
        raise AssertionError("prepared here")

    monkeypatch.setattr(visit, "WORTH_A_HELPER", 1)
    monkeypatch.setattr(helper, "SPARE_CORES", 1)
    monkeypatch.setattr(helper, "AT_ONCE", 2)
    monkeypatch.setattr(prepare, "prepare", never)
    return embedded_desk


def test_a_helper_prepares_what_is_stored_here(helped: Desk) -> None:
    for number in range(5):
        helped.receive(with_attachment(helped, f"mail {number}"))
    assert helped.sync() == {"mailboxes": 1, "stored": 5}
    assert helped.subjects() == [f"mail {number}" for number in range(5)]
    assert len(helped.installation.rows(MessageAttachment)) == 5


def test_what_comes_back_after_the_leases_time_is_prepared_again_here(
    helped: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file may be gone: whoever finds it unused for so long takes it for nobody's."""
    real, again = helper.prepare, []

    def prepare_here(intake: Intake, raw: bytes, *more: Any) -> PreparedMail:
        again.append(raw)
        return real(intake, raw, *more)

    monkeypatch.setattr(helper, "prepare", prepare_here)
    helped.receive(with_attachment(helped, "in time"))
    assert helped.sync() == {"mailboxes": 1, "stored": 1}
    assert again == []
    hours = itertools.count(step=3600)
    monkeypatch.setattr(helper, "time", SimpleNamespace(monotonic=lambda: next(hours)))
    helped.receive(with_attachment(helped, "late"))
    assert helped.sync() == {"mailboxes": 1, "stored": 1}
    assert len(again) == 1


def test_what_goes_wrong_in_the_helper_is_told_here(helped: Desk) -> None:
    place = helped.installation.settings.attachments_dir / str(helped.company)
    place.parent.mkdir(exist_ok=True)
    place.write_text("no directory can be made here")
    helped.receive(helped.mail("before"))
    helped.receive(with_attachment(helped, "with a file"))
    assert helped.sync() == {"mailboxes": 1, "stored": 1, "quarantined": 1}
    (kept,) = helped.installation.rows(QuarantinedMail)
    assert kept.error.startswith("StorageFault: ")


def test_a_mail_of_which_the_helper_dies_is_quarantined_alone(
    helped: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helper, "_begin_work", die_of_poison)
    for name in ("1st", "2nd", "poison", "4th", "5th"):
        helped.receive(helped.mail(name, message_id=f"<{name}@client.test>"))
    assert helped.sync() == {"mailboxes": 1, "stored": 4, "quarantined": 1}
    assert helped.subjects() == ["1st", "2nd", "4th", "5th"]

    # Tried again, it does not get at the process that stores mail either.
    due = sa.update(QuarantinedMail).values(next_attempt_at=ago(minutes=1))
    helped.installation.change(lambda s: s.execute(due))
    assert helped.sync() == {"mailboxes": 1, "quarantined": 1}
    monkeypatch.setattr(helper, "_begin_work", _begin_work)  # the library was mended
    helped.installation.change(lambda s: s.execute(due))
    assert helped.sync() == {"mailboxes": 1, "stored": 1}
    assert "poison" in helped.subjects()


@pytest.mark.parametrize("spare_cores", [0, 1])
def test_a_mail_that_has_ended_two_runs_never_gets_at_a_third(
    embedded_desk: Desk, monkeypatch: pytest.MonkeyPatch, spare_cores: int
) -> None:
    monkeypatch.setattr(helper, "_begin_work", die_of_poison)
    monkeypatch.setattr(helper, "SPARE_CORES", spare_cores)
    box, installation = embedded_desk.mailbox, embedded_desk.installation
    for name in ("1st", "poison", "3rd"):
        embedded_desk.receive(embedded_desk.mail(name, message_id=f"<{name}@client.test>"))
    db.write(leases.add_missing_states)
    installation.set(MailboxState, box, abandoned=1, lease_owner="dead", lease_until=ago(minutes=1))

    assert embedded_desk.sync() == {"mailboxes": 1, "stored": 2, "quarantined": 1}

    (kept,) = installation.rows(QuarantinedMail)
    assert kept.error.startswith("ParserDied: ")
    embedded_desk.receive(embedded_desk.mail("4th", message_id="<4th@client.test>"))
    assert embedded_desk.sync() == {"mailboxes": 1, "stored": 1}
    assert installation.rows(MailboxState)[0].abandoned == 0


def hang(intake: Intake) -> None:
    """In the helper: a pattern that never ends on a mail."""
    _begin_work(intake)

    def never_end(*_: Any) -> None:
        while True:
            pass

    helper.prepare = never_end


def test_a_mail_whose_parsing_never_ends_costs_the_helper_and_no_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(helper, "_begin_work", hang)
    lease = Lease(1, 1, 1, 3, ago(minutes=1), failures=0, error_kind=None)
    intake = Intake(lease, 1, frozenset(), {}, tmp_path)
    with pytest.raises(ParserDied, match="timeout of 1 s"):
        helper.prepare_alone(intake, Unprepared(b"", ago(minutes=1)))


def no_process(*_: Any) -> Any:
    raise OSError(errno.EROFS, "/dev/shm")


class PoolWithoutProcesses:
    """As ulimit leaves it: there is a pool, and none who works in it."""

    submit = staticmethod(no_process)

    def __enter__(self) -> PoolWithoutProcesses:
        return self

    def __exit__(self, *_: object) -> None: ...

    def shutdown(self, **_: Any) -> None: ...


@pytest.mark.parametrize("start", [no_process, lambda _: PoolWithoutProcesses()])
def test_where_the_system_gives_no_process_mails_are_prepared_here(
    embedded_desk: Desk, monkeypatch: pytest.MonkeyPatch, start: Any
) -> None:
    monkeypatch.setattr(visit, "WORTH_A_HELPER", 1)
    monkeypatch.setattr(helper, "SPARE_CORES", 1)
    monkeypatch.setattr(helper, "_start", start)
    monkeypatch.setattr(helper, "_places", threading.BoundedSemaphore(1))
    embedded_desk.receive(embedded_desk.mail("mail"))
    assert embedded_desk.sync() == {"mailboxes": 1, "stored": 1}
    assert helper._places.acquire(blocking=False)  # another visit may have better luck


@pytest.mark.parametrize("start", [no_process, lambda _: PoolWithoutProcesses()])
def test_a_mail_that_is_only_suspected_is_prepared_here_where_there_is_no_other(
    embedded_desk: Desk, monkeypatch: pytest.MonkeyPatch, start: Any
) -> None:
    monkeypatch.setattr(helper, "_start", start)
    embedded_desk.receive(embedded_desk.mail("mail"))
    db.write(leases.add_missing_states)
    ended = {"abandoned": 5, "lease_owner": "dead", "lease_until": ago(minutes=1)}
    embedded_desk.installation.set(MailboxState, embedded_desk.mailbox, **ended)
    assert embedded_desk.sync() == {"mailboxes": 1, "stored": 1}


@pytest.mark.parametrize("start", [no_process, lambda _: PoolWithoutProcesses()])
def test_what_a_process_died_of_waits_where_there_is_no_other(
    monkeypatch: pytest.MonkeyPatch, start: Any
) -> None:
    monkeypatch.setattr(helper, "_start", start)
    with pytest.raises(ParserDied, match="/dev/shm"):
        helper.prepare_alone(cast(Intake, None), Unprepared(b"", ago(minutes=1)))


def test_a_helper_ends_with_a_run_that_is_killed_and_says_nothing_in_its_log() -> None:
    code = (
        "import sys, time\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "import os, multiprocessing\n"
        "from backend.app.inbox.helper import _begin_work\n"
        "if __name__ == '__main__':\n"
        "    spawn = multiprocessing.get_context('spawn')\n"
        "    pool = ProcessPoolExecutor(1, spawn, _begin_work, (None,))\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    time.sleep(60)\n"
    )
    script = [sys.executable, "-c", code]
    log: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(script, cwd=ROOT, **log) as run:
        pid = int(run.stdout.readline())
        run.kill()
        assert run.stderr.read() == ""  # when all that could write there have ended
    wait_until(lambda: process_state(pid) in (None, "Z"), "the helper ends")
