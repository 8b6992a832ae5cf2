"""Which conversation a mail belongs to, and why (I4). Pure.

The first rule that fits decides:

 1. it is one of our own reminders (met in Sent)  -> the reminder's conversation    own_reminder
 2. it is a bounce of one of our mails, or a complaint about one  -> its conversation  bounce_of
 3. it refers to one of our reminders, and its sender takes part in it              reminder
 4. it refers to a known message (nearest first), and its sender takes part in it   references
    ... but a person has given it another subject than all that it refers to there  other_subject
 5. a known message is a reply to it, which arrived earlier, and its sender takes
    part in that one                                                                answered_by
 6. its subject is a reply to one of the same client's recent conversations         subject
 7. otherwise a new conversation                                                    new_thread

To take part: the client of the conversation, a sender or recipient of the message referred to.
A mail that we sent takes part where one of its recipients does, so that forwarding one client's
mail to another does not put the second into the conversation of the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from backend.app.mail.subject import is_another_subject
from backend.app.store.records import Known, Reminder


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementFacts:
    """What is known when a mail is placed. All addresses are keys, all ids of one company.

    ours        the mail is from one of the company's own addresses
    references  Message-IDs that it refers to, the nearest ancestor first
    bounce_of   of the mail that came back or was complained about
    answers     known messages that are replies to this mail: it arrives after them
    by_person   a person wrote it; programs change subjects for reasons of their own
    """

    message_id: str
    sender_key: str
    recipient_keys: frozenset[str]
    own_keys: frozenset[str]
    ours: bool
    references: Sequence[str] = ()
    bounce_of: str | None = None
    known: Sequence[Known] = ()
    reminders: Mapping[str, Reminder] = field(default_factory=dict)
    answers: Sequence[Known] = ()
    subject: str = ""
    by_person: bool = True
    same_subject: int | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """An existing conversation, or a reminder's (which may have to be opened), or neither: new."""

    reason: str
    conversation_id: int | None = None
    reminder: Reminder | None = None


def place(facts: PlacementFacts) -> Placement:
    if facts.ours and facts.message_id in facts.reminders:
        return _of_reminder("own_reminder", facts.reminders[facts.message_id])
    if facts.bounce_of is not None and (placement := _of_bounce(facts, facts.bounce_of)):
        return placement
    for reference in facts.references:
        if placement := _of_reference(facts, reference):
            return placement
    for answer in facts.answers:
        if _takes_part(facts, _circle(answer)):
            return Placement("answered_by", answer.conversation_id)
    if facts.same_subject is not None:
        return Placement("subject", facts.same_subject)
    return Placement("new_thread")


def _of_reminder(reason: str, reminder: Reminder) -> Placement:
    return Placement(reason, reminder.conversation_id, reminder)


def _of_bounce(facts: PlacementFacts, original: str) -> Placement | None:
    # A delivery notice comes from a mail system that takes part in nothing: what counts is that
    # it returns a mail of ours.
    if original in facts.reminders:
        return _of_reminder("bounce_of", facts.reminders[original])
    for message in facts.known:
        if message.external_id == original and not message.is_from_client:
            return Placement("bounce_of", message.conversation_id)
    return None


def _of_reference(facts: PlacementFacts, reference: str) -> Placement | None:
    reminder = facts.reminders.get(reference)
    if reminder is not None:
        circle = {reminder.recipient_key, reminder.client_key}
        if _takes_part(facts, frozenset(key for key in circle if key)):
            return _of_reminder("reminder", reminder)
    for message in facts.known:
        if message.external_id != reference:
            continue
        if _takes_part(facts, _circle(message)):
            if facts.by_person and _begins_another_matter(facts, message.conversation_id):
                return Placement("other_subject")
            return Placement("references", message.conversation_id)
    return None


def _begins_another_matter(facts: PlacementFacts, conversation_id: int) -> bool:
    """Whether the subject is none of those that the mail refers to in this conversation.

    Reminders bear subjects of their own: who answers one that was passed on to him, and takes part
    by an earlier mail of the thread, speaks of the reminder's matter.
    """
    return all(
        is_another_subject(message.subject, facts.subject)
        for message in facts.known
        if message.conversation_id == conversation_id
    )


def _circle(message: Known) -> frozenset[str]:
    return (message.participants | {message.client_key or ""}) - {""}


def _takes_part(facts: PlacementFacts, circle: frozenset[str]) -> bool:
    outside = circle - facts.own_keys
    if facts.ours:
        return bool(facts.recipient_keys & outside)
    return facts.sender_key in outside
