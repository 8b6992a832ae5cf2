"""What each company has sent in one run, and what is told of a whole company once a run."""

from __future__ import annotations

import logging
from collections import Counter

from backend.app.followups.policy import Decision, Hold, ReasonCode
from backend.app.store.records import Due

log = logging.getLogger("relance.followups")

_COMPANY_WIDE = {
    ReasonCode.RUN_BUDGET: "the rest follows in the next run",
    ReasonCode.SURGE: "the rest is held; look at it, then: manage.py followup release",
    ReasonCode.BOUNCE_BURST: "the rest is held; look at it, then: manage.py followup release",
}


class Shares:
    """What each company has sent in this run, and whose share of it is used up.

    taken_along: the follow-ups that went, were tried, or stopped in a mail of this run.
    """

    def __init__(self) -> None:
        self.sent: Counter[int] = Counter()
        self.used_up: set[int] = set()
        self.taken_along: set[int] = set()
        self._told: set[tuple[int, ReasonCode]] = set()

    def has_room_for(self, due: Due) -> bool:
        """Whether to look at a follow-up that was due when the run began."""
        return due.company_id not in self.used_up and due.id not in self.taken_along

    def note(self, company_id: int, decision: Decision) -> None:
        """Tell once a run what concerns all of a company's reminders."""
        if decision.reason is ReasonCode.RUN_BUDGET:
            self.used_up.add(company_id)
        if decision.reason not in _COMPANY_WIDE or (company_id, decision.reason) in self._told:
            return
        self._told.add((company_id, decision.reason))
        grave = isinstance(decision, Hold)
        log.log(
            logging.ERROR if grave else logging.INFO,
            "company=%d reason=%s: %s",
            company_id,
            decision.reason,
            _COMPANY_WIDE[decision.reason],
        )
