"""The minute job: every company's mailboxes into the shared inbox.

    claim a due mailbox                                  one commit, the lease
    list folders, STATUS                                 nothing new: done
    new mail in every folder, then history               from its newest back to the horizon
    sizes, then bodies in batches bounded by bytes       no transaction is open here
    each mail: prepare, then ingest                      one commit a mail, with the checkpoint
    copies of our reminders into Sent, where none lies   one commit a copy
    release the lease                                    one commit

A mailbox that fails backs off and the next one goes on. A mail that fails goes to quarantine and
the next one goes on. Only a database that cannot be used ends the run.
"""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Callable
from datetime import date, datetime

from sqlalchemy.exc import SQLAlchemyError

from backend.app import db
from backend.app.endpoints import imap_endpoint
from backend.app.errors import (
    CredentialsUnreadable,
    FolderGone,
    LeaseLost,
    MailboxError,
    NetworkFault,
)
from backend.app.inbox.backoff import backoff_seconds
from backend.app.inbox.bodies import ask_for_bodies
from backend.app.inbox.copies import file_copies
from backend.app.inbox.folder import WINDOW_UIDS, FolderVisit, meet_folder
from backend.app.inbox.hosts import Hosts
from backend.app.inbox.plan import audit_is_due, history_since, plan_fetch, windows
from backend.app.inbox.visit import Budget, Visit, describe
from backend.app.inbox.workers import run_workers
from backend.app.mail.charsets import clean_line
from backend.app.mail.folder import Role, ServerFolder
from backend.app.mail.imap import MailboxConnection, open_mailbox
from backend.app.runtime import Report, Run
from backend.app.store import checkpoints, leases, mailboxes
from backend.app.store.records import Checkpoint, MailboxAccount

log = logging.getLogger("relance.sync")


def sync_due_mailboxes(
    run: Run, report: Report, *, company_id: int | None = None, mailbox_id: int | None = None
) -> None:
    """Visit every due mailbox once, longest-waiting first, and those with a backlog again."""
    deadline = time.monotonic() + run.settings.sync_budget_seconds
    db.write(leases.add_missing_states)
    since, hosts = db.read(db.load_now), Hosts()

    def work(shared: Run) -> None:
        while _visit_next(shared, report, deadline, since, company_id, mailbox_id, hosts):
            pass

    waiting = db.read(leases.count_due, since, company_id, mailbox_id)
    run_workers(run, min(run.settings.sync_workers, waiting), work)
    if mailbox_id is not None and not report.counts.get("mailboxes"):
        log.info("integration=%d not read: another run reads it, or it is off", mailbox_id)


def _visit_next(
    run: Run,
    report: Report,
    deadline: float,
    since: datetime,
    company_id: int | None,
    mailbox_id: int | None,
    hosts: Hosts,
) -> bool:
    """False when the time is up, or no mailbox is due that nobody else reads."""
    settings = run.settings
    if run.stopping() or time.monotonic() >= deadline:
        return False
    lease = db.write(
        leases.claim_due,
        run.owner,
        settings.sync_lease_seconds,
        since,
        company_id,
        mailbox_id,
        settings.imap_connections_per_host,
        hosts.resting,
    )
    if lease is None:
        return False
    report.add("mailboxes")
    if lease.abandoned:
        log.warning(
            "integration=%d visits=%d before this one never ended: killed, or they hang",
            lease.integration_id,
            lease.abandoned,
        )
    budget = Budget(run, since, deadline, settings.sync_slice_messages, settings.sync_slice_bytes)
    visit = Visit(run, report, lease, budget)
    kind = visit_mailbox(visit)
    hosts.note(visit.host, lost=kind == NetworkFault.kind)
    return True


def visit_mailbox(visit: Visit) -> str | None:
    """One visit under a lease. Errors of the mailbox are recorded with it, never raised.

    Returns the kind of what failed; None when nothing did.
    """
    lease = visit.lease
    try:
        with contextlib.closing(visit):
            caught_up = _sync_mailbox(visit)
        db.write(leases.release_after_success, lease, caught_up=caught_up)
    except LeaseLost as lost:
        log.warning("lease lost: %s", lost)
    except CredentialsUnreadable as error:
        return _mailbox_failed(visit, "key", str(error))
    except MailboxError as error:
        return _mailbox_failed(visit, error.kind, str(error))
    except Exception as error:  # one mailbox must not stop the others
        if isinstance(error, SQLAlchemyError) and db.fault_of(error) is not None:
            raise  # the database, not the mailbox: the run ends, and the lease by itself
        log.exception("integration=%d", lease.integration_id)
        return _mailbox_failed(visit, "internal", describe(error))
    else:
        if lease.failures:
            log.info("integration=%d recovered kind=%s", lease.integration_id, lease.error_kind)
    return None


def _mailbox_failed(visit: Visit, kind: str, error: str) -> str:
    lease = visit.lease
    error = clean_line(error)  # servers put their words into it
    visit.report.fail("mailboxes_failed")
    pause = backoff_seconds(kind, lease.failures, random.random())  # noqa: S311
    log.log(
        # The first failure of its kind is news; the same one again is only a reminder.
        logging.WARNING if lease.error_kind == kind else logging.ERROR,
        "integration=%d company=%d failed kind=%s retry_in=%ds error=%s",
        lease.integration_id,
        lease.company_id,
        kind,
        pause,
        error,
    )
    try:
        db.write(leases.release_after_failure, lease, kind, error, pause)
    except LeaseLost as lost:
        log.warning("lease lost: %s", lost)
    return kind


def _sync_mailbox(visit: Visit) -> bool:
    """True when nothing that had arrived before the visit is left on the server."""
    run, lease = visit.run, visit.lease
    account = db.read(mailboxes.load_account, lease.integration_id)
    visit.host = account.imap_host
    visit.history_since = _horizon(run, account, lease.connected_at)
    endpoint = imap_endpoint(account, run.settings, run.vault)
    known = db.read(checkpoints.load_checkpoints, lease.integration_id)
    visit.retry_quarantined()
    with open_mailbox(endpoint) as connection:
        folders = connection.folders(account.sent_folder)
        met = [each for f in folders if (each := _meet(visit, connection, f, known.get(f.name)))]
        # All new mail before any history: somebody waits for it. What is left over in one folder
        # keeps nobody back in another.
        done = [_unless_gone(visit, each, each.read_new) for each in met]
        done += [_unless_gone(visit, each, each.read_history) for each in met]
        ask_for_bodies(visit, connection)
        if all(done) and audit_is_due(lease) and not visit.budget.over:
            _audit(visit, met)
        for each in met:
            each.require_lasting_numbers()
        file_copies(visit, connection, folders)
    return all(done)


def _audit(visit: Visit, folders: list[FolderVisit]) -> None:
    from backend.app.inbox.audit import audit_mailbox  # once an hour

    audit_mailbox(visit, folders)


def _horizon(run: Run, account: MailboxAccount, connected_at: datetime | None) -> date | None:
    return history_since(connected_at, account.history_days or run.settings.sync_history_days)


def _meet(
    visit: Visit, connection: MailboxConnection, folder: ServerFolder, known: Checkpoint | None
) -> FolderVisit | None:
    try:
        return meet_folder(visit, connection, folder, known)
    except FolderGone as error:
        _folder_gone(visit, folder, error)
    return None


def _unless_gone(visit: Visit, folder: FolderVisit, read: Callable[[], bool]) -> bool:
    try:
        return read()
    except FolderGone as error:
        _folder_gone(visit, folder.folder, error)
    return True


def _folder_gone(visit: Visit, folder: ServerFolder, error: FolderGone) -> None:
    """A Sent folder that is gone keeps nothing else back; INBOX is the mailbox."""
    if folder.role is Role.INBOX:
        raise error
    visit.report.fail("folders_failed")
    log.error(
        "integration=%d folder=%s %s; name another: manage.py mailbox set %d --sent-folder NAME",
        visit.lease.integration_id,
        folder.role,
        error,
        visit.lease.integration_id,
    )


def show_due_mailboxes(
    run: Run, report: Report, *, company_id: int | None = None, mailbox_id: int | None = None
) -> None:
    """What a run would fetch. Signs in and asks STATUS, and writes nothing anywhere."""
    for integration_id in db.read(mailboxes.list_active, company_id, mailbox_id):
        report.add("mailboxes")
        try:
            _show_mailbox(run, report, integration_id)
        except (MailboxError, CredentialsUnreadable) as error:
            report.fail("mailboxes_failed")
            log.error("integration=%d error=%s", integration_id, error)


def _show_mailbox(run: Run, report: Report, integration_id: int) -> None:
    account = db.read(mailboxes.load_account, integration_id)
    known = db.read(checkpoints.load_checkpoints, integration_id)
    connected_at = db.read(mailboxes.load_connected_at, integration_id)
    with open_mailbox(imap_endpoint(account, run.settings, run.vault)) as connection:
        for folder in connection.folders(account.sent_folder):
            plan = plan_fetch(known.get(folder.name), connection.status(folder.name))
            count = 0
            if not plan.empty:
                connection.examine(folder.name)
                since = _horizon(run, account, connected_at) if plan.restart else None
                count = sum(
                    len(connection.existing(low, high, since))
                    for low, high in windows(plan.first, plan.last, WINDOW_UIDS)
                )
            report.add("would_fetch", count)
            log.info(
                "integration=%d folder=%s would_fetch=%d reason=%s",
                integration_id,
                folder.role,
                count,
                plan.reason,
            )
