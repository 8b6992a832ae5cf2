"""`manage.py status`: what it says of mailboxes, runs, mails, follow-ups and the outbox."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from backend.app.models import (
    CronRun,
    InboxIntegration,
    LedgerEntry,
    MailboxState,
    OutboxMail,
    QuarantinedMail,
)
from backend.app.operate.status import (
    LONGEST_RUN,
    MailboxHealth,
    RunState,
    held_reasons,
    mailbox_health,
    run_state,
)
from backend.app.store.admin_records import MailboxRow, RunRow
from backend.scripts.cli.root import command
from tests.installation import Installation
from tests.operate.conftest import Manage

NOW = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HEALTHY = MailboxRow(
    id=1,
    company_id=1,
    email="contact@atelier.test",
    from_name="",
    aliases=[],
    imap_host="imap.test",
    imap_port=993,
    imap_security="tls",
    username="u",
    sent_folder=None,
    smtp_host=None,
    smtp_port=465,
    smtp_security="tls",
    smtp_username=None,
    is_active=True,
    lease_owner=None,
    lease_until=None,
    next_sync_at=NOW,
    last_attempt_at=NOW - MINUTE,
    last_success_at=NOW - MINUTE,
    fresh_at=NOW - MINUTE,
    backlog=False,
    failures=0,
    error_kind=None,
    error=None,
    error_since=None,
)
RUN = RunRow(
    id=1,
    script="sync",
    host="here",
    pid=1,
    started_at=NOW - MINUTE,
    finished_at=None,
    exit_status=None,
    counts={},
)


@pytest.mark.parametrize(
    ("changes", "health"),
    [
        ({}, MailboxHealth.OK),
        ({"backlog": True}, MailboxHealth.BEHIND),
        ({"last_success_at": None}, MailboxHealth.NEVER_READ),
        ({"lease_until": NOW + MINUTE}, MailboxHealth.READING),
        ({"lease_until": NOW - MINUTE}, MailboxHealth.OK),
        ({"failures": 1, "lease_until": NOW + MINUTE}, MailboxHealth.FAILING),
        ({"is_active": False, "failures": 1}, MailboxHealth.INACTIVE),
    ],
)
def test_how_a_mailbox_does(changes: dict[str, object], health: MailboxHealth) -> None:
    assert mailbox_health(replace(HEALTHY, **changes), NOW) is health  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("finished", "started", "alive", "state"),
    [
        (NOW, NOW - MINUTE, False, RunState.FINISHED),
        (None, NOW - MINUTE, True, RunState.RUNNING),
        (None, NOW - MINUTE, False, RunState.NEVER_FINISHED),
        (None, NOW - MINUTE, None, RunState.RUNNING),
        (None, NOW - LONGEST_RUN, None, RunState.NEVER_FINISHED),
    ],
)
def test_what_became_of_a_run(
    finished: datetime | None, started: datetime, alive: bool | None, state: RunState
) -> None:
    run = replace(RUN, finished_at=finished, started_at=started)
    assert run_state(run, NOW, alive) is state


def test_held_reasons_are_counted_by_code_the_most_frequent_first() -> None:
    held = held_reasons(
        {
            ("active", None): 9,
            ("held", "no_address"): 1,
            ("held", "refused_by_server: 550 no"): 1,
            ("held", "refused_by_server: 554 never"): 2,
        }
    )
    assert [(each.reason, each.count) for each in held] == [
        ("refused_by_server", 3),
        ("no_address", 1),
    ]
    assert held[0].meaning == "the server refused it for good"


def add_mailbox(installation: Installation, company_id: int, email: str) -> int:
    row = InboxIntegration(
        company_id=company_id, email=email, imap_host="imap.test", username="u", secret="x"
    )
    return installation.add(row)


def fill(installation: Installation) -> tuple[int, int]:
    """Two companies of which the first has one of everything."""
    first, second = installation.add_company(), installation.add_company("Une autre")
    box = add_mailbox(installation, first, "contact@atelier.test")
    add_mailbox(installation, second, "other@autre.test")
    now = datetime.now(UTC)

    def rows(session) -> None:  # type: ignore[no-untyped-def]
        session.add(
            MailboxState(
                integration_id=box,
                company_id=first,
                last_success_at=now - 5 * MINUTE,
                fresh_at=now - 5 * MINUTE,
                failures=3,
                error_kind="credentials",
                error="imap.test:993 refused the user name or password: \x1b[31mNO\x07",
                error_since=now - MINUTE,
            )
        )
        for uid, state in enumerate(["stored", "stored", "duplicate", "quarantined"], 1):
            session.add(
                LedgerEntry(integration_id=box, folder="INBOX", uidvalidity=1, uid=uid, state=state)
            )
        session.flush()
        session.add(
            QuarantinedMail(
                integration_id=box,
                folder="INBOX",
                uidvalidity=1,
                uid=4,
                raw=b"raw",
                arrived_at=now,
                error="ValueError: x",
            )
        )
        host = socket.gethostname()
        session.add(CronRun(script="sync", host=host, pid=os.getpid(), started_at=now))
        session.add(CronRun(script="sync", host="elsewhere", pid=1, started_at=now - LONGEST_RUN))
        session.add(
            CronRun(
                script="followups",
                host=host,
                pid=1,
                started_at=now - MINUTE,
                finished_at=now,
                exit_status=1,
                counts={"sent": 2, "refused": 1},
            )
        )

    installation.change(rows)
    client = installation.add_client(first, "jean@example.fr", "Jean \x9b31m Petit")
    installation.add_followup(
        first, client, auto_state="held", auto_reason="missing_variable: amount"
    )
    uncertain = installation.add_followup(first, client)
    installation.add(
        OutboxMail(
            company_id=first,
            followup_id=uncertain,
            client_id=client,
            step=1,
            integration_id=box,
            message_id="a@b",
            fingerprint="f",
            recipient="jean@example.fr",
            subject="Facture \x1b]0;owned\x07",
            content="x",
            raw=b"x",
            state="uncertain",
            sending_at=now - MINUTE,
            needs_person=True,
        )
    )
    return first, second


def test_status_tells_how_everything_stands(manage: Manage, installation: Installation) -> None:
    first, _ = fill(installation)
    found = manage.json("status", "--company", first)
    [box] = found["mailboxes"]
    assert box["health"] == "failing"
    assert 299 <= box["lag_seconds"] <= 400
    assert box["mailbox"]["error_kind"] == "credentials"
    assert [run["state"] for run in found["runs"]] == ["running", "never_finished", "finished"]
    assert found["ledger"] == {"stored": 2, "duplicate": 1, "ignored": 0, "quarantined": 1}
    assert found["quarantine"] == 1
    assert found["followups"] == {"active": 1, "held": 1, "stopped": 0, "completed": 0}
    assert [each["reason"] for each in found["held"]] == ["missing_variable"]
    assert found["outbox"]["uncertain"] == 1
    [step] = found["uncertain"]
    assert step["if_it_arrived"] == f"manage.py outbox sent {step['outbox']['id']}"
    assert step["if_it_did_not"] == f"manage.py outbox resend {step['outbox']['id']}"


def test_status_of_one_company_holds_nothing_of_another(
    manage: Manage, installation: Installation
) -> None:
    _, second = fill(installation)
    found = manage.json("status", "--company", second)
    assert [box["mailbox"]["email"] for box in found["mailboxes"]] == ["other@autre.test"]
    assert found["mailboxes"][0]["health"] == "never_read"
    assert sum(found["ledger"].values()) + found["quarantine"] == 0
    assert sum(found["followups"].values()) + sum(found["outbox"].values()) == 0
    assert found["held"] == found["uncertain"] == []
    assert len(manage.json("status")["mailboxes"]) == 2
    manage("status", "--company", 99, status=1)


def test_status_is_plain_text_of_80_columns_without_a_terminal(
    manage: Manage, installation: Installation
) -> None:
    fill(installation)
    text = manage("status").stdout
    assert all(line.isprintable() for line in text.splitlines())
    tables = [line for line in text.splitlines() if not line.startswith("  ")]
    assert max(len(line) for line in tables) <= 80
    for words in ("4 = 2 stored", "never finished", "exit status 1", "credentials", "1 held"):
        assert words in text


def test_status_of_an_empty_installation_says_what_to_do(manage: Manage) -> None:
    text = manage("status").stdout
    assert "manage.py mailbox add" in text
    assert "crontab.example" in text


def test_watching_shows_it_again_until_somebody_stops_it(
    manage: Manage, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("backend.scripts.cli.status.time.sleep", pause)
    text = manage("status", "--watch", 5).stdout
    assert text.count("What to do") == 3
    assert pauses == [5.0] * 3


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colour_is_for_a_terminal_that_wants_it(
    manage: Manage, installation: Installation, no_color: str, coloured: bool
) -> None:
    fill(installation)
    environment = {**installation.environment, "NO_COLOR": no_color}
    shown = CliRunner().invoke(command, ["status"], env=environment, color=True).stdout
    assert ("\x1b[31m" in shown) is coloured
    assert "\x1b" not in manage("status").stdout
