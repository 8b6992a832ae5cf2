"""The chapters after the first. What a chapter shows, it checks as well."""

from __future__ import annotations

import hashlib
from datetime import timedelta

from backend.app.followups.reasons import ReasonCode
from backend.app.mail.message import MailKind
from backend.app.models import AutoState, OutboxState
from backend.app.store.admin_records import MessageRow
from backend.demo import rows, story
from backend.demo.correspondent import attach
from backend.demo.shown import show_followups, show_mail, show_thread
from backend.demo.stage import COMPANY_MAILBOXES, Stage
from backend.demo.story import BENALI, CARON, FONTAINE, GLYCINES, MARCHAND, NGUYEN, ROCHE
from backend.demo.workplace import FOLLOWUPS, SYNC

ONE_WEEK = timedelta(days=7)


def tell_first_run(stage: Stage) -> None:
    paper = stage.paper
    paper.chapter("The crons run for the first time")
    paper.say(
        f"{FONTAINE.name}, whom nobody here knows yet, has just written to {story.CONTACT}. "
        "Then come the two lines of the crontab, in cron's bare environment:"
    )
    julie = stage.people[FONTAINE.address]
    mail = julie.write(story.CONTACT, story.ENQUIRY_SUBJECT, story.ENQUIRY)
    julie.send(attach(mail, story.sketch()))
    stage.cron(SYNC)
    stage.cron(FOLLOWUPS)
    paper.say(f"This lies in {MARCHAND.name}'s mailbox now, read from the IMAP server:")
    paper.gap()
    for reminder in stage.reminders(MARCHAND):
        show_mail(paper, reminder)
    paper.gap()
    stage.check_reminders({MARCHAND: 1, GLYCINES: 1, NGUYEN: 1, BENALI: 0, ROCHE: 0})
    _check_first_decisions(stage)


def _check_first_decisions(stage: Stage) -> None:
    followups = rows.load_followups()
    outbox = rows.load_outbox(followups[CARON.address].id)
    stage.paper.check(
        [mail.state for mail in outbox] == [OutboxState.SENT],
        f"{CARON.name}'s reminder was handed to the mail server, once",
        [mail.state for mail in outbox],
    )
    paid, early = followups[BENALI.address], followups[ROCHE.address]
    stage.check_state(paid, AutoState.STOPPED, ReasonCode.PAID, "is not bothered: it is paid")
    stage.check_state(early, AutoState.ACTIVE, ReasonCode.NOT_DUE, "is not bothered: not due yet")


def tell_answers(stage: Stage) -> None:
    paper = stage.paper
    paper.chapter("Clients react")
    paper.say(
        f"{MARCHAND.name} answers with Thunderbird. {NGUYEN.name}'s Exchange answers by itself "
        f"that she is away. {CARON.name}'s address does not exist: the mail server has sent the "
        "reminder back. A minute later cron runs the sync script again:"
    )
    paul, sophie = stage.people[MARCHAND.address], stage.people[NGUYEN.address]
    paul.send(paul.answer(stage.reminders(MARCHAND)[0], story.PAYMENT_PROMISE))
    sophie.send(sophie.out_of_office(stage.reminders(NGUYEN)[0], story.ABSENCE))
    stage.cron(SYNC)
    paper.say("The shared inbox, all conversations of both mailboxes:")
    for thread in rows.load_threads():
        show_thread(paper, thread)
    paper.gap()
    _check_reaction(stage, MARCHAND, MailKind.HUMAN, "the answer")
    _check_reaction(stage, NGUYEN, MailKind.AUTO_REPLY, "the absence notice")
    _check_reaction(stage, CARON, MailKind.BOUNCE, "the returned mail")
    _check_enquiry(stage)


def _check_reaction(stage: Stage, client: story.Person, kind: MailKind, what: str) -> None:
    """In one conversation with the reminder that it reacts to, and taken for what it is."""
    followup = rows.load_followups()[client.address]
    messages = [
        message
        for thread in rows.load_threads()
        if thread.row.id == followup.conversation_id
        for message in thread.messages
    ]
    stage.paper.check(
        [message.kind for message in messages] == [MailKind.OWN, kind],
        f"{client.name}: {what} stands below the reminder, in the same conversation",
        [message.kind for message in messages],
    )


def _check_enquiry(stage: Stage) -> None:
    threads = [each for each in rows.load_threads() if each.row.client_email == FONTAINE.address]
    messages = [message for thread in threads for message in thread.messages]
    stage.paper.check(
        len(messages) == 1 and _file_is_kept(stage, messages[0]),
        f"{FONTAINE.name} is a client now; her sketch is on the disk, byte for byte",
        f"{len(messages)} messages",
    )


def _file_is_kept(stage: Stage, message: MessageRow) -> bool:
    sent = story.sketch()
    digest = hashlib.sha256(sent.content).hexdigest()
    named = [file.filename for file in message.attachments] == [sent.name]
    kept = list((stage.place.directory / "attachments").rglob(digest))
    return named and len(kept) == 1 and kept[0].read_bytes() == sent.content


def tell_next_hour(stage: Stage) -> None:
    paper = stage.paper
    paper.chapter("An hour later")
    paper.say(
        "The demo moves the clock here instead of waiting: it tells the sender to look at every "
        "active follow-up now (it sets next_action_at). Then both crons run again:"
    )
    rows.look_again_now()
    stage.cron(SYNC)
    stage.cron(FOLLOWUPS)
    followups = rows.load_followups()
    show_followups(paper, followups.values())
    paper.gap()
    answered = followups[MARCHAND.address]
    stage.check_state(
        answered, AutoState.STOPPED, ReasonCode.ANSWERED, "gets no more reminders: he has answered"
    )
    for client, what in ((NGUYEN, "an absence notice"), (CARON, "a returned mail")):
        reason = followups[client.address].auto_reason
        paper.check(
            reason != ReasonCode.ANSWERED, f"{client.name}: {what} is not taken for an answer"
        )
    stage.check_reminders({MARCHAND: 1, GLYCINES: 1, NGUYEN: 1, BENALI: 0, ROCHE: 0})
    stage.manage("followup", "explain", str(answered.id))


def tell_next_week(stage: Stage) -> None:
    paper = stage.paper
    paper.chapter("A week later, with every cron job started twice at the same instant")
    paper.say(
        "The clock moves again: all that has happened so far is dated seven days back (due dates "
        f"stay as they are). {FONTAINE.name} writes once more, this time to both mailboxes. Then "
        "two hosts, so to speak, run both scripts at the same instant, on one database:"
    )
    rows.move_clock(ONE_WEEK)
    julie = stage.people[FONTAINE.address]
    julie.send(julie.write(story.CONTACT, story.DETAILS_SUBJECT, story.DETAILS, cc=story.BILLING))
    stage.cron(SYNC, FOLLOWUPS, SYNC, FOLLOWUPS)
    paper.say(f"{GLYCINES.name} has not reacted, and gets a second reminder in the same thread:")
    paper.gap()
    for reminder in stage.reminders(GLYCINES)[1:]:
        show_mail(paper, reminder)
    show_followups(paper, rows.load_followups().values())
    paper.gap()
    stage.check_reminders({GLYCINES: 2, MARCHAND: 1, NGUYEN: 1, BENALI: 0, ROCHE: 0})
    _check_second_reminder(stage)
    returned = rows.load_outbox(rows.load_followups()[CARON.address].id)
    paper.check(
        len(returned) == 1, f"nothing more goes to {CARON.name}'s wrong address", len(returned)
    )
    details = [m for m in _all_messages() if m.subject == story.DETAILS_SUBJECT]
    paper.check(
        len(details) == 1, "the mail to both mailboxes is one message in the inbox", len(details)
    )


def _check_second_reminder(stage: Stage) -> None:
    ids = [str(mail["Message-ID"]) for mail in stage.reminders(GLYCINES)]
    answers_to = [mail["In-Reply-To"] for mail in stage.reminders(GLYCINES)]
    stage.paper.check(
        answers_to == [None, *ids[:1]], "the second reminder refers to the first", answers_to
    )
    sent = [m for m in _all_messages() if m.external_id in {each.strip("<>") for each in ids}]
    followup = rows.load_followups()[GLYCINES.address]
    stage.paper.check(
        len(sent) == 2 and followup.steps_sent == 2,
        "both stand in the shared inbox, and the follow-up counts two",
        f"{len(sent)} messages, {followup.steps_sent} steps",
    )


def _all_messages() -> list[MessageRow]:
    return [message for thread in rows.load_threads() for message in thread.messages]


def tell_balance(stage: Stage) -> None:
    paper = stage.paper
    paper.chapter("The books")
    paper.say("The next minute's sync files what still lay on the server, and then:")
    stage.cron(SYNC)
    stage.manage("status")
    on_server = {
        f"{address} {folder}": stage.people[address].count(folder=folder)
        for address in COMPANY_MAILBOXES
        for folder in ("INBOX", "Sent")
    }
    ledger = rows.load_ledger()
    paper.table(
        ("MAILS ON THE SERVER", ""), [(where, str(many)) for where, many in on_server.items()]
    )
    paper.gap()
    copies = sum(many for where, many in on_server.items() if where.endswith("Sent"))
    paper.check(copies == 5, "five reminders went out in all: a copy of each lies in Sent", copies)
    met = " + ".join(f"{many} {state}" for state, many in sorted(ledger.items()))
    paper.check(
        sum(ledger.values()) == sum(on_server.values()),
        f"nothing is lost: {sum(on_server.values())} mails on the server = {met}",
        sum(ledger.values()),
    )
    paper.check(ledger.keys() <= {"stored", "duplicate"}, "nothing is ignored or in quarantine")
    _check_mailboxes_untouched(stage)
    found = stage.place.lock_trouble()
    paper.check(
        not found, 'nothing is found by  grep -i "lock\\|deadlock\\|timeout"  in both logs', found
    )


def _check_mailboxes_untouched(stage: Stage) -> None:
    inboxes = [stage.people[address] for address in COMPANY_MAILBOXES]
    seen = sum(inbox.count("SEEN") for inbox in inboxes)
    stage.paper.check(
        seen == 0, "the mailboxes are as their owner left them: no mail is marked as read", seen
    )
