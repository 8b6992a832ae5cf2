"""Where a mail belongs: every rule of placement.py, and who it keeps out (I4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backend.app.inbox.placement import Placement, PlacementFacts, place
from backend.app.store.records import Known, Reminder

OWN = frozenset({"contact@dubois.test", "claire@dubois.test"})
CLIENT = "jean@client.test"
COLLEAGUE = "anne@client.test"
OTHER_CLIENT = "paul@other.test"
STRANGER = "eve@stranger.test"

FROM_CLIENT = Known(
    "from-client", 1, CLIENT, frozenset({CLIENT, "contact@dubois.test", COLLEAGUE}), True
)
FROM_US = Known("from-us", 1, CLIENT, frozenset({"contact@dubois.test", CLIENT}), False)
ELSEWHERE = Known("elsewhere", 2, CLIENT, frozenset({"contact@dubois.test", CLIENT}), False)
ABOUT_ROOF = Known(
    "about-roof", 1, CLIENT, frozenset({CLIENT, "contact@dubois.test"}), False, "Re: La toiture"
)
ROOF_IN_CC = replace(ABOUT_ROOF, participants=ABOUT_ROOF.participants | {COLLEAGUE})
REMINDER_FILED = Known(
    "reminder", 1, CLIENT, frozenset({"contact@dubois.test"}), False, "Votre devis D-12"
)
REMINDER = Reminder(7, 70, CLIENT, "billing@client.test", 5)
UNSETTLED = Reminder(8, 70, CLIENT, CLIENT, None)


def facts(**more: Any) -> PlacementFacts:
    values: dict[str, Any] = {
        "message_id": "new",
        "sender_key": CLIENT,
        "recipient_keys": frozenset({"contact@dubois.test"}),
        "own_keys": OWN,
        "ours": False,
        "known": (FROM_CLIENT, FROM_US, ELSEWHERE),
        "reminders": {"reminder": REMINDER, "unsettled": UNSETTLED},
    }
    return PlacementFacts(**(values | more))


def from_us(*recipients: str, **more: Any) -> PlacementFacts:
    return facts(
        sender_key="contact@dubois.test", recipient_keys=frozenset(recipients), ours=True, **more
    )


NEW = Placement("new_thread")

RULES = [
    ("nothing is referred to", facts(), NEW),
    ("an unknown message is referred to", facts(references=("nobody-knows",)), NEW),
    # 1. own_reminder
    (
        "our reminder is met in Sent",
        from_us(CLIENT, message_id="reminder"),
        Placement("own_reminder", 5, REMINDER),
    ),
    (
        "our reminder is met in Sent before its settlement",
        from_us(CLIENT, message_id="unsettled"),
        Placement("own_reminder", None, UNSETTLED),
    ),
    (
        "a client's mail bears our reminder's Message-ID",
        facts(sender_key=STRANGER, message_id="reminder"),
        NEW,
    ),
    # 2. bounce_of
    (
        "a reminder comes back",
        facts(sender_key="mailer-daemon@mx.test", bounce_of="reminder"),
        Placement("bounce_of", 5, REMINDER),
    ),
    (
        "a mail of ours comes back",
        facts(sender_key="mailer-daemon@mx.test", bounce_of="from-us"),
        Placement("bounce_of", 1),
    ),
    (
        "a forged bounce returns a mail that we did not send",
        facts(sender_key=STRANGER, bounce_of="from-client"),
        NEW,
    ),
    (
        "a forged bounce refers to a client's mail besides",
        facts(sender_key=STRANGER, bounce_of="from-client", references=("from-us",)),
        NEW,
    ),
    ("a bounce of an unknown mail", facts(sender_key=STRANGER, bounce_of="nobody-knows"), NEW),
    # 3. reminder
    (
        "the client answers the reminder from another address than it went to",
        facts(references=("reminder",)),
        Placement("reminder", 5, REMINDER),
    ),
    (
        "the address that the reminder went to answers",
        facts(sender_key="billing@client.test", references=("reminder",)),
        Placement("reminder", 5, REMINDER),
    ),
    (
        "the answer is faster than the settlement",
        facts(references=("unsettled",)),
        Placement("reminder", None, UNSETTLED),
    ),
    (
        "a stranger has got hold of the reminder's Message-ID",
        facts(sender_key=STRANGER, references=("reminder",)),
        NEW,
    ),
    (
        "another client has got hold of the reminder's Message-ID",
        facts(sender_key=OTHER_CLIENT, references=("reminder",)),
        NEW,
    ),
    # 4. references
    (
        "the client answers us",
        facts(references=("from-us",)),
        Placement("references", 1),
    ),
    (
        "the client writes again under an own mail",
        facts(references=("from-client",)),
        Placement("references", 1),
    ),
    (
        "somebody in Cc answers",
        facts(sender_key=COLLEAGUE, references=("from-client",)),
        Placement("references", 1),
    ),
    (
        "a stranger has got hold of a Message-ID of ours",
        facts(sender_key=STRANGER, references=("from-us",)),
        NEW,
    ),
    (
        "a stranger refers to everything there is",
        facts(sender_key=STRANGER, references=("from-us", "from-client", "reminder", "elsewhere")),
        NEW,
    ),
    (
        "a mail without a sender",
        facts(
            sender_key="",
            references=("from-us",),
            known=(Known("from-us", 1, None, frozenset({"", CLIENT}), False),),
        ),
        NEW,
    ),
    (
        "a sender who only shares our own address with the message referred to",
        facts(sender_key="contact@dubois.test", references=("from-client",)),
        NEW,
    ),
    (
        "the nearest reference comes first",
        facts(references=("elsewhere", "from-us")),
        Placement("references", 2),
    ),
    (
        "a nearer reference that is not the sender's is passed over",
        facts(sender_key=COLLEAGUE, references=("elsewhere", "from-client")),
        Placement("references", 1),
    ),
    (
        "a nearer message comes before a farther reminder",
        facts(references=("from-us", "reminder")),
        Placement("references", 1),
    ),
    # 4. references, our own mails
    (
        "we answer the client",
        from_us(CLIENT, references=("from-client",)),
        Placement("references", 1),
    ),
    (
        "we answer somebody in Cc alone",
        from_us(COLLEAGUE, references=("from-client",)),
        Placement("references", 1),
    ),
    (
        "we forward one client's mail to another",
        from_us(OTHER_CLIENT, references=("from-client",)),
        NEW,
    ),
    (
        "we pass a client's mail on inside the company",
        from_us("claire@dubois.test", "contact@dubois.test", references=("from-client",)),
        NEW,
    ),
    # 4. other_subject
    (
        "the client answers us under another subject",
        facts(references=("about-roof",), known=(ABOUT_ROOF,), subject="Devis cuisine"),
        Placement("other_subject"),
    ),
    (
        "the subject has changed by a prefix of some gateway",
        facts(references=("about-roof",), known=(ABOUT_ROOF,), subject="[EXT] RE : La  Toiture"),
        Placement("references", 1),
    ),
    (
        "a gateway has spoilt the accents",
        facts(references=("about-roof",), known=(ABOUT_ROOF,), subject="Re: la toitur?"),
        Placement("references", 1),
    ),
    (
        "a vacation notice has a subject of its own",
        facts(references=("about-roof",), known=(ABOUT_ROOF,), subject="Absence", by_person=False),
        Placement("references", 1),
    ),
    (
        "a reply without a subject",
        facts(references=("about-roof",), known=(ABOUT_ROOF,), subject=""),
        Placement("references", 1),
    ),
    (
        "the answer to a reminder bears another subject",
        facts(references=("reminder",), subject="Virement effectué"),
        Placement("reminder", 5, REMINDER),
    ),
    (
        "somebody in Cc of the thread answers the reminder, which bears a subject of its own",
        facts(
            sender_key=COLLEAGUE,
            references=("reminder", "about-roof"),
            known=(ROOF_IN_CC, REMINDER_FILED),
            subject="Re: Votre devis D-12",
        ),
        Placement("references", 1),
    ),
    (
        "a subject is that of a mail in somebody else's conversation",
        facts(
            references=("reminder-filed", "about-roof"),
            known=(
                ABOUT_ROOF,
                replace(
                    REMINDER_FILED, external_id="reminder-filed", conversation_id=2, client_key=None
                ),
            ),
            sender_key=CLIENT,
            subject="Re: Votre devis D-12",
        ),
        Placement("other_subject"),
    ),
    # 5. answered_by
    (
        "the client's first mail arrives after our answer to it",
        facts(answers=(FROM_US,)),
        Placement("answered_by", 1),
    ),
    (
        "our mail arrives after the client's answer to it",
        from_us(CLIENT, answers=(FROM_CLIENT,)),
        Placement("answered_by", 1),
    ),
    (
        "a stranger bears the Message-ID that a client answered",
        facts(sender_key=STRANGER, answers=(FROM_CLIENT,)),
        NEW,
    ),
    (
        "our mail to somebody else bears that Message-ID",
        from_us(OTHER_CLIENT, answers=(FROM_CLIENT,)),
        NEW,
    ),
    (
        "what it refers to is stronger than what refers to it",
        facts(references=("elsewhere",), answers=(FROM_US,)),
        Placement("references", 2),
    ),
    # 6. subject
    (
        "a reply without references has a known subject",
        facts(same_subject=3),
        Placement("subject", 3),
    ),
    (
        "a reference is stronger than a subject",
        facts(references=("from-us",), same_subject=3),
        Placement("references", 1),
    ),
    (
        "a reference that proves nothing leaves the subject",
        facts(references=("nobody-knows",), same_subject=3),
        Placement("subject", 3),
    ),
]


@pytest.mark.parametrize(
    ("given", "expected"), [rule[1:] for rule in RULES], ids=[rule[0] for rule in RULES]
)
def test_placement(given: PlacementFacts, expected: Placement) -> None:
    assert place(given) == expected


def test_two_messages_that_share_a_message_id_are_both_looked_at() -> None:
    forged = Known("from-us", 9, STRANGER, frozenset({STRANGER}), True)
    known = (forged, FROM_US)
    assert place(facts(references=("from-us",), known=known)) == Placement("references", 1)
    by_stranger = facts(sender_key=STRANGER, references=("from-us",), known=known)
    assert place(by_stranger) == Placement("references", 9)
