"""The minute job: every company's mailboxes into the shared inbox.

    claim a due mailbox                                  one commit, the lease
    list folders, STATUS                                 nothing new: done
    sizes, then bodies in batches bounded by bytes       no transaction is open here
    each mail: prepare, then ingest                      one commit a mail, with the checkpoint
    release the lease                                    one commit

A mailbox that fails backs off and the next one goes on. A mail that fails goes to quarantine and
the next one goes on. Only a database that cannot be used ends the run.
"""

from __future__ import annotations

import logging
import random
import time

from sqlalchemy.exc import SQLAlchemyError

from backend.app import db
from backend.app.endpoints import imap_endpoint
from backend.app.errors import CredentialsUnreadable, FolderGone, LeaseLost, MailboxError
from backend.app.inbox.backoff import backoff_seconds
from backend.app.inbox.plan import plan_fetch, windows
from backend.app.inbox.reader import WINDOW_UIDS, ask_for_bodies, sync_folder
from backend.app.inbox.visit import Budget, Visit, describe
from backend.app.mail.charsets import clean_line
from backend.app.mail.folder import Role
from backend.app.mail.imap import open_mailbox
from backend.app.runtime import Report, Run
from backend.app.store import mailboxes

log = logging.getLogger("relance.sync")


def sync_due_mailboxes(
    run: Run, report: Report, *, company_id: int | None = None, mailbox_id: int | None = None
) -> None:
    """Visit every due mailbox once, longest-waiting first, and those with a backlog again."""
    deadline = time.monotonic() + run.settings.sync_budget_seconds
    db.write(mailboxes.add_missing_states)
    since = db.read(db.load_now)
    while not run.stopping() and time.monotonic() < deadline:
        lease = db.write(
            mailboxes.claim_due,
            run.owner,
            run.settings.sync_lease_seconds,
            since,
            company_id,
            mailbox_id,
        )
        if lease is None:
            return
        report.add("mailboxes")
        budget = Budget(run, since, deadline, run.settings.sync_slice_messages)
        visit_mailbox(Visit(run, report, lease, budget))


def visit_mailbox(visit: Visit) -> None:
    """One visit under a lease. Errors of the mailbox are recorded with it, never raised."""
    lease = visit.lease
    try:
        caught_up = _sync_mailbox(visit)
        db.write(mailboxes.release_after_success, lease, caught_up=caught_up)
    except LeaseLost as lost:
        log.warning("lease lost: %s", lost)
    except CredentialsUnreadable as error:
        _mailbox_failed(visit, "key", str(error))
    except MailboxError as error:
        _mailbox_failed(visit, error.kind, str(error))
    except Exception as error:  # one mailbox must not stop the others
        if isinstance(error, SQLAlchemyError) and db.fault_of(error) is not None:
            raise  # the database, not the mailbox: the run ends, and the lease by itself
        log.exception("integration=%d", lease.integration_id)
        _mailbox_failed(visit, "internal", describe(error))
    else:
        if lease.failures:
            log.info("integration=%d recovered kind=%s", lease.integration_id, lease.error_kind)


def _mailbox_failed(visit: Visit, kind: str, error: str) -> None:
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
        db.write(mailboxes.release_after_failure, lease, kind, error, pause)
    except LeaseLost as lost:
        log.warning("lease lost: %s", lost)


def _sync_mailbox(visit: Visit) -> bool:
    """True when nothing that had arrived before the visit is left on the server."""
    run, lease = visit.run, visit.lease
    account = db.read(mailboxes.load_account, lease.integration_id)
    endpoint = imap_endpoint(account, run.settings, run.vault)
    checkpoints = db.read(mailboxes.load_checkpoints, lease.integration_id)
    visit.retry_quarantined()
    caught_up = True
    with open_mailbox(endpoint) as connection:
        for folder in connection.folders(account.sent_folder):
            try:
                done = sync_folder(visit, connection, folder, checkpoints.get(folder.name))
            except FolderGone as error:
                if folder.role is Role.INBOX:
                    raise
                visit.report.fail("folders_failed")
                log.error("integration=%d folder=%s %s", lease.integration_id, folder.role, error)
                continue
            caught_up = caught_up and done
        ask_for_bodies(visit, connection)
    return caught_up


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
    checkpoints = db.read(mailboxes.load_checkpoints, integration_id)
    with open_mailbox(imap_endpoint(account, run.settings, run.vault)) as connection:
        for folder in connection.folders(account.sent_folder):
            plan = plan_fetch(checkpoints.get(folder.name), connection.status(folder.name))
            count = 0
            if not plan.empty:
                connection.examine(folder.name)
                count = sum(
                    len(connection.existing(low, high))
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
