"""What the records say is wrong: pure rules from a Status to findings, each with its command.

`status` shows them under "What to do", `doctor` beside what it tries itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from backend.app.operate.health.finding import Finding, Level
from backend.app.operate.status import MailboxHealth, MailboxStatus, RunState, RunStatus, Status

# The longest that each script may be silent: several of its turns in crontab.example.
LATEST_RUN = {"sync": timedelta(minutes=10), "followups": timedelta(minutes=90)}
SCRIPT_FILES = {"sync": "sync_emails_periodic.py", "followups": "send_automatic_followups.py"}
LATEST_MAIL = timedelta(minutes=15)  # behind which no reminder goes out (followups/type_rules.py)
PASSING = timedelta(hours=1)  # a network or server that is back by then needs nobody
GROWING_A_DAY = 10
CLOCK_STEP = timedelta(minutes=1)
SET_PASSWORD = "manage.py mailbox set {id} --ask-password"  # noqa: S105 (a command)
CHECK = "manage.py mailbox check {id}"
# error_kind -> the command; those of the server's own making pass by themselves.
MAILBOX_FIXES = {
    "credentials": SET_PASSWORD,
    "key": "put the old key back into CREDENTIALS_KEYS, or " + SET_PASSWORD,
    "settings": CHECK,
    "network": CHECK,
    "server": CHECK,
    "folder": CHECK,
    "throttled": "lower SYNC_WORKERS or IMAP_CONNECTIONS_PER_HOST",
    "allowance": "nothing, it goes on tomorrow; or raise SYNC_DAILY_BYTES",
    "internal": "see the traceback in backend/logs/email_sync.log",
}
NEVER_PASSES = ("credentials", "key", "settings")


def standing_findings(status: Status) -> list[Finding]:
    """The worst first; empty when all is as it should be."""
    found = [
        *_restored(status),
        *_runs(status),
        *(finding for each in status.mailboxes for finding in _mailbox(each, status.at)),
        *_settings(status),
        *_sending(status),
        *_quarantine(status),
        *_copies(status),
        *_uncertain(status),
    ]
    order = list(Level)
    return sorted(found, key=lambda each: -order.index(each.level))


def _restored(status: Status) -> Iterator[Finding]:
    if status.restored_at is not None:
        words = "the database was brought back from a copy: reminders of before are held"
        yield Finding("restored", Level.FAULT, words, "manage.py restored --help")


def _runs(status: Status) -> Iterator[Finding]:
    if not any(each.mailbox.is_active for each in status.mailboxes):
        return  # nothing to run for yet
    for script, longest in LATEST_RUN.items():
        runs = [each for each in status.runs if each.run.script == script]
        yield from _silence(script, runs, status.at, longest)
        yield from _bad_end(runs)


def _silence(
    script: str, runs: list[RunStatus], now: datetime, longest: timedelta
) -> Iterator[Finding]:
    file = SCRIPT_FILES[script]
    if not runs:
        yield Finding(
            "cron", Level.FAULT, f"{file} has never run", "manage.py cron install", script
        )
        return
    started = runs[0].run.started_at
    if started - now > CLOCK_STEP:
        words = f"the last run of {file} began in the future, {started:%Y-%m-%d %H:%M} UTC"
        yield Finding("clock", Level.FAULT, words, "timedatectl status", script)
    elif now - started > longest:
        minutes = int((now - started).total_seconds() // 60)
        words = f"{file} last began {minutes} min ago: cron does not start it"
        fix = "manage.py cron show; systemctl status cron"
        yield Finding("cron", Level.FAULT, words, fix, script)


def _bad_end(runs: list[RunStatus]) -> Iterator[Finding]:
    ended = [each for each in runs if each.state is not RunState.RUNNING][:1]
    for each in ended:
        name = f"run {each.run.id}"
        if each.state is RunState.NEVER_FINISHED:
            words = f"the last {each.run.script} run was killed or its host went down"
            fix = "nothing, the next one goes on; if it happens often: dmesg | grep -i oom"
            yield Finding("run", Level.WARNING, words, fix, name)
        elif each.run.exit_status not in (0, 1):
            words = f"the last {each.run.script} run ended with status {each.run.exit_status}"
            fix = "grep CRITICAL backend/logs/*.log | tail -1"
            yield Finding("run", Level.FAULT, words, fix, name)


def _mailbox(each: MailboxStatus, now: datetime) -> Iterator[Finding]:
    row, name = each.mailbox, f"mailbox {each.mailbox.id}"
    if not row.is_active:
        return
    if each.health is MailboxHealth.FAILING:
        kind = row.error_kind or "internal"
        lasting = row.error_since is not None and now - row.error_since > PASSING
        level = Level.FAULT if lasting or kind in NEVER_PASSES else Level.WARNING
        fix = MAILBOX_FIXES.get(kind, CHECK).format(id=row.id)
        yield Finding("mailbox", level, f"{row.email}: {kind}: {row.error}", fix, name)
    elif each.lag_seconds is not None and each.lag_seconds > LATEST_MAIL.total_seconds():
        minutes = int(each.lag_seconds // 60)
        words = f"{row.email} was last read to its end {minutes} min ago: no reminder goes from it"
        fix = f"sync_emails_periodic.py --mailbox {row.id} -v"
        yield Finding("lag", Level.WARNING, words, fix, name)
    if row.audit is not None and row.audit.get("missing", 0):
        words = f"{row.email}: mails were missing at the last audit: {row.audit['missing']}"
        fix = f"sync_emails_periodic.py --mailbox {row.id} -v"
        yield Finding("audit", Level.WARNING, words, fix, name)


def _settings(status: Status) -> Iterator[Finding]:
    for each in status.broken_settings:
        yield Finding(
            "company_settings",
            Level.FAULT,
            f"{each.error}: its reminders wait",
            f"manage.py settings check --company {each.company_id}",
            f"company {each.company_id}",
        )


def _sending(status: Status) -> Iterator[Finding]:
    for each in status.cannot_send:
        yield Finding(
            "smtp",
            Level.FAULT,
            f"{each.email}: reminders that wait for SMTP: {each.reminders}; {each.error}",
            f"manage.py mailbox check {each.integration_id}",
            f"mailbox {each.integration_id}",
        )


def _quarantine(status: Status) -> Iterator[Finding]:
    if status.quarantine_today >= GROWING_A_DAY:
        words = f"the quarantine grows: {status.quarantine_today} mails in 24 hours"
        yield Finding("quarantine", Level.FAULT, words, "manage.py quarantine list")
    elif status.quarantine_for_person:
        words = f"mails in quarantine that wait for a person: {status.quarantine_for_person}"
        fix = "manage.py quarantine list; then quarantine retry ID, or drop ID"
        yield Finding("quarantine", Level.WARNING, words, fix)


def _copies(status: Status) -> Iterator[Finding]:
    for each in status.copies_given_up:
        yield Finding(
            "sent_copy",
            Level.WARNING,
            f"{each.email}: reminders without a copy in Sent: {each.copies}; {each.error}",
            f"manage.py mailbox set {each.integration_id} --sent-folder NAME",
            f"mailbox {each.integration_id}",
        )


def _uncertain(status: Status) -> Iterator[Finding]:
    for each in status.uncertain:
        if each.outbox.needs_person:
            yield Finding(
                "uncertain",
                Level.FAULT,
                f"step {each.outbox.step} to {each.outbox.recipient} may have gone out or not",
                f"{each.if_it_arrived}, or {each.if_it_did_not}",
                f"outbox {each.outbox.id}",
            )
