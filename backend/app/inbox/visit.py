"""One visit to a mailbox under a lease: its budget, and how a mail is taken in.

What reads mails is imported when the first one is there: a minute in which nothing came, which is
most of them, needs nothing of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from backend.app import db
from backend.app.errors import DayUsedUp, LeaseLost, ParserDied, SettingsInvalid, StorageFault
from backend.app.inbox.plan import history_before
from backend.app.mail.charsets import clean_line
from backend.app.models import LedgerState
from backend.app.runtime import Report, Run
from backend.app.store import conversations, leases, ledger, mailboxes, senders, tenants
from backend.app.store.records import Checkpoint, Lease, Place, Quarantined

if TYPE_CHECKING:
    from backend.app.inbox.helper import Helper
    from backend.app.inbox.ingest import Ingested
    from backend.app.inbox.prepare import Intake, PreparedMail, Ready, Unprepared

log = logging.getLogger("relance.sync")

RETRIES_A_VISIT = 20  # of quarantined mails
WORTH_A_HELPER = 400  # mails that are to be read: what its start costs is what 300 take
# So many visits in a row ended with their run: a mail may be why, and is parsed apart from now on.
SUSPICIOUS = 2


@dataclass(slots=True)
class Budget:
    """What is left of a visit (mails, bytes) and of the run (time).

    since: when the run began, by the database's clock. deadline: by the monotonic clock.
    """

    run: Run
    since: datetime
    deadline: float
    mails: int
    bytes: int

    @property
    def used_up(self) -> bool:
        """The slice of this mailbox: others who wait have their turn now."""
        return self.mails <= 0 or self.bytes <= 0

    def renew(self) -> None:
        self.mails = self.run.settings.sync_slice_messages
        self.bytes = self.run.settings.sync_slice_bytes

    @property
    def over(self) -> bool:
        """No further mail, whoever waits: the run's time is up, or it was told to stop."""
        return self.run.stopping() or time.monotonic() >= self.deadline


class Visit:
    """What one visit to a mailbox carries from mail to mail."""

    def __init__(
        self,
        run: Run,
        report: Report,
        lease: Lease,
        budget: Budget,
        history_since: date | None = None,
    ) -> None:
        """history_since: the horizon, see plan.history_since."""
        self.run = run
        self.report = report
        self.lease = lease
        self.budget = budget
        self.history_since = history_since
        self.host = ""  # the mail server's name, once the account is loaded
        self._intake: Intake | None = None
        self._helper: Helper | None = None

    @property
    def intake(self) -> Intake:
        """Loaded when the first new mail is there: an idle mailbox does not need it."""
        if self._intake is None:
            self._intake = db.write(load_intake, self.run, self.lease)
            if self._intake.rules_error is not None:
                self.report.fail("settings_wrong")
                log.error("company=%d %s", self.lease.company_id, self._intake.rules_error)
        return self._intake

    def expect(self, mails: int) -> None:
        self.run.progress.expect(self.lease.integration_id, mails)

    def find_help(self, mails: int) -> None:
        """So many mails are to be read now. Many of them are worth a helper's start."""
        if self._helper is None and (mails >= WORTH_A_HELPER or self._is_wary):
            from backend.app.inbox.helper import find_helper

            self._helper = find_helper(self.intake)

    @property
    def _is_wary(self) -> bool:
        return self.lease.abandoned >= SUSPICIOUS

    def hand_over(self, mails: Sequence[Unprepared]) -> list[Ready] | None:
        """See Helper.hand_over; None without a helper."""
        return self._helper.hand_over(mails) if self._helper else None

    def close(self) -> None:
        if self._helper is not None:
            self._helper.close()
            self._helper = None

    def may_go_on(self) -> bool:
        """Whether another batch may be read: there is time, and nobody waits behind a slice."""
        if self.budget.over:
            return False
        if not self.budget.used_up:
            return True
        if db.read(leases.count_due, self.budget.since, None, None):
            return False
        self.budget.renew()
        return True

    def spend(self, size: int, mails: int) -> None:
        """So many bytes of so many mails are about to be fetched. Raises DayUsedUp, LeaseLost."""
        self.budget.bytes -= size
        self.budget.mails -= mails
        allowance = self.run.settings.sync_daily_bytes
        day = self.run.now().date()
        if not db.write(leases.spend_bytes, self.lease, size, day, allowance):
            raise DayUsedUp(
                f"today's {allowance} bytes of this mailbox (SYNC_DAILY_BYTES) are fetched; "
                "the rest follows tomorrow"
            )

    def take_in(
        self,
        role: str,
        place: Place,
        raw: bytes,
        arrived_at: datetime,
        origin: Checkpoint | Quarantined | None,
        notes: tuple[str, ...] = (),
        ready: Ready | None = None,
    ) -> Ingested | Exception:
        """Store one mail, or say why it could not be handled; everything was rolled back then.

        origin: the checkpoint that moves, or what leaves the quarantine, in the same commit.
        None for history, whose end moves stretch by stretch. ready: gives the mail as prepared
        elsewhere.
        Raises LeaseLost, and SQLAlchemyError when the database cannot be used.
        """
        from backend.app.inbox.ingest import ingest

        self.run.progress.advance(self.lease.integration_id)
        try:
            item = ready() if ready else self._prepare(raw, arrived_at, notes)
            if isinstance(origin, Quarantined):
                result = db.write(replay, self.intake, origin, item)
            else:
                result = db.write(ingest, self.intake, origin, place, item)
        except LeaseLost:
            raise
        except Exception as error:  # one mail must not stop the others
            if isinstance(error, SQLAlchemyError) and db.fault_of(error) is not None:
                raise
            self.say_quarantined(role, place, describe(error))
            log.debug("integration=%d uid=%d", place.integration_id, place.uid, exc_info=error)
            return error
        self.report.add(result.state.value)
        log.info(
            "integration=%d folder=%s uid=%d %s conversation=%s reason=%s",
            place.integration_id,
            role,
            place.uid,
            result.state,
            result.conversation_id or "-",
            result.reason,
        )
        if result.storm_begins:
            log.warning(
                "integration=%d conversation=%s storm: more than %d mails of one sender within the "
                "hour; further ones come as read",
                place.integration_id,
                result.conversation_id,
                senders.STORM_MAILS,
            )
        return result

    def _prepare(self, raw: bytes, arrived_at: datetime, notes: tuple[str, ...]) -> PreparedMail:
        from backend.app.inbox.prepare import Unprepared, prepare

        if not self._is_wary:
            return prepare(self.intake, raw, arrived_at, notes)
        from backend.app.inbox.helper import prepare_apart

        return prepare_apart(self.intake, Unprepared(raw, arrived_at, notes))

    def say_quarantined(self, role: str, place: Place, error: str) -> None:
        self.report.fail("quarantined")
        log.error(
            "integration=%d folder=%s uid=%d quarantined error=%s",
            place.integration_id,
            role,
            place.uid,
            error,
        )

    def retry_quarantined(self) -> None:
        """Mail that could not be handled earlier and whose pause is over."""
        for _ in range(RETRIES_A_VISIT):
            kept = db.read(ledger.next_quarantined, self.lease.integration_id)
            if kept is None or self.budget.over:
                return
            self.budget.mails -= 1
            ready = self._apart(kept)
            outcome = self.take_in(
                "quarantine", kept.place, kept.raw, kept.arrived_at, kept, ready=ready
            )
            if isinstance(outcome, Exception):
                our_fault = isinstance(outcome, StorageFault)
                db.write(ledger.postpone_quarantined, kept, describe(outcome), our_fault=our_fault)

    def _apart(self, kept: Quarantined) -> Ready | None:
        """A mail that a process died of is never parsed in this one."""
        if not kept.error.startswith(ParserDied.__name__):
            return None
        from backend.app.inbox.helper import prepare_alone
        from backend.app.inbox.prepare import Unprepared

        return partial(prepare_alone, self.intake, Unprepared(kept.raw, kept.arrived_at))


def describe(error: Exception) -> str:
    """One line, bounded, without the statement and parameters that a database error carries."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    first_line = str(cause).strip().partition("\n")[0]
    return clean_line(f"{type(cause).__name__}: {first_line}")[:300]


def load_intake(session: Session, run: Run, lease: Lease) -> Intake:
    """What every mail of a visit needs. The company's drawers are made on first use.

    With filing rules that are wrong, mail goes where it would without any.
    """
    from backend.app.inbox.filing import drawer_names
    from backend.app.inbox.prepare import Intake
    from backend.app.inbox.rules import NO_RULES, load_filing_rules

    company = tenants.load_company(session, lease.company_id)
    rules, rules_error = NO_RULES, None
    try:
        rules = load_filing_rules(company.rules("inbox"))
    except SettingsInvalid as error:
        rules_error = f"settings error={error}"
    drawers = {
        slug: conversations.find_or_create_folder(session, company.id, slug, name)
        for slug, name in drawer_names(rules, company.language).items()
    }
    senders.forget_old_hours(session, company.id)
    own = mailboxes.load_own_addresses(session, company.id)
    return Intake(
        lease,
        company.id,
        own,
        drawers,
        run.settings.attachments_dir,
        history_before=history_before(lease.connected_at),
        rules=rules,
        rules_error=rules_error,
    )


def replay(session: Session, intake: Intake, kept: Quarantined, item: PreparedMail) -> Ingested:
    """Take a mail out of quarantine into the inbox, in one commit."""
    from backend.app.inbox.ingest import ingest

    result = ingest(session, intake, None, kept.place, item)
    words = (result.reason,) if result.state is LedgerState.IGNORED else ()
    ledger.leave_quarantine(session, kept, result.state, result.message_id, *words)
    return result
