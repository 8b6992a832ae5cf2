"""What killed or frozen runs left in the outbox, put right at the start of every run.

claimed, lease over     nothing had gone out          -> planned
    in a mail that a person has stopped               -> planned
sending, lease over     it may have gone out          -> uncertain
uncertain, proof came   its copy in Sent, a reply to it, a bounce of it  -> sent
                        a text message: the provider lists it
uncertain, none in time                               -> held for a person, or for late proof
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from backend.app import db
from backend.app.errors import ClaimLost
from backend.app.followups import resolve
from backend.app.followups.witness import find_proof
from backend.app.models import OutboxState
from backend.app.runtime import Report, Run
from backend.app.store import unsettled
from backend.app.store.records import OutboxClaim, StepClaim

log = logging.getLogger("relance.followups")

Claim = TypeVar("Claim", OutboxClaim, StepClaim)


def recover(run: Run, report: Report) -> None:
    now, hours = run.now(), run.settings.uncertain_hours
    for claimed in db.read(unsettled.list_abandoned, OutboxState.CLAIMED):
        _attempt(report, "taken_back", claimed, lambda s, c: resolve.take_back(s, c, now))
    for step in db.read(unsettled.list_orphaned):
        _attempt(report, "taken_back", step, lambda s, c: resolve.take_back_orphan(s, c, now))
    for claimed in db.read(unsettled.list_abandoned, OutboxState.SENDING):
        _attempt(
            report, "uncertain", claimed, lambda s, c: resolve.abandon_sending(s, c, now, hours)
        )
    for claimed in db.read(unsettled.list_uncertain):
        _settle_uncertain(run, report, claimed)


def _settle_uncertain(run: Run, report: Report, claimed: OutboxClaim) -> None:
    now = run.now()
    proof = find_proof(run, claimed)
    if proof is not None:
        _attempt(
            report,
            "proven_sent",
            claimed,
            lambda s, c: resolve.accept_proof(s, c, now, provider_id=proof.provider_id),
        )
    elif db.read(unsettled.needs_a_word, claimed, run.settings.uncertain_hours):
        _attempt(report, "for_a_person", claimed, lambda s, c: resolve.ask_person(s, c, now))


def _attempt(
    report: Report, name: str, claimed: Claim, settlement: Callable[[Session, Claim], object]
) -> None:
    try:
        db.write(settlement, claimed)
    except ClaimLost:
        return  # another run was first, or the worker lives
    except Exception as error:  # one bad record must not stop the others
        if isinstance(error, DBAPIError) and db.fault_of(error) is not None:
            raise
        report.fail("failed")
        log.exception("outbox=%d internal error", claimed.id)
        return
    report.add(name)
    for step in claimed.steps if isinstance(claimed, OutboxClaim) else (claimed,):
        log.warning(
            "followup=%d step=%d outbox=%d recovered as=%s",
            step.followup_id,
            step.step,
            step.id,
            name,
        )
