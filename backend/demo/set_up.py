"""The first chapter: a company is set up, with the commands that a user has."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from backend.demo import rows, story
from backend.demo.stage import COMPANY_MAILBOXES, PASSWORD, Stage


def tell_installation(stage: Stage) -> None:
    """People get mailboxes, and Relance a directory with a key and a database."""
    paper = stage.paper
    paper.title(f"Relance: a week in the life of the {story.COMPANY}")
    paper.chapter("A company, its mailboxes and its clients")
    for address in COMPANY_MAILBOXES:
        stage.add_person(story.OWNER, address)
    for person in (*story.CLIENTS, story.FONTAINE):
        if person.has_mailbox:
            stage.add_person(person.name, person.address)
    paper.say(
        "An IMAP and an SMTP server run inside this demo, on loopback, and carry mail between "
        "the company and its clients. No mail leaves this machine. Everything else is the real "
        "thing; `manage.py` stands for `python backend/scripts/manage.py`:"
    )
    stage.manage("init")


def tell_company(stage: Stage) -> None:
    """The company, its mailboxes, its clients and what they owe."""
    stage.manage("company", "add", story.COMPANY)
    stage.paper.say("(By default reminders go out on working days; a demo runs at any hour.)")
    stage.manage("settings", "set", "--company", "1", "followups.window", story.ANY_HOUR)
    stage.manage("settings", "set", "--company", "1", "followups.holidays.observed", "false")
    for address in COMPANY_MAILBOXES:
        _add_mailbox(stage, address)
    stage.paper.say("(Passwords come from a prompt or standard input, never from an argument.)")
    today = datetime.now(ZoneInfo(story.TIME_ZONE)).date()
    file = stage.place.directory / story.CSV_FILE
    file.write_text(story.invoices_csv(today), encoding="utf-8")
    stage.manage("followup", "import", story.CSV_FILE, "--company", "1")
    quote, prospect = story.QUOTE, story.QUOTE.client
    stage.manage(
        *("client", "add", "--company", "1"),
        *("--email", prospect.address, "--name", prospect.name),
    )
    stage.manage(
        *("followup", "add", "--company", "1"),
        *("--client", str(rows.find_client(prospect.address))),
        *("--type", quote.type, "--label", quote.label),
        *("--due-date", quote.due_date(today).isoformat()),
    )
    _do_what_the_host_application_does(stage)


def _add_mailbox(stage: Stage, address: str) -> None:
    servers = stage.servers
    stage.manage(
        *("mailbox", "add", "--company", "1", "--email", address),
        *("--from-name", story.OWNER, "--password-stdin"),
        *("--imap-host", servers.host, "--imap-port", str(servers.imap_port)),
        *("--imap-security", "plain"),
        *("--smtp-host", servers.host, "--smtp-port", str(servers.smtp_port)),
        *("--smtp-security", "plain"),
        typed=f"{PASSWORD}\n",
    )


def _do_what_the_host_application_does(stage: Stage) -> None:
    followups = rows.load_followups()
    rows.mark_paid(followups[story.BENALI.address])
    rows.send_from(followups[story.NGUYEN.address], story.CONTACT)
    stage.paper.say(
        f"The company's own software shares the tables. It has noted that {story.BENALI.name} "
        f"has paid, and that quotes go out from {story.CONTACT}. So this is how it stands:"
    )
    stage.paper.table(
        ("CLIENT", "ABOUT", "AMOUNT", "HOW IT STANDS"),
        [
            (case.client.name, case.label, f"{case.amount} €" if case.amount else "-", case.told)
            for case in story.CASES
        ],
    )
    stage.paper.gap()
    stage.paper.check(
        followups.keys() == {case.client.address for case in story.CASES},
        "six clients, each with one thing to be reminded of",
        sorted(followups),
    )
