"""A client's data: exported as it is, erased for good, and nobody else's touched."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from email import message_from_bytes
from email.policy import default
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from backend.app import db
from backend.app.errors import ClaimLost, Refused, StorageFault
from backend.app.followups.claim import begin_sending
from backend.app.inbox import erased, prepare
from backend.app.inbox.erased import remove_erased_files
from backend.app.inbox.files import remove_unless_wanted
from backend.app.models import (
    Client,
    Conversation,
    ErasedFile,
    Followup,
    FollowupHistory,
    InboxMessage,
    LedgerEntry,
    MailboxState,
    MessageAttachment,
    OutboxMail,
    QuarantinedMail,
)
from backend.app.operate.export import named, slug
from backend.app.operate.rebuilt import rebuild_mail
from backend.app.store import belongings, clients, erasure
from tests.coexistence.scenes import Mailbox, mail_with_file, new_mailbox
from tests.coexistence.waiting import wait_until_blocked
from tests.followups.office import LEASE_SECONDS, everything, open_office
from tests.installation import Installation, mail
from tests.operate.conftest import Manage
from tests.servers.databases import Database
from tests.servers.shared import wait_until

CLAIRE, PAUL = "claire@client.test", "paul@client.test"


@dataclass
class Scene:
    """A company that Claire and Paul have written to; the reminder to Claire went out."""

    installation: Installation
    imap: Any
    box: Mailbox
    claire: int
    paul: int
    followup: int

    @property
    def files(self) -> set[Path]:
        root = self.installation.settings.attachments_dir
        return {path for path in root.rglob("*") if path.is_file()}

    def age_files(self) -> None:
        """As if every file had come long ago."""
        for path in self.files:
            os.utime(path, (0, 0))


@pytest.fixture
def scene(installation: Installation, embedded_imap: Any, embedded_smtp: Any) -> Scene:
    box = new_mailbox(installation, embedded_imap, embedded_smtp)
    to = box.account.address
    shared = mail_with_file(sender=f"Claire <{CLAIRE}>", to=to, message_id="<one@client.test>")
    other = shared.replace(CLAIRE.encode(), PAUL.encode()).replace(b"<one@", b"<two@")
    for raw in (shared, other, mail_with_file(sender=CLAIRE, to=to), mail(sender=PAUL, to=to)):
        embedded_imap.append(box.account, raw)
    installation.sync()
    ids = {row.email_key: row.id for row in installation.rows(Client)}
    followup = installation.add_followup(box.company_id, ids[CLAIRE], auto_stop_on_response=False)
    installation.send()
    return Scene(installation, embedded_imap, box, ids[CLAIRE], ids[PAUL], followup)


def erase(manage: Manage, client: int, **more: Any) -> Any:
    return manage.json("client", "erase", client, "--yes", **more)


def rows_of(installation: Installation, client: int) -> int:
    return sum(
        installation.count(model, model.client_id == client)
        for model in (Conversation, Followup, OutboxMail)
    ) + installation.count(Client, Client.id == client)


# -- erase -------------------------------------------------------------------------------------


def test_nothing_of_the_client_is_left_and_everything_of_the_others(
    scene: Scene, manage: Manage
) -> None:
    installation = scene.installation
    assert rows_of(installation, scene.claire) >= 4
    assert len(scene.files) == 2  # Paul's is the same as one of Claire's
    scene.age_files()
    before = installation.count(InboxMessage, InboxMessage.from_key == PAUL)
    done = erase(manage, scene.claire)
    assert (done["files_removed"], done["files_left"]) == (1, 0)
    assert rows_of(installation, scene.claire) == 0
    assert installation.count(FollowupHistory) == 0
    for table, rows in everything(installation).items():
        assert CLAIRE not in str(rows), table
    assert installation.count(InboxMessage, InboxMessage.from_key == PAUL) == before == 2
    assert len(scene.files) == 1
    assert installation.count(MessageAttachment) == 1
    assert installation.count(ErasedFile) == 0


def test_erased_mail_does_not_come_back_whatever_the_server_does(
    scene: Scene, manage: Manage
) -> None:
    installation, account = scene.installation, scene.box.account
    met = installation.count(LedgerEntry)
    erase(manage, scene.claire)
    installation.sync()
    assert installation.count(Client, Client.email_key == CLAIRE) == 0
    assert installation.count(LedgerEntry) == met  # the ledger keeps a row for each UID
    scene.imap.new_uidvalidity(account)
    copy = mail_with_file(sender=CLAIRE, to=account.address, message_id="<new@client.test>")
    report = installation.sync()
    assert report.counts.get("quarantined", 0) == 0
    assert installation.count(Client, Client.email_key == CLAIRE) == 0
    assert installation.count(InboxMessage, InboxMessage.from_key == CLAIRE) == 0
    # A new mail is a new contact.
    scene.imap.append(account, copy)
    installation.sync()
    assert installation.count(InboxMessage, InboxMessage.from_key == CLAIRE) == 1


def test_files_of_erased_mail_that_was_fetched_again_go_too(scene: Scene, manage: Manage) -> None:
    installation = scene.installation
    scene.age_files()
    erase(manage, scene.claire)
    scene.imap.new_uidvalidity(scene.box.account)
    installation.sync()
    assert installation.count(ErasedFile) > 0
    scene.age_files()
    settings, company = installation.settings, scene.box.company_id
    remove_erased_files(settings.attachments_dir, company, settings.sync_lease_seconds)
    assert installation.count(ErasedFile) == 0
    assert len(scene.files) == 1


def test_an_erasure_killed_before_its_files_is_finished_by_the_audit(scene: Scene) -> None:
    installation = scene.installation
    db.write(erasure.erase, db.read(belongings.find_client, None, scene.claire))  # and killed
    scene.age_files()
    assert (installation.count(ErasedFile), len(scene.files)) == (2, 2)
    long_ago = db.utc_now() - timedelta(hours=2)
    installation.set(MailboxState, scene.box.id, audited_at=long_ago)
    installation.sync()
    assert (installation.count(ErasedFile), len(scene.files)) == (0, 1)


def test_the_ledger_still_adds_up(scene: Scene, manage: Manage) -> None:
    erase(manage, scene.claire)
    scene.installation.sync()
    ledger = manage.json("status")["ledger"]
    assert sum(ledger.values()) == scene.installation.count(LedgerEntry)
    assert ledger["ignored"] >= 2


def test_another_companys_client_with_the_same_address_is_not_touched(
    scene: Scene, manage: Manage
) -> None:
    installation = scene.installation
    other = new_mailbox(installation, scene.imap)
    raw = mail_with_file(sender=CLAIRE, to=other.account.address, message_id="<one@client.test>")
    scene.imap.append(other.account, raw)
    installation.sync()

    def theirs() -> list[Any]:
        with db.SessionLocal() as session:
            return [
                tuple(row)
                for model in (Client, Conversation, InboxMessage, MessageAttachment)
                for row in session.execute(
                    sa.select(*sa.inspect(model).columns).where(
                        model.company_id == other.company_id
                    )
                )
            ]

    before = theirs()
    assert len(before) == 4
    manage("client", "erase", scene.claire, "--company", other.company_id, "--yes", status=1)
    erase(manage, scene.claire)
    assert theirs() == before
    installation.sync()
    assert theirs() == before


def test_another_companys_copy_of_an_erased_mail_comes_in(scene: Scene, manage: Manage) -> None:
    installation = scene.installation
    kept = mail(sender=CLAIRE, to=scene.box.account.address, message_id="<both@client.test>")
    scene.imap.append(scene.box.account, kept)
    installation.sync()
    erase(manage, scene.claire)
    other = new_mailbox(installation, scene.imap)
    scene.imap.append(other.account, kept)
    installation.sync()
    assert installation.count(InboxMessage, InboxMessage.company_id == other.company_id) == 1


def test_what_goes_is_said_and_asked_first(scene: Scene, manage: Manage) -> None:
    result = manage("client", "erase", scene.claire, stdin="n\n", status=1)
    assert f"<{CLAIRE}>" in result.stderr
    assert "mails: 3" in result.stderr  # two of hers, and the reminder
    assert rows_of(scene.installation, scene.claire) >= 4
    manage("client", "erase", scene.claire, stdin="y\n")
    assert rows_of(scene.installation, scene.claire) == 0
    manage("client", "erase", scene.claire, "--yes", status=1)


def test_a_quarantined_mail_of_the_client_goes(scene: Scene, manage: Manage) -> None:
    installation, place = scene.installation, {"folder": "INBOX", "uidvalidity": 9, "uid": 9}
    place |= {"integration_id": scene.box.id}
    installation.change(lambda s: s.add(LedgerEntry(**place, state="quarantined")))
    installation.add(
        QuarantinedMail(
            **place, sender_key=CLAIRE, raw=b"x", arrived_at=db.utc_now(), error="ValueError"
        )
    )
    assert erase(manage, scene.claire)["belongings"]["quarantined"] == 1
    assert installation.count(QuarantinedMail) == 0
    (entry,) = installation.rows(LedgerEntry, LedgerEntry.uid == 9)
    assert (entry.state, entry.reason) == ("ignored", "dropped by hand: client erased")


def test_what_the_client_wrote_in_somebody_elses_conversation_goes_and_the_rest_stays(
    scene: Scene, manage: Manage
) -> None:
    installation = scene.installation
    pauls = installation.rows(Conversation, Conversation.client_id == scene.paul)[0]
    claires = installation.rows(InboxMessage, InboxMessage.from_key == CLAIRE)[0]
    installation.set(Conversation, pauls.id, unread_count=5)
    installation.set(InboxMessage, claires.id, conversation_id=pauls.id)
    erase(manage, scene.claire)
    assert installation.count(InboxMessage, InboxMessage.from_key == CLAIRE) == 0
    assert installation.rows(Conversation, Conversation.id == pauls.id)[0].unread_count == 4


def test_another_clients_follow_up_in_an_erased_conversation_loses_it(
    scene: Scene, manage: Manage
) -> None:
    installation = scene.installation
    talk = installation.rows(Conversation, Conversation.client_id == scene.claire)[0].id
    pauls = installation.add_followup(scene.box.company_id, scene.paul, conversation_id=talk)
    erase(manage, scene.claire)
    assert installation.rows(Followup, Followup.id == pauls)[0].conversation_id is None


@pytest.mark.parametrize("stops", [True, False])
def test_who_has_answered_in_an_erased_conversation_gets_no_reminder_for_it(
    scene: Scene, manage: Manage, stops: bool
) -> None:
    """Before any run has seen the answer, which goes with the conversation."""
    installation, account = scene.installation, scene.box.account
    long_ago = db.utc_now() - timedelta(days=60)
    for row in installation.rows(InboxMessage, InboxMessage.from_key == PAUL):
        installation.set(InboxMessage, row.id, arrived_at=long_ago, created_at=long_ago)
    pauls = installation.add_followup(scene.box.company_id, scene.paul, auto_stop_on_response=stops)
    installation.send()
    to, asked = account.address, "<asked@client.test>"
    scene.imap.append(account, mail(sender=CLAIRE, to=to, message_id=asked, Cc=PAUL))
    installation.sync()
    scene.imap.append(account, mail(sender=PAUL, to=to, In_Reply_To=asked))
    installation.sync()
    answer = installation.rows(InboxMessage, InboxMessage.from_key == PAUL)[-1]
    [talk] = installation.rows(Conversation, Conversation.id == answer.conversation_id)
    assert talk.client_id == scene.claire
    erase(manage, scene.claire)
    [followup] = installation.rows(Followup, Followup.id == pauls)
    assert followup.steps_sent == 1
    assert (followup.auto_state, followup.auto_reason) == (
        ("held", "answered") if stops else ("active", None)
    )


# -- beside the two scripts ----------------------------------------------------------------------


def test_a_follow_up_that_came_from_another_client_goes_with_its_reminders(scene: Scene) -> None:
    """The host application has joined two clients; the reminders of before name the first."""
    installation = scene.installation
    installation.set(Followup, scene.followup, client_id=scene.paul)
    assert installation.rows(OutboxMail)[0].client_id == scene.claire
    paul = db.read(belongings.find_client, None, scene.paul)
    found = db.write(erasure.erase, paul)
    assert (found.followups, found.reminders) == (1, 1)
    assert installation.count(Followup) == installation.count(OutboxMail) == 0
    assert installation.count(Client, Client.id == scene.claire) == 1


@pytest.mark.parametrize("which", ["claire", "paul"])
def test_its_reminder_on_its_way_is_awaited_whomever_it_names(
    scene: Scene, manage: Manage, which: str
) -> None:
    installation = scene.installation
    installation.set(Followup, scene.followup, client_id=scene.paul)
    [row] = installation.rows(OutboxMail)
    lease = {"owner": "a", "lease_until": db.utc_now() + timedelta(minutes=5)}
    installation.set(OutboxMail, row.id, state="sending", **lease)
    said = manage("client", "erase", getattr(scene, which), "--yes", status=1)
    assert "is going out" in said.stderr
    assert installation.count(OutboxMail) == 1


def test_a_claimed_reminder_loses_its_claim(installation: Installation, embedded_smtp: Any) -> None:
    office = open_office(installation, embedded_smtp)
    followup = office.reminder("claire")
    claimed = office.claimed(followup)
    client = db.read(belongings.find_client, None, office.outbox(claimed.followup_id).client_id)
    db.write(erasure.erase, client)
    with pytest.raises(ClaimLost):
        db.write(begin_sending, claimed, LEASE_SECONDS, db.utc_now())
    assert office.send().counts == {}
    assert office.delivered("claire") == []


def test_a_reminder_whose_body_may_be_on_its_way_is_awaited(
    installation: Installation, embedded_smtp: Any
) -> None:
    office = open_office(installation, embedded_smtp)
    claimed = office.claimed(office.reminder("claire"))
    assert db.write(begin_sending, claimed, LEASE_SECONDS, db.utc_now()) is None
    client = db.read(belongings.find_client, None, office.outbox(claimed.followup_id).client_id)
    before = everything(installation)
    with pytest.raises(Refused, match="going out"):
        db.write(erasure.erase, client)
    assert everything(installation) == before


def test_a_mail_that_found_the_client_before_the_erasure_is_taken_in_anew(
    installation: Installation, company_id: int
) -> None:
    client = installation.add_client(company_id, CLAIRE)
    installation.add_client(company_id, PAUL)  # or SQLite gives the number again
    tries = []

    def ingest(session: Any) -> None:
        tries.append(client)
        clients.lock_client(session, client if len(tries) == 1 else again)

    installation.change(lambda s: s.execute(sa.delete(Client).where(Client.id == client)))
    again = installation.add_client(company_id, CLAIRE)
    db.write(ingest)
    assert len(tries) == 2


def test_a_mail_that_is_half_way_in_is_waited_for_and_goes_too(
    scene: Scene, database: Database
) -> None:
    """As the sync script takes one in: its mailbox's state, the conversation, then the message."""
    installation = scene.installation
    claires = installation.rows(InboxMessage, InboxMessage.from_key == CLAIRE)[0]
    columns = [c.key for c in sa.inspect(InboxMessage).columns if c.key != "id"]
    values = {name: getattr(claires, name) for name in columns} | {"fingerprint": "half way in"}
    client = db.read(belongings.find_client, None, scene.claire)
    outcome: list[Any] = []

    def erasing() -> None:
        try:
            outcome.append(db.write(erasure.erase, client))
        except Exception as error:  # noqa: BLE001 (told below)
            outcome.append(error)

    other = threading.Thread(target=erasing)
    with db.SessionLocal.begin() as session:
        state = sa.update(MailboxState).where(MailboxState.integration_id == scene.box.id)
        session.execute(state.values(backlog=False))
        talk = sa.update(Conversation).where(Conversation.id == claires.conversation_id)
        session.execute(talk.values(status="open"))
        other.start()
        assert wait_until_blocked(database, lambda: not other.is_alive())
        session.execute(sa.insert(InboxMessage).values(**values))
    other.join()
    assert isinstance(outcome[0], belongings.Belongings), outcome
    assert installation.count(InboxMessage, InboxMessage.from_key == CLAIRE) == 0


@contextmanager
def running(*jobs: Any) -> Iterator[None]:
    """Each job over and over, in a thread of its own, until the block ends."""
    stop, faults = threading.Event(), []

    def over_and_over(job: Any) -> None:
        while not stop.is_set():
            try:
                job()
            except Exception as error:  # noqa: BLE001 (told below)
                faults.append(error)
                return

    threads = [threading.Thread(target=over_and_over, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert faults == []


def is_erased(client: Any) -> bool:
    """False while a reminder of the client's is going out."""
    try:
        db.write(erasure.erase, client)
    except Refused:
        return False
    return True


def test_erasing_while_both_scripts_run(
    installation: Installation, embedded_imap: Any, embedded_smtp: Any, manage: Manage
) -> None:
    box = new_mailbox(installation, embedded_imap, embedded_smtp)
    to, names = box.account.address, [f"c{n}@client.test" for n in range(8)]
    for name in names:
        embedded_imap.append(box.account, mail_with_file(sender=name, to=to))
    installation.sync()
    ids = {row.email_key: row.id for row in installation.rows(Client)}
    for name in names:
        installation.add_followup(box.company_id, ids[name], auto_stop_on_response=False)
    installation.make_fresh(box.id, box.company_id)
    settings = installation.settings

    def write_on() -> None:
        raw = mail_with_file(sender=names[-1], to=to)
        embedded_imap.append(box.account, raw)
        installation.sync()

    with running(write_on, installation.send):
        for name in names[:-1]:
            client = db.read(belongings.find_client, None, ids[name])
            wait_until(partial(is_erased, client), "its reminder is settled")
            remove_erased_files(settings.attachments_dir, box.company_id, 300)
    embedded_imap.new_uidvalidity(box.account)
    installation.sync()
    assert {row.email_key for row in installation.rows(Client)} == {names[-1]}
    assert installation.count(QuarantinedMail) == 0
    assert {row.client_id for row in installation.rows(OutboxMail)} <= {ids[names[-1]]}
    for row in installation.rows(MessageAttachment):
        path = settings.attachments_dir / str(row.company_id) / row.sha256[:2] / row.sha256
        assert path.exists()


# -- files ---------------------------------------------------------------------------------------


def test_a_file_that_was_touched_just_now_stays_for_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("x")
    os.utime(path, (1000, 1000))
    assert not remove_unless_wanted(path, lambda: False, 600, now=1500)
    assert path.read_text() == "x"
    assert not remove_unless_wanted(path, lambda: True, 600, now=9999)
    assert remove_unless_wanted(path, lambda: False, 600, now=9999)
    assert list(tmp_path.iterdir()) == []
    assert remove_unless_wanted(path, lambda: False, 600, now=9999)


def test_a_file_written_anew_while_the_old_one_is_looked_at_stays(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    os.utime(path, (0, 0))

    def wanted() -> bool:
        path.write_text("new")  # a worker found none, and writes its own
        return True

    assert not remove_unless_wanted(path, wanted, 600, now=9999)
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_removal_goes_on(tmp_path: Path) -> None:
    aside = tmp_path / ".erased-a"
    aside.write_text("x")
    os.utime(aside, (0, 0))
    assert not remove_unless_wanted(tmp_path / "a", lambda: True, 600, now=9999)
    assert (tmp_path / "a").read_text() == "x"
    (tmp_path / "a").rename(aside)
    assert remove_unless_wanted(tmp_path / "a", lambda: False, 600, now=9999)
    assert list(tmp_path.iterdir()) == []


# -- export --------------------------------------------------------------------------------------


def test_an_export_holds_everything_and_says_what_is_original(
    scene: Scene, manage: Manage, tmp_path: Path
) -> None:
    target = tmp_path / "claire"
    told = manage.json("client", "export", scene.claire, "--to", target)
    assert (told["mails"], told["files"], told["reminders"]) == (3, 2, 1)
    assert target.stat().st_mode & 0o777 == 0o700
    words = (target / "READ-ME.txt").read_text()
    assert "REBUILT" in words
    assert "ORIGINAL" in words
    (outbox,) = scene.installation.rows(OutboxMail)
    assert (target / f"reminders/{outbox.id}.eml").read_bytes() == outbox.raw
    found = json.loads((target / "conversations.json").read_text())
    assert PAUL not in json.dumps(found)
    with_files = [each for each in found["messages"] if each["files"]]
    for message in with_files:
        rebuilt = message_from_bytes((target / message["path"]).read_bytes(), policy=default)
        assert rebuilt["Message-ID"] == f"<{message['external_id']}>"
        assert "original is at the mail server" in rebuilt["X-Relance-Note"]
        (attached,) = rebuilt.iter_attachments()
        assert attached.get_content() == (target / message["files"][0]["path"]).read_bytes()
        assert rebuilt.get_body(("plain",)).get_content().strip() == message["content"].strip()
    assert json.loads((target / "followups.json").read_text())[0]["history"]
    manage("client", "export", scene.claire, "--to", target, status=1)  # it is there already


def test_an_export_names_the_files_that_are_not_there(
    scene: Scene, manage: Manage, tmp_path: Path
) -> None:
    for path in scene.files:
        path.unlink()
    told = manage.json("client", "export", scene.claire, "--to", tmp_path / "c")
    assert told["files_missing"] == 2
    assert "MISSING" in (tmp_path / "c" / "READ-ME.txt").read_text()


def test_an_export_of_another_companys_client_is_refused(
    scene: Scene, manage: Manage, tmp_path: Path
) -> None:
    other = scene.installation.add_company("Une autre")
    target = tmp_path / "c"
    manage("client", "export", scene.claire, "--company", other, "--to", target, status=1)
    assert not target.exists()


@pytest.mark.parametrize(
    "claimed", ["../../etc/passwd", "a/b\\c", "\u202egnp.exe", "", "...", "x" * 400, "é" * 200]
)
def test_no_file_name_leaves_the_directory(claimed: str) -> None:
    name = named(claimed)
    assert name
    assert "/" not in name
    assert name not in (".", "..")
    assert len(name.encode()) <= 150
    assert slug(claimed).isascii()


@pytest.mark.parametrize(
    "content_type", ["multipart/mixed", "image/p\r\nX-Evil: 1", "text/", "é/é"]
)
def test_a_hostile_message_is_rebuilt_all_the_same(content_type: str) -> None:
    message = {
        "from_name": 'A "b"\r\nBcc: x@y',
        "from_email": "a@b.test\r\nX: y",
        "recipients": ["c@d.test"],
        "external_id": "1@x\n",
        "in_reply_to": None,
        "subject": "Été\r\nX-Evil: 1",
        "content": "half \udce9",
        "content_html": None,
        "sent_at": db.utc_now(),
    }
    files = [({"content_type": content_type, "inline": False, "filename": "a\nb"}, b"\x00")]
    rebuilt = message_from_bytes(rebuild_mail(message, files), policy=default)
    assert rebuilt["Bcc"] is rebuilt["X-Evil"] is rebuilt["X"] is None
    assert len(list(rebuilt.iter_attachments())) == 1


def test_a_second_mail_under_the_same_headers_does_not_come_back_either(
    installation: Installation, embedded_imap: Any, embedded_smtp: Any, manage: Manage
) -> None:
    """Told from the first one by what it says, it has a fingerprint of its own."""
    box = new_mailbox(installation, embedded_imap, embedded_smtp)
    account = box.account
    to = account.address
    first = mail_with_file(sender=to, to=PAUL, message_id="<same@company.test>")
    second = first.replace(PAUL.encode(), CLAIRE.encode()).replace(b"Le plan", b"Votre plan")
    for raw in (first, second):
        embedded_imap.append(account, raw, "Sent")
    installation.sync()
    ids = {row.email_key: row.id for row in installation.rows(Client)}
    assert sorted(ids) == [CLAIRE, PAUL]
    erase(manage, ids[CLAIRE])
    embedded_imap.new_uidvalidity(account, "Sent")
    installation.sync()
    assert [row.email_key for row in installation.rows(Client)] == [PAUL]
    assert installation.count(InboxMessage) == 1


def test_a_quarantined_mail_does_not_come_back_under_another_number(
    scene: Scene, manage: Manage, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation, account = scene.installation, scene.box.account
    sick = mail_with_file(sender=CLAIRE, to=account.address, message_id="<sick@client.test>")
    with monkeypatch.context() as broken:
        broken.setattr(prepare, "classify", lambda *_: 1 / 0)
        scene.imap.append(account, sick)
        installation.sync()
    assert installation.count(QuarantinedMail) == 1
    erase(manage, scene.claire)
    scene.imap.new_uidvalidity(account)
    installation.sync()
    assert installation.count(Client, Client.email_key == CLAIRE) == 0


def test_a_file_that_cannot_be_removed_fails_no_mailbox_and_keeps_no_other(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another user, say: it stays on the list, and is said."""
    installation = scene.installation
    db.write(erasure.erase, db.read(belongings.find_client, None, scene.claire))
    scene.age_files()
    real, asked = remove_unless_wanted, []

    def refuse_the_first(path: Path, *given: Any) -> bool:
        asked.append(path)
        if len(asked) == 1:
            raise StorageFault(f"{path} cannot be removed: Operation not permitted")
        return real(path, *given)

    monkeypatch.setattr(erased, "remove_unless_wanted", refuse_the_first)
    long_ago = db.utc_now() - timedelta(hours=2)
    installation.set(MailboxState, scene.box.id, audited_at=long_ago)
    report = installation.sync()
    assert "mailboxes_failed" not in report.counts
    assert report.counts["files_failed"] == 1
    assert (len(asked), installation.count(ErasedFile)) == (2, 1)


def test_of_two_who_remove_a_file_neither_forgets_one_that_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    os.utime(path, (0, 0))
    aside = path.with_name(".erased-file")

    def beside_another() -> bool:
        """The other one finds that it was touched just now, and puts it back."""
        os.link(aside, path)
        aside.unlink()
        return False

    assert not remove_unless_wanted(path, beside_another, 600, now=1_000_000)
    assert path.exists()
