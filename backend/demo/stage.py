"""What the chapters of the demo share: its servers, its directory, its people, its paper."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from email.message import EmailMessage

from backend.app.store.admin_records import FollowupRow
from backend.demo import story
from backend.demo.correspondent import Correspondent
from backend.demo.paper import Paper
from backend.demo.servers import MailServers
from backend.demo.story import Person
from backend.demo.workplace import CronScript, Workplace

PASSWORD = "only for this demo"
COMPANY_MAILBOXES = (story.BILLING, story.CONTACT)


@dataclass
class Stage:
    """people: by address, whoever has a mailbox on the servers."""

    place: Workplace
    servers: MailServers
    paper: Paper
    people: dict[str, Correspondent] = field(default_factory=dict)

    def add_person(self, name: str, address: str) -> None:
        account = self.servers.add_account(address, PASSWORD)
        self.people[address] = Correspondent(self.servers, account, name)

    def manage(self, *arguments: str, typed: str = "") -> None:
        """Run manage.py; show the command and its answer. typed: its standard input."""
        answer = self.place.manage(*arguments, typed=typed)
        self.paper.command(f"manage.py {shlex.join(arguments)}", answer)

    def cron(self, *scripts: CronScript) -> None:
        """Start scripts at the same instant, as cron does, and show how their logs end."""
        summaries = self.place.run_cron(*scripts)
        self.paper.gap()
        for script in scripts:
            background = " &" if len(scripts) > 1 else ""
            self.paper.heading(f"$ {script.file} >> {script.log} 2>&1{background}")
        self.paper.log(summaries)

    def reminders(self, person: Person) -> list[EmailMessage]:
        """What the company has sent to somebody, as it lies in that mailbox."""
        if not person.has_mailbox:
            return []
        mails = self.people[person.address].read()
        return [mail for mail in mails if mail["From"].addresses[0].addr_spec in COMPANY_MAILBOXES]

    def check_reminders(self, expected: dict[Person, int]) -> None:
        """In each client's mailbox lie exactly so many reminders."""
        for person, number in expected.items():
            found = len(self.reminders(person))
            words = {0: "no reminder", 1: "exactly 1 reminder"}.get(number, f"{number} reminders")
            self.paper.check(found == number, f"{person.name} has {words} in the mailbox", found)

    def check_state(self, row: FollowupRow, state: str, reason: str, claim: str) -> None:
        self.paper.check(
            (row.auto_state, row.auto_reason) == (state, reason),
            f"{row.client_name} {claim}",
            f"{row.auto_state}, {row.auto_reason}",
        )
