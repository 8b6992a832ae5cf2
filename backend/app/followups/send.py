"""The hourly job: the reminders that are due, each at most once.

    recover what earlier runs left
    each due follow-up, companies in turns, the longest-waiting of each first:
        claim_followup    decide on fresh rows, render, outbox row 'claimed'       one commit
        SMTP: MAIL, RCPT, DATA accepted
        begin_sending     ask the stops once more, 'sending'                       one commit
        the body, the final dot, the reply
        settle            history, message, conversation, next step                one commit

Where a company wishes it, one mail carries what is due of several follow-ups of a client: one
claim and one settlement for all of them (group.py).

A killed run leaves 'claimed' (nothing went out) or 'sending' (it may have): see recover.py.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from backend.app import db
from backend.app.channel import Channel
from backend.app.errors import (
    ClaimLost,
    CredentialsUnreadable,
    MailboxError,
    NotSent,
    RelanceError,
    SendUncertain,
    SettingsInvalid,
)
from backend.app.followups import settle
from backend.app.followups.claim import begin_sending, claim_followup
from backend.app.followups.documents import Documents, DocumentsUnread
from backend.app.followups.facts import spoken
from backend.app.followups.outlet import Reply
from backend.app.followups.outlets import Outlets
from backend.app.followups.policy import Hold, ReasonCode, Send, Stop, Wait
from backend.app.followups.recover import recover
from backend.app.followups.shares import Shares
from backend.app.models import OutboxState
from backend.app.runtime import Report, Run
from backend.app.store import followups, installation
from backend.app.store.installation import Count
from backend.app.store.records import Due, OutboxClaim

log = logging.getLogger("relance.followups")

MOST_LOOKS = 20_000  # in one run; companies take turns, so the rest of a flood comes next time
PAUSE_AFTER_FAULT = timedelta(hours=1)
# Less than a step is put off for: what a mailbox could not send comes before what servers refused.
MAILBOX_PAUSE = timedelta(minutes=20)
# The body must follow its commit at once; a process frozen in between must not send late.
BODY_WITHIN_SECONDS = 30.0


class StoppedBeforeBody(RelanceError):
    """The client answered, paid or was taken off while the server was being spoken to.

    followup_ids: what stopped, of all that the mail was about.
    """

    def __init__(self, followup_ids: Collection[int]) -> None:
        super().__init__(f"stopped: {', '.join(map(str, followup_ids))}")
        self.followup_ids = followup_ids


def send_due_followups(
    run: Run,
    report: Report,
    *,
    company_id: int | None = None,
    followup_id: int | None = None,
    limit: int | None = None,
) -> None:
    """Look at every follow-up whose time has come; stop when `limit` reminders may have gone out.

    One that went out without an answer counts: a server that swallows mails must not get them all.
    """
    recover(run, report)
    outlets, shares = Outlets(run), Shares()
    limit = run.settings.send_limit if limit is None else limit
    try:
        for each in outlets.in_pace(list_due(run, company_id, followup_id)):
            if run.stopping():
                return
            if outlets.gone_out >= limit:
                log.info("limit=%d reached, the rest follows in the next run", limit)
                return
            if shares.has_room_for(each):
                look_at(run, report, outlets, shares, each)
    finally:
        outlets.close()


def list_due(run: Run, company_id: int | None, followup_id: int | None) -> list[Due]:
    """The follow-ups to be looked at; a named one that is not is told of."""
    due = db.read(
        followups.list_due,
        run.now(),
        MOST_LOOKS,
        company_id=company_id,
        followup_id=followup_id,
    )
    if followup_id is not None and not due:
        log.info("followup=%d is not looked at: manage.py followup explain says why", followup_id)
    return due


def look_at(run: Run, report: Report, outlets: Outlets, shares: Shares, due: Due) -> None:
    """One follow-up, from decision to settlement. Only an unusable database is raised."""
    followup_id = due.id
    try:
        while _claim_and_deliver(run, report, outlets, shares, due):
            pass
    except ClaimLost as lost:
        report.add("taken_over")
        log.warning("followup=%d %s", followup_id, lost)
    except SettingsInvalid as error:
        report.fail("settings_invalid")
        log.error("followup=%d settings: %s", followup_id, error)
        _put_off(run, followup_id, ReasonCode.SETTINGS_INVALID)
    except Exception as error:  # one bad record must not stop the others
        if isinstance(error, DBAPIError) and db.fault_of(error) is not None:
            raise
        report.fail("failed")
        log.exception("followup=%d internal error", followup_id)
        _put_off(run, followup_id, ReasonCode.INTERNAL_ERROR)


def _claim_and_deliver(
    run: Run, report: Report, outlets: Outlets, shares: Shares, due: Due
) -> bool:
    """Whether to look at it again at once: something else that its mail carried was stopped."""
    claimed = _claim(run, report, shares, due)
    if claimed is None:
        return False
    before = outlets.gone_out
    try:
        _deliver(run, report, outlets, claimed)
    except StoppedBeforeBody as stopped:
        shares.taken_along.update(stopped.followup_ids)
        return due.id not in stopped.followup_ids
    shares.sent[due.company_id] += outlets.gone_out - before
    shares.taken_along.update(claimed.followup_ids)
    return False


def _put_off(run: Run, followup_id: int, reason: ReasonCode) -> None:
    db.write(followups.look_again, followup_id, run.now() + PAUSE_AFTER_FAULT, reason.value)


def _claim(run: Run, report: Report, shares: Shares, due: Due) -> OutboxClaim | None:
    documents = Documents(run.settings.documents_dir, beforehand=True)
    while True:
        try:
            result = db.write(
                claim_followup,
                due.id,
                run.owner,
                run.settings.send_lease_seconds,
                run.now(),
                sent_in_run=shares.sent[due.company_id],
                documents=documents,
            )
            break
        except DocumentsUnread as unread:  # with no transaction open now
            documents.read(unread.company_id, unread.names)
    if result is None:
        report.add("in_other_hands")
        return None
    decision, claimed = result
    if claimed is None and not isinstance(decision, Send):
        tell(report, due.id, decision)
        shares.note(due.company_id, decision)
    return claimed


def tell(report: Report, followup_id: int, decision: Stop | Hold | Wait) -> None:
    if isinstance(decision, Wait):
        report.add("waiting")
        log.info(
            "followup=%d waits reason=%s until=%s",
            followup_id,
            spoken(decision),
            decision.until.isoformat(timespec="seconds"),
        )
    elif isinstance(decision, Stop):
        report.add("stopped")
        log.info("followup=%d stopped reason=%s", followup_id, decision.reason)
    else:
        report.add("held")
        detail = f" {decision.detail}" if decision.detail else ""
        log.warning("followup=%d held reason=%s%s", followup_id, decision.reason, detail)


def _deliver(run: Run, report: Report, outlets: Outlets, claimed: OutboxClaim) -> None:
    """Send it and settle what became of it. Raises StoppedBeforeBody."""
    try:
        reply = _speak(run, report, outlets, claimed)
    except (MailboxError, CredentialsUnreadable) as error:
        report.fail("mailbox_down" if claimed.channel is Channel.EMAIL else "sms_account_down")
        again = run.now() + MAILBOX_PAUSE
        db.write(settle.settle_mailbox_down, claimed, str(error), again)
    except NotSent as error:
        _settle_refused(run, report, claimed, error)
    except SendUncertain as error:
        outlets.gone_out += 1
        report.fail("uncertain")
        for step in claimed.steps:
            log.error("followup=%d step=%d uncertain: %s", step.followup_id, step.step, error)
        hours = run.settings.uncertain_hours
        db.write(settle.settle_uncertain, claimed, str(error), run.now(), hours)
    else:
        outlets.gone_out += 1
        conversation_id = db.write(
            settle.settle_sent,
            claimed,
            run.now(),
            reply=reply.words,
            provider_id=reply.provider_id,
        )
        _tell_sent(report, claimed, conversation_id, reply.provider_id)


def _tell_sent(
    report: Report, claimed: OutboxClaim, conversation_id: int, provider_id: str | None
) -> None:
    """`sent` counts mails, `carried` the further steps in them."""
    report.add("sent")
    for step in claimed.steps:
        if step.id != claimed.id:
            report.add("carried")
        log.info(
            "followup=%d step=%d sent by=%s integration=%d conversation=%d message_id=%s",
            step.followup_id,
            step.step,
            claimed.channel,
            claimed.integration_id,
            conversation_id,
            provider_id or claimed.message_id,
        )


def _speak(run: Run, report: Report, outlets: Outlets, claimed: OutboxClaim) -> Reply:
    """What the server said. Raises what Outlet.send raises, and StoppedBeforeBody."""
    return outlets.send(
        claimed,
        before_body=lambda: _before_body(run, report, claimed),
        body_within=BODY_WITHIN_SECONDS,
    )


def _before_body(run: Run, report: Report, claimed: OutboxClaim) -> None:
    lease = run.settings.send_lease_seconds
    begun = db.write(begin_counted, claimed, lease, run.now())
    if not isinstance(begun, Count):
        for followup_id, stop in begun.items():
            tell(report, followup_id, stop)
        raise StoppedBeforeBody(begun)
    run.remember(begun)


def begin_counted(
    session: Session, claimed: OutboxClaim, lease_seconds: int, now: datetime
) -> dict[int, Stop | Hold | Wait] | Count:
    """Begin sending and count it in one commit: no copy of the database that lacks the one has as
    high a counter (mark.py). The count comes last, since every sender waits for its one row."""
    stops = begin_sending(session, claimed, lease_seconds, now)
    return installation.count(session) if stops is None else stops


def _settle_refused(run: Run, report: Report, claimed: OutboxClaim, error: NotSent) -> None:
    state = db.write(settle.settle_refused, claimed, error, run.now())
    report.fail("refused" if state is OutboxState.FAILED else "put_off")
    for step in claimed.steps:
        log.log(
            logging.ERROR if state is OutboxState.FAILED else logging.WARNING,
            "followup=%d step=%d not sent state=%s attempt=%d: %s",
            step.followup_id,
            step.step,
            state,
            claimed.attempts,
            error,
        )
