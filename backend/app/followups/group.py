"""Which follow-ups of a client go in one mail, where the company wishes it.

The one that is looked at leads; with it go those of the same type and client that the policy lets
go at the same moment, each by its own step and on its own fresh rows. Apart stay, and go by
themselves when the client's gap is over:

    what goes from another mailbox, by another channel, or into another conversation
    what has another named template: a word before the due date is none about late invoices
    what no mail could be made of by itself: it is held when it is its turn
    what would make the attached files too large together
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from backend.app.channel import Channel
from backend.app.followups.documents import MOST_BYTES, Documents, DocumentUnusable
from backend.app.followups.group_wording import can_group
from backend.app.followups.particulars import style_of, word_step
from backend.app.followups.policy import Send
from backend.app.followups.situation import Situation, decide_now, load_situation
from backend.app.followups.type_rules import FollowupType
from backend.app.followups.wording import WordingUnusable
from backend.app.store import followups
from backend.app.store.records import MailboxAccount

MOST_IN_A_MAIL = 30


@dataclass(frozen=True, slots=True)
class Member:
    """A follow-up and the step of it that goes in the mail."""

    situation: Situation
    decision: Send

    @property
    def step(self) -> int:
        return self.decision.step


def find_beside(
    session: Session, situation: Situation, decision: Send, now: datetime, *, hold: bool
) -> list[int] | None:
    """The follow-ups that may go with this one; [] where each goes by itself.

    hold: keep their rows until the commit; None when another worker is about to take them.
    """
    type_rules = situation.rules.for_type(situation.followup.type)
    if type_rules is None or not type_rules.group or not _is_groupable(situation, decision):
        return []
    find = followups.lock_beside if hold else followups.list_beside
    return find(session, situation.followup, now, MOST_IN_A_MAIL - 1)


def _is_groupable(situation: Situation, decision: Send) -> bool:
    type_ = FollowupType(situation.followup.type)
    by_mail = decision.channel is Channel.EMAIL
    return by_mail and can_group(type_, style_of(situation, decision.step))


def companions(
    session: Session,
    lead: Member,
    beside: Sequence[int],
    account: MailboxAccount,
    conversation_id: int | None,
    now: datetime,
    documents: Documents,
) -> list[Member]:
    """Those of `beside` that go in the mail of `lead`. Raises DocumentsUnread."""
    found = [_decided(session, each, now) for each in beside]
    fitting = [each for each in found if each and _fits(lead, each, conversation_id)]
    names = [each.situation.followup.document for each in (lead, *fitting)]
    documents.require(lead.situation.company.id, names)
    room = MOST_BYTES - (_size(lead, documents) or 0)
    chosen = []
    for each in fitting:
        size = _size(each, documents)
        if size is not None and size <= room and _has_words(each, account, now):
            chosen.append(each)
            room -= size
    return chosen


def _decided(session: Session, followup_id: int, now: datetime) -> Member | None:
    situation = load_situation(session, followup_id, now)
    decision = decide_now(session, situation, now)
    return Member(situation, decision) if isinstance(decision, Send) else None


def _fits(lead: Member, other: Member, conversation_id: int | None) -> bool:
    ours, theirs = lead.situation, other.situation
    return (
        _is_groupable(theirs, other.decision)
        and theirs.mailbox_id == ours.mailbox_id
        and theirs.followup.conversation_id in (None, conversation_id)
        and style_of(theirs, other.step).template == style_of(ours, lead.step).template
    )


def _size(member: Member, documents: Documents) -> int | None:
    """Octets of the file that goes with it; None for one that cannot go."""
    followup = member.situation.followup
    if not followup.document:
        return 0
    try:
        return len(documents.get(followup.company_id, followup.document).content)
    except DocumentUnusable:
        return None


def _has_words(member: Member, account: MailboxAccount, now: datetime) -> bool:
    try:
        word_step(member.situation, member.step, account, now)
    except WordingUnusable:
        return False
    return True
