"""What a reminder says of its follow-up: from the rows and the company's rules to its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from urllib.parse import quote
from zoneinfo import ZoneInfo

from backend.app.followups.company_rules import LINK_BLANKS, is_web_address
from backend.app.followups.group_wording import Item, render_group
from backend.app.followups.late_payment import LateDue, late_due
from backend.app.followups.situation import Situation
from backend.app.followups.text_wording import render_text
from backend.app.followups.type_rules import FollowupType
from backend.app.followups.values import WordingContext, is_payable
from backend.app.followups.wording import MissingVariable, Style, Wording, render
from backend.app.store.records import DueFollowup, MailboxAccount


def word_step(situation: Situation, step: int, account: MailboxAccount, now: datetime) -> Wording:
    """Raises MissingVariable."""
    followup, company = situation.followup, situation.company
    return render(
        FollowupType(followup.type),
        style_of(situation, step),
        followup.client_language or company.language,
        wording_context(situation, account, step, now),
    )


def word_text(situation: Situation, step: int, account: MailboxAccount, now: datetime) -> str:
    """The words of a text message. Raises MissingVariable or WordingUnusable."""
    followup, company = situation.followup, situation.company
    return render_text(
        FollowupType(followup.type),
        style_of(situation, step),
        followup.client_language or company.language,
        wording_context(situation, account, step, now),
    )


def word_group(
    steps: Sequence[tuple[Situation, int]], account: MailboxAccount, now: datetime
) -> Wording:
    """One mail about several, in the firmest of their tones, the longest due first.

    Raises MissingVariable.
    """
    first, _ = steps[0]
    styles = [style_of(*each) for each in steps]
    firmest = max(style.escalation for style in styles)
    in_order = sorted(
        steps, key=lambda each: (each[0].facts.due_date or date.max, each[0].followup.id)
    )
    items = [
        Item(wording_context(each, account, step, now), each.facts.sent_before is not None)
        for each, step in in_order
    ]
    return render_group(
        FollowupType(first.followup.type),
        replace(styles[0], escalation=firmest),
        first.followup.client_language or first.company.language,
        items,
    )


def style_of(situation: Situation, step: int) -> Style:
    """A step before an invoice's due date has words of its own: nothing is late yet."""
    rules = situation.rules.for_type(situation.followup.type)
    assert rules is not None  # noqa: S101
    planned = rules.plan[step - 1]
    template = planned.template
    early = planned.days_from_due is not None and planned.days_from_due < 0
    if template is None and early and situation.followup.type == FollowupType.INVOICE_UNPAID:
        template = "invoice_soon_due"
    return Style(rules.escalation_of(step), template, situation.rules.templates)


def sender_name(situation: Situation, account: MailboxAccount) -> str:
    return situation.rules.mail.sender_name or account.from_name


def wording_context(
    situation: Situation, account: MailboxAccount, step: int, now: datetime
) -> WordingContext:
    """Raises MissingVariable for a link that no client could follow."""
    followup, company, mail = situation.followup, situation.company, situation.rules.mail
    today = now.astimezone(ZoneInfo(company.timezone)).date()
    days_late = (today - followup.due_date).days if followup.due_date else None
    return WordingContext(
        company_name=company.name,
        client_name=followup.client_name,
        source_label=followup.source_label,
        amount=followup.amount,
        currency=followup.currency,
        due_date=followup.due_date,
        days_late=days_late,
        sender_name=sender_name(situation, account),
        sender_email=account.email,
        client_email=followup.client_email or "",
        signature=mail.signature,
        payment_link=_link(
            "payment_link", followup.payment_link or _filled_link(mail.payment_link, followup)
        ),
        signature_link=_link("signature_link", followup.signature_link or mail.signature_link),
        late=_late(situation, step, days_late),
    )


def _filled_link(pattern: str | None, followup: DueFollowup) -> str | None:
    """The company's link for this follow-up; None when it lacks what the link is made of."""
    amount = None if followup.amount is None else f"{followup.amount:.2f}"
    values = (followup.source_id, followup.source_label, amount)
    for name, value in zip(LINK_BLANKS, values, strict=True):
        if pattern is not None and name in pattern:
            pattern = pattern.replace(name, quote(value, safe="")) if value else None
    return pattern


def _link(name: str, url: str | None) -> str | None:
    if url is not None and not is_web_address(url):
        raise MissingVariable(name)
    return url


def _late(situation: Situation, step: int, days_late: int | None) -> LateDue | None:
    """What a late invoice costs a professional in France besides; None where it does not apply.

    A client of whom nobody said that it is a business counts as a consumer, who owes none of it.
    """
    followup, rules = situation.followup, situation.rules.late_payment
    owed = (
        rules.from_step is not None
        and step >= rules.from_step
        and followup.type == FollowupType.INVOICE_UNPAID
        and followup.client_is_professional
        and situation.company.country.strip().upper() == "FR"
        and followup.currency.strip().upper() == "EUR"
    )
    balance = followup.amount or Decimal(0)
    if not owed or not is_payable(balance) or days_late is None or days_late < 1:
        return None
    due = late_due(balance, days_late, rules.charge, rules.rate_percent)
    return due if due.total > balance else None
