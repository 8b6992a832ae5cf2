"""Whether a step that is due may go out beside all that went out already (I8). Pure.

Asked after the policy has said Send, with the client's and the mailbox's rows held, so that two
runs at the same instant can't both find room for the last one.

     #  when                                                          decision
     1  another run is sending a mail to this client                  Wait  client_gap
     2  the client had a mail of any follow-up too short a time ago   Wait  client_gap
     3  the mailbox has sent its share of the day                     Wait  mailbox_budget
     4  more of the company's mails came back today than may          Hold  bounce_burst
     5  the company has sent far more today than on a usual day       Hold  surge

A person's release lets one step pass 4 and 5. The run's own share is counted in send.py.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from backend.app.followups.calendar import ONE_DAY, start_of_day
from backend.app.followups.company_rules import Budgets
from backend.app.followups.facts import BudgetFacts, Hold, Wait
from backend.app.followups.reasons import ReasonCode

OTHER_RUN_RETRY = timedelta(minutes=5)
USUAL_OVER_DAYS = 28


def check_budgets(
    spent: BudgetFacts, rules: Budgets, zone: ZoneInfo, now: datetime, *, approved: bool
) -> Wait | Hold | None:
    """None: it may go out."""
    if spent.client_waits and rules.client_gap_days:
        return Wait(now + OTHER_RUN_RETRY, ReasonCode.CLIENT_GAP)
    return (
        _client_gap(spent, rules, zone, now)
        or _mailbox_share(spent, rules, zone, now)
        or (None if approved else _breaker(spent, rules))
    )


def surge_limit(spent: BudgetFacts, rules: Budgets) -> int:
    """How many of the company's mails of one day are still no surge."""
    return max(rules.surge_minimum, int(rules.surge_factor * spent.usual_per_day))


def _client_gap(spent: BudgetFacts, rules: Budgets, zone: ZoneInfo, now: datetime) -> Wait | None:
    if spent.client_mail_at is None:
        return None
    day = spent.client_mail_at.astimezone(zone).date() + rules.client_gap_days * ONE_DAY
    free_at = start_of_day(day, zone)
    if now >= free_at:
        return None
    return Wait(free_at, ReasonCode.CLIENT_GAP, f"next on {day.isoformat()}")


def _mailbox_share(
    spent: BudgetFacts, rules: Budgets, zone: ZoneInfo, now: datetime
) -> Wait | None:
    if spent.mailbox_today < rules.per_mailbox_per_day:
        return None
    tomorrow = start_of_day(now.astimezone(zone).date() + ONE_DAY, zone)
    return Wait(tomorrow, ReasonCode.MAILBOX_BUDGET, f"{spent.mailbox_today} sent today")


def _breaker(spent: BudgetFacts, rules: Budgets) -> Hold | None:
    if spent.bounced_today >= rules.bounces_per_day:
        return Hold(ReasonCode.BOUNCE_BURST, f"{spent.bounced_today} came back in a day")
    if spent.company_today >= surge_limit(spent, rules):
        return Hold(ReasonCode.SURGE, f"{spent.company_today} sent today")
    return None
