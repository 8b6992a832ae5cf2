"""Whether a step that is due may go out beside all that went out already (I8). Pure.

Asked after the policy has said Send, with the client's and the mailbox's rows held, so that two
runs at the same instant can't both find room for the last one.

     #  when                                                          decision
     1  the run has sent the company's share of a run                 Wait  run_budget
     2  another run is sending a mail to this client                  Wait  client_gap
     3  the client had a mail of any follow-up too short a time ago   Wait  client_gap
     4  the mailbox has sent its share of the day                     Wait  mailbox_budget
     5  more of the company's mails came back today than may          Hold  bounce_burst
     6  the company has sent far more today than on a usual day       Hold  surge

A person's release lets one step pass 5 and 6.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from backend.app.followups.calendar import ONE_DAY, start_of_day
from backend.app.followups.company_rules import Budgets, FollowupCalendar
from backend.app.followups.facts import Hold, Wait
from backend.app.followups.reasons import ReasonCode
from backend.app.followups.settings import FollowupRules
from backend.app.store.records import Spent

OTHER_RUN_RETRY = timedelta(minutes=5)
USUAL_OVER_WEEKS = 4


def check_budgets(
    spent: Spent, rules: FollowupRules, zone: ZoneInfo, now: datetime, *, approved: bool
) -> Wait | Hold | None:
    """None: it may go out. approved: a person has let this step go on."""
    budgets = rules.budgets
    if spent.in_run >= budgets.per_run:
        return Wait(now + OTHER_RUN_RETRY, ReasonCode.RUN_BUDGET, f"{spent.in_run} sent")
    return (
        _client_gap(spent, budgets, zone, now)
        or _mailbox_share(spent, budgets, zone, now)
        or (None if approved else _breaker(spent, rules))
    )


def surge_limit(spent: Spent, rules: FollowupRules) -> int:
    """How many of the company's mails of one day are still no surge."""
    usual = spent.company_before / (USUAL_OVER_WEEKS * _days_a_week(rules))
    return max(rules.budgets.surge_minimum, int(rules.budgets.surge_factor * usual))


def _days_a_week(rules: FollowupCalendar) -> int:
    return len(rules.window.days)


def _client_gap(spent: Spent, budgets: Budgets, zone: ZoneInfo, now: datetime) -> Wait | None:
    if not budgets.client_gap_days:
        return None
    if spent.client_waits:
        return Wait(now + OTHER_RUN_RETRY, ReasonCode.CLIENT_GAP)
    if spent.client_mail_at is None:
        return None
    day = _local_day(spent.client_mail_at, zone) + budgets.client_gap_days * ONE_DAY
    free_at = start_of_day(day, zone)
    if now >= free_at:
        return None
    return Wait(free_at, ReasonCode.CLIENT_GAP, f"next on {day.isoformat()}")


def _mailbox_share(spent: Spent, budgets: Budgets, zone: ZoneInfo, now: datetime) -> Wait | None:
    if spent.mailbox_today < budgets.per_mailbox_per_day:
        return None
    tomorrow = start_of_day(_local_day(now, zone) + ONE_DAY, zone)
    return Wait(tomorrow, ReasonCode.MAILBOX_BUDGET, f"{spent.mailbox_today} sent today")


def _breaker(spent: Spent, rules: FollowupRules) -> Hold | None:
    if spent.bounced_today >= rules.budgets.bounces_per_day:
        return Hold(ReasonCode.BOUNCE_BURST, f"{spent.bounced_today} came back in a day")
    if spent.company_today >= surge_limit(spent, rules):
        return Hold(ReasonCode.SURGE, f"{spent.company_today} sent today")
    return None


def _local_day(moment: datetime, zone: ZoneInfo) -> date:
    return moment.astimezone(zone).date()
