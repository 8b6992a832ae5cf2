"""`send_automatic_followups.py --dry-run`: what a run would send now, and why the rest would wait.

Decides as a run would, one after the other, and counts what it would have sent against the budgets
of what comes after. Writes nothing anywhere.
"""

from __future__ import annotations

import logging
from collections import Counter
from datetime import datetime

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from backend.app import db
from backend.app.errors import SettingsInvalid
from backend.app.followups.claim import prepare
from backend.app.followups.documents import Documents
from backend.app.followups.draft import Draft
from backend.app.followups.policy import Hold, Stop, Wait
from backend.app.followups.send import list_due, tell
from backend.app.followups.shares import Shares
from backend.app.followups.situation import Situation, load_situation
from backend.app.runtime import Report, Run
from backend.app.store.records import Due, Spent

log = logging.getLogger("relance.followups")


class Tally:
    """What would have gone out so far.

    carried: follow-up -> the one in whose mail it would go.
    """

    def __init__(self) -> None:
        self.carried: dict[int, int] = {}
        self._companies: Counter[int] = Counter()
        self._mailboxes: Counter[int] = Counter()
        self._clients: dict[int, datetime] = {}

    def beside(self, situation: Situation) -> Spent:
        company = self._companies[situation.company.id]
        return Spent(
            client_mail_at=self._clients.get(situation.followup.client_id),
            mailbox_today=self._mailboxes[situation.mailbox_id or 0],
            company_today=company,
            in_run=company,
        )

    def add(self, situation: Situation, draft: Draft, now: datetime) -> None:
        for each in draft.companions:
            self.carried[each.situation.followup.id] = situation.followup.id
        self._companies[situation.company.id] += 1
        self._mailboxes[situation.mailbox_id or 0] += 1
        self._clients[situation.followup.client_id] = now


def preview_followup(
    session: Session,
    followup_id: int,
    now: datetime,
    tally: Tally,
    documents: Documents | None = None,
) -> Draft | Stop | Hold | Wait:
    """What claim_followup would decide. Raises SettingsInvalid."""
    documents = documents or Documents(None)
    situation = load_situation(session, followup_id, now)
    prepared = prepare(session, situation, now, tally.beside(situation), documents, hold=False)
    if not isinstance(prepared, Draft):
        return prepared
    tally.add(situation, prepared, now)
    return prepared


def show_due_followups(
    run: Run,
    report: Report,
    *,
    company_id: int | None = None,
    followup_id: int | None = None,
    limit: int | None = None,
) -> None:
    """The dry run of send_due_followups."""
    limit = run.settings.send_limit if limit is None else limit
    tally, shares = Tally(), Shares()
    for each in list_due(run, company_id, followup_id):
        if run.stopping() or report.counts.get("would_send", 0) >= limit:
            return
        if shares.has_room_for(each):
            _look_at(run, report, shares, tally, each)


def _look_at(run: Run, report: Report, shares: Shares, tally: Tally, due: Due) -> None:
    if due.id in tally.carried:
        report.add("would_carry")
        log.info("followup=%d would go in the mail of followup=%d", due.id, tally.carried[due.id])
        return
    try:
        documents = Documents(run.settings.documents_dir)
        prepared = db.read(preview_followup, due.id, run.now(), tally, documents)
    except SettingsInvalid as error:
        report.fail("settings_invalid")
        log.error("followup=%d settings: %s", due.id, error)
    except Exception as error:  # one bad record must not stop the others
        if isinstance(error, DBAPIError) and db.fault_of(error) is not None:
            raise
        report.fail("failed")
        log.exception("followup=%d internal error", due.id)
    else:
        _tell(report, due, shares, prepared)


def _tell(report: Report, due: Due, shares: Shares, prepared: Draft | Stop | Hold | Wait) -> None:
    if not isinstance(prepared, Draft):
        tell(report, due.id, prepared)
        shares.note(due.company_id, prepared)
        return
    report.add("would_send")
    decision, length = prepared.decision, prepared.length
    size = "" if length is None else f" segments={length.segments} encoding={length.encoding}"
    log.info(
        "followup=%d would send step=%d by=%s%s", due.id, decision.step, decision.channel, size
    )
