"""Companies, clients and follow-ups by hand and from files; holds, releases, stops, settlements."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backend.app import db
from backend.app.errors import ClaimLost
from backend.app.followups.claim import begin_sending, claim_followup
from backend.app.mail.parse import parse_mail
from backend.app.models import (
    AutoState,
    Client,
    Company,
    Followup,
    FollowupHistory,
    HistoryStatus,
    OutboxMail,
    OutboxState,
)
from tests.installation import Installation
from tests.operate.conftest import Manage

HEADER = "client_email;client_name;type;label;amount;due_date"
CSV = f"""{HEADER}
claire@example.fr;Claire Petit;invoice_unpaid;Facture F-1;1 234,50;23/11/2025
claire@example.fr;;invoice_unpaid;Facture F-2;;2025-11-24
luc@example.fr;Luc Élie;quote_unanswered;Devis D-1;99.90;2025-11-25
"""
OWNER = "test:1:1"


def test_a_company_is_added_with_its_place(manage: Manage, installation: Installation) -> None:
    added = manage.json(
        *("company", "add", "  Smith & Sons\n", "--timezone", "Europe/London"),
        *("--locale", "en-GB", "--country", "gb"),
    )
    assert added == {
        "id": 1,
        "name": "Smith & Sons",
        "timezone": "Europe/London",
        "locale": "en_GB",
        "country": "GB",
    }
    assert manage.json("company", "list") == [added]


def test_a_name_that_a_company_bears_already_is_refused_unless_it_is_meant(
    manage: Manage, installation: Installation
) -> None:
    manage("company", "add", "Atelier Élan")
    again = manage("company", "add", " ATELIER  élan", status=1)
    assert "company 1 is called Atelier Élan already" in again.stderr
    assert installation.count(Company) == 1
    assert manage.json("company", "add", "Atelier Élan", "--same-name")["id"] == 2


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--timezone", "Europe/Pari", "Europe/Paris"),
        ("--timezone", "../../etc/passwd", "no time zone"),
        ("--locale", "xx_YY", "no locale"),
        ("--country", "FRA", "no country"),
        ("--country", "ZZZ", "no country"),
        ("--country", "zz", "no country"),
    ],
)
def test_a_place_that_does_not_exist_is_refused(
    option: str, value: str, words: str, manage: Manage, installation: Installation
) -> None:
    result = manage("company", "add", "X", option, value, status=2)
    assert words in result.stderr
    assert installation.count(Company) == 0


def test_one_address_is_one_client_of_a_company(
    manage: Manage, installation: Installation, company_id: int
) -> None:
    other = installation.add_company("Une autre")
    for company in (company_id, other):
        manage("client", "add", "--company", company, "--email", "claire@example.fr")
    refused = manage(
        "client", "add", "--company", company_id, "--email", "Claire@Example.fr", status=1
    )
    assert "client 1 of company 1" in refused.stderr
    assert [row["id"] for row in manage.json("client", "list", "--company", other)] == [2]


def test_a_follow_up_is_looked_at_by_the_next_run(
    manage: Manage, installation: Installation, company_id: int
) -> None:
    row = manage.json(
        *("followup", "add", "--company", company_id, "--client", "claire@example.fr"),
        *("--type", "invoice_unpaid", "--label", "Facture F-1", "--amount", "1 234,50"),
        *("--due-date", "23/11/2025"),
    )
    assert (row["amount"], row["currency"], row["due_date"]) == ("1234.50", "EUR", "2025-11-23")
    assert row["client_email"] == "claire@example.fr"
    assert installation.send().counts == {"held": 1}  # no mailbox, or a wait: it was looked at


def test_a_follow_up_of_another_companys_client_is_refused(
    manage: Manage, installation: Installation, company_id: int
) -> None:
    other = installation.add_company("Une autre")
    client = installation.add_client(other, "claire@example.fr")
    manage(
        *("followup", "add", "--company", company_id, "--client", client),
        *("--type", "invoice_unpaid", "--due-date", "2025-11-23"),
        status=1,
    )
    assert installation.count(Followup) == 0


def test_adding_the_same_follow_up_twice_is_refused(
    manage: Manage, installation: Installation, company_id: int
) -> None:
    add = (
        *("followup", "add", "--company", company_id, "--client", "claire@example.fr"),
        *("--type", "invoice_unpaid", "--due-date", "2025-11-23"),
    )
    manage(*add)
    assert "as follow-up 1" in manage(*add, status=1).stderr
    manage(*add, "--label", "another")
    assert installation.count(Followup) == 2


def test_an_import_of_the_same_file_doubles_nothing(
    manage: Manage, installation: Installation, company_id: int, tmp_path: Path
) -> None:
    file = tmp_path / "factures.csv"
    file.write_bytes(CSV.encode("cp1252"))
    first = manage.json("followup", "import", file, "--company", company_id)
    second = manage.json("followup", "import", file, "--company", company_id)
    assert (first["imported"], first["known"], first["failed"]) == (3, 0, 0)
    assert (second["imported"], second["known"], second["failed"]) == (0, 3, 0)
    assert [line["followup_id"] for line in second["lines"]] == [1, 2, 3]
    assert [row.name for row in installation.rows(Client)] == ["Claire Petit", "Luc Élie"]


def test_a_line_is_known_by_its_source_where_it_has_one(
    manage: Manage, installation: Installation, company_id: int
) -> None:
    header = "client_email,type,due_date,source_type,source_id\n"
    moved = "claire@example.fr,invoice_unpaid,{},invoice,F-1\n"
    arguments = ("followup", "import", "-", "--company", company_id)
    manage(*arguments, stdin=header + moved.format("2025-11-23"))
    result = manage(*arguments, stdin=header + moved.format("2025-12-31"))
    assert "0 imported, 1 there already" in result.stdout
    manage(*arguments, stdin=header + moved.format("2025-11-23").replace("F-1", "F-2"))
    assert installation.count(Followup) == 2


def test_bad_lines_are_told_by_number_and_good_ones_imported(
    manage: Manage, installation: Installation, company_id: int
) -> None:
    file = CSV + "luc@example.fr;;facture;;;2025-11-25\nnobody;;invoice_unpaid;;;2025-11-25\n"
    result = manage("followup", "import", "-", "--company", company_id, stdin=file, status=1)
    told = [line.partition(":")[0] for line in result.stderr.splitlines()]
    assert told == ["line 5", "line 6"]
    assert "3 imported, 0 there already, 2 failed" in result.stdout
    assert installation.count(Followup) == 3


def test_a_dry_run_says_what_the_import_then_does_and_writes_nothing(
    manage: Manage, installation: Installation, company_id: int
) -> None:
    file = CSV + CSV.partition("\n")[2] + "nobody;;invoice_unpaid;;;2025-11-25\n"
    arguments = ("followup", "import", "-", "--company", company_id)
    dry = manage.json(*arguments, "--dry-run", stdin=file, status=1)
    assert installation.count(Followup) + installation.count(Client) == 0
    real = manage.json(*arguments, stdin=file, status=1)
    assert dry["imported"] == real["imported"] == 3
    assert dry["known"] == real["known"] == 3
    assert [line["outcome"] for line in dry["lines"]] == [line["outcome"] for line in real["lines"]]


def test_an_import_into_a_company_that_is_not_there_is_refused(manage: Manage) -> None:
    for dry in ([], ["--dry-run"]):
        manage("followup", "import", "-", "--company", 7, *dry, stdin=CSV, status=1)


def test_a_file_without_the_columns_is_refused_as_a_whole(manage: Manage, company_id: int) -> None:
    result = manage(
        "followup", "import", "-", "--company", company_id, stdin="email;montant\n", status=2
    )
    assert "missing: client_email, type, due_date" in result.stderr


def test_two_imports_at_the_same_time_double_nothing(
    installation: Installation, company_id: int, tmp_path: Path
) -> None:
    lines = [f"c{n % 5}@example.fr;;invoice_unpaid;F-{n};;2025-11-23" for n in range(40)]
    file = tmp_path / "factures.csv"
    file.write_text("\n".join([HEADER, *lines]))
    both = [
        installation.start("manage", "followup", "import", file, "--company", company_id)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert installation.count(Followup) == 40
    assert installation.count(Client) == 5
    assert sum(int(out.split()[0]) for out, _ in said) == 40


# -- what a person decides ---------------------------------------------------------------------


@pytest.fixture
def mailbox_id(installation: Installation, company_id: int) -> int:
    """A mailbox that could send and was just read, so that reminders may go out."""
    account = type("Account", (), {"address": "us@atelier.test", "username": "u", "password": "p"})
    server = type("Server", (), {"host": "127.0.0.1", "port": 9, "tls_port": 9})
    made = installation.add_mailbox(company_id, account, server, server)
    installation.make_fresh(made, company_id)
    return made


@pytest.fixture
def followup_id(installation: Installation, company_id: int, mailbox_id: int) -> int:
    client = installation.add_client(company_id, "jean@example.fr")
    return installation.add_followup(company_id, client)


def claim(followup_id: int) -> Any:
    result = db.write(claim_followup, followup_id, OWNER, 300, datetime.now(UTC))
    assert result is not None
    return result[1]


def hold(installation: Installation, followup_id: int, reason: str = "paused") -> None:
    installation.set(
        Followup,
        followup_id,
        auto_state=AutoState.HELD.value,
        auto_reason=reason,
        next_action_at=datetime.now(UTC) + timedelta(days=900),
    )


def history(installation: Installation) -> list[tuple[str, str | None, str]]:
    return [
        (row.status, row.reason, row.sent_by_name) for row in installation.rows(FollowupHistory)
    ]


def test_a_released_follow_up_is_due_now_and_the_release_is_in_its_history(
    manage: Manage, installation: Installation, followup_id: int
) -> None:
    hold(installation, followup_id)
    manage("followup", "release", followup_id, "--by", "Léa")
    assert history(installation) == [("released", "was held: paused", "Léa")]
    assert claim(followup_id).step == 1


def test_only_a_held_follow_up_can_be_released(
    manage: Manage, installation: Installation, followup_id: int
) -> None:
    refused = manage("followup", "release", followup_id, status=1)
    assert "is not held, it is active" in refused.stderr
    manage("followup", "release", 999, status=1)
    assert history(installation) == []


def test_one_that_cannot_be_released_keeps_none_of_the_others_back(
    manage: Manage, installation: Installation, followup_id: int
) -> None:
    hold(installation, followup_id)
    refused = manage("followup", "release", 999, followup_id, status=1)
    assert "there is no follow-up 999" in refused.stderr
    assert "1 of 2 follow-ups could not be released" in refused.stderr
    assert claim(followup_id).step == 1


def test_a_step_that_the_server_refused_is_tried_again_after_a_release(
    manage: Manage, installation: Installation, followup_id: int
) -> None:
    outbox_id = claim(followup_id).id
    installation.set(
        OutboxMail, outbox_id, state=OutboxState.FAILED.value, owner=None, lease_until=None
    )
    hold(installation, followup_id, "refused_by_server: 550 unknown")
    manage("followup", "release", followup_id)
    again = claim(followup_id)
    assert (again.id, again.attempts) == (outbox_id, 1)


def test_an_uncertain_step_is_settled_by_its_own_command_not_by_a_release(
    manage: Manage, installation: Installation, followup_id: int
) -> None:
    outbox_id = make_uncertain(installation, followup_id)
    refused = manage("followup", "release", followup_id, status=1)
    assert f"manage.py outbox sent {outbox_id}" in refused.stderr


def test_a_stop_reaches_the_worker_that_is_about_to_send(
    manage: Manage, installation: Installation, followup_id: int
) -> None:
    claimed = claim(followup_id)
    manage("followup", "stop", followup_id, "--by", "Léa")
    with pytest.raises(ClaimLost):
        db.write(begin_sending, claimed, 300, datetime.now(UTC))
    [row] = installation.rows(OutboxMail)
    assert row.state == OutboxState.CANCELLED
    assert history(installation) == [("stopped", "by_person", "Léa")]
    assert installation.send().counts == {}


def test_a_stop_says_when_it_comes_too_late_for_a_step(
    manage: Manage, installation: Installation, followup_id: int
) -> None:
    claimed = claim(followup_id)
    assert db.write(begin_sending, claimed, 300, datetime.now(UTC)) is None
    result = manage("followup", "stop", followup_id)
    assert "step 1 is going out at this moment" in result.stdout
    assert installation.rows(OutboxMail)[0].state == OutboxState.SENDING


def test_a_follow_up_stops_once(
    manage: Manage, installation: Installation, followup_id: int
) -> None:
    manage("followup", "stop", followup_id)
    assert "it is stopped (by_person)" in manage("followup", "stop", followup_id, status=1).stderr
    assert len(history(installation)) == 1


def make_uncertain(installation: Installation, followup_id: int) -> int:
    """The body went out, no answer came, and no proof in time."""
    claimed = claim(followup_id)
    assert db.write(begin_sending, claimed, 300, datetime.now(UTC)) is None
    installation.set(
        OutboxMail,
        claimed.id,
        state=OutboxState.UNCERTAIN.value,
        owner=None,
        lease_until=None,
        needs_person=True,
    )
    hold(installation, followup_id, "uncertain")
    return int(claimed.id)


def test_a_person_says_that_an_uncertain_step_arrived(
    manage: Manage, installation: Installation, followup_id: int
) -> None:
    outbox_id = make_uncertain(installation, followup_id)
    manage("outbox", "sent", outbox_id, "--by", "Léa")
    [row] = installation.rows(Followup)
    assert (row.auto_state, row.steps_sent) == ("active", 1)
    assert [(status, by) for status, _, by in history(installation)] == [
        (HistoryStatus.SENT, "Léa")
    ]
    assert manage.json("outbox", "list", "--state", "uncertain") == []


def test_a_person_says_that_an_uncertain_step_did_not_arrive(
    manage: Manage, installation: Installation, followup_id: int
) -> None:
    outbox_id = make_uncertain(installation, followup_id)
    manage("outbox", "resend", outbox_id, "--by", "Léa")
    [listed] = manage.json("outbox", "list", "--state", "planned")
    assert listed["id"] == outbox_id
    assert claim(followup_id).id == outbox_id


def test_show_tells_how_far_a_reminder_came_and_its_text(
    manage: Manage, installation: Installation, followup_id: int, tmp_path: Path
) -> None:
    outbox_id = make_uncertain(installation, followup_id)
    file = tmp_path / "mail.eml"
    shown = manage("outbox", "show", outbox_id, "--eml", file).stdout
    [row] = installation.rows(OutboxMail)
    assert f"step 1 of follow-up {followup_id}, uncertain" in shown
    assert row.recipient in shown
    assert row.content.splitlines()[0] in shown
    assert f"manage.py outbox sent {outbox_id}" in shown
    assert file.read_bytes() == row.raw
    told = manage.json("outbox", "show", outbox_id)
    assert (told["message_id"], told["content"]) == (row.message_id, row.content)
    assert "raw" not in told
    manage("outbox", "show", outbox_id, "--eml", file, status=1)  # never over another file


@pytest.mark.parametrize("word", ["sent", "resend"])
def test_only_an_uncertain_step_waits_for_a_word(
    word: str, manage: Manage, installation: Installation, followup_id: int
) -> None:
    outbox_id = claim(followup_id).id
    refused = manage("outbox", word, outbox_id, status=1)
    assert f"outbox row {outbox_id} is claimed" in refused.stderr
    manage("outbox", word, 999, status=1)


def test_no_command_reaches_another_companys_follow_up(
    manage: Manage, installation: Installation, followup_id: int
) -> None:
    outbox_id = make_uncertain(installation, followup_id)
    other = installation.add_company("Une autre")
    for arguments in (
        ("followup", "release", followup_id),
        ("followup", "stop", followup_id),
        ("followup", "explain", followup_id),
        ("outbox", "show", outbox_id),
        ("outbox", "sent", outbox_id),
        ("outbox", "resend", outbox_id),
    ):
        manage(*arguments, "--company", other, status=1)
    assert manage.json("followup", "list", "--company", other) == []
    assert manage.json("outbox", "list", "--company", other) == []
    assert history(installation) == []
    assert installation.rows(OutboxMail)[0].state == OutboxState.UNCERTAIN


def test_explain_says_state_reason_next_look_and_what_happened(
    manage: Manage, installation: Installation, followup_id: int
) -> None:
    assert manage.json("followup", "explain", followup_id)["verdict"]["decision"] == "send"
    make_uncertain(installation, followup_id)
    hold(installation, followup_id, "missing_variable: amount")
    found = manage.json("followup", "explain", followup_id)
    assert found["followup"]["auto_state"] == "held"
    assert found["reason_meaning"] == "the wording needs a value that is missing"
    assert [row["state"] for row in found["outbox"]] == ["uncertain"]
    text = manage("followup", "explain", followup_id).stdout
    assert "held: missing_variable: amount (the wording needs a value" in text
    manage("followup", "release", followup_id, status=1)
    installation.set(Followup, followup_id, auto_state=AutoState.STOPPED.value)
    assert manage.json("followup", "explain", followup_id)["verdict"] is None


@pytest.mark.parametrize(
    ("columns", "reason", "detail"),
    [
        ({"amount": None}, "missing_variable", "amount"),
        ({"document": "gone.pdf"}, "document_unusable", "there is no such file: gone.pdf"),
    ],
)
def test_explain_says_what_would_hold_the_mail_itself_as_a_run_does(
    manage: Manage,
    installation: Installation,
    followup_id: int,
    columns: dict[str, Any],
    reason: str,
    detail: str,
) -> None:
    installation.set(Followup, followup_id, **columns)
    said = manage.json("followup", "explain", followup_id)["verdict"]
    assert (said["decision"], said["reason"], said["detail"]) == ("hold", reason, detail)


def test_explain_and_preview_name_a_time_zone_that_is_none(
    manage: Manage, installation: Installation, followup_id: int
) -> None:
    installation.set(Company, installation.rows(Company)[0].id, timezone="Europe")
    assert "unknown_time_zone" in manage("followup", "explain", followup_id).stdout
    refused = manage("followup", "preview", followup_id, status=1).stderr
    assert "the time zone of company 1 is no IANA zone: 'Europe'" in refused


def test_preview_shows_the_mail_of_a_step_and_writes_nothing_down(
    manage: Manage, installation: Installation, followup_id: int, tmp_path: Path
) -> None:
    shown = manage.json("followup", "preview", followup_id)
    assert (shown["step"], shown["references"], shown["attachments"]) == (1, 0, [])
    assert shown["subject"].replace("\xa0", " ") == "Facture F-2026-012 : rappel d’échéance"
    eml = tmp_path / "mail.eml"
    text = manage("followup", "preview", followup_id, "--step", 3, "--eml", eml).stdout
    assert "Malgré nos précédents messages" in text
    mail = parse_mail(eml.read_bytes())
    assert mail.text.split() == text.partition("\n\n")[2].split()
    assert mail.html is not None
    nowhere = tmp_path / "none" / "mail.eml"
    refused = manage("followup", "preview", followup_id, "--eml", nowhere, status=1)
    assert f"{nowhere} cannot be written: No such file or directory" in refused.stderr
    assert installation.rows(OutboxMail) == []
    assert history(installation) == []


def test_preview_says_why_a_mail_cannot_be_made(
    manage: Manage, installation: Installation, followup_id: int
) -> None:
    assert (
        "has steps 1 to 3, not 4"
        in manage("followup", "preview", followup_id, "--step", 4, status=2).stderr
    )
    installation.set(Followup, followup_id, document="../other.pdf")
    refused = manage("followup", "preview", followup_id, status=1).stderr
    assert "step 1 would be held: not below the company's directory" in refused
    installation.set(Followup, followup_id, document=None, amount=None)
    refused = manage("followup", "preview", followup_id, status=1).stderr
    assert "the wording needs amount" in refused


def test_explain_names_the_key_of_broken_settings(
    manage: Manage, installation: Installation
) -> None:
    company = installation.add_company(settings={"followups": {"invoice_unpaid": {"maximun": 2}}})
    client = installation.add_client(company, "jean@example.fr")
    followup = installation.add_followup(company, client)
    found = manage.json("followup", "explain", followup)
    assert "followups.invoice_unpaid.maximun: unknown key" in found["verdict"]["meaning"]


def test_a_list_that_is_cut_says_so_beside_the_list(
    manage: Manage, installation: Installation, company_id: int
) -> None:
    client = installation.add_client(company_id, "jean@example.fr")
    for _ in range(3):
        installation.add_followup(company_id, client)
    result = manage("followup", "list", "--limit", 2, "--json")
    assert "only the first 2 are shown" in result.stderr
    assert len(manage.json("followup", "list", "--state", "active")) == 3
    assert manage.json("followup", "list", "--state", "held") == []


def test_a_number_that_no_row_can_have_is_a_usage_error(manage: Manage) -> None:
    for number in (0, -1, 2**63, "x"):
        manage("followup", "explain", number, status=2)


def test_the_login_stands_behind_a_decision_where_no_name_is_given(
    installation: Installation, followup_id: int
) -> None:
    hold(installation, followup_id)
    done: subprocess.CompletedProcess[str] = installation.script(
        "manage", "followup", "release", followup_id, LOGNAME="lea"
    )
    assert done.returncode == 0, done.stderr
    assert history(installation)[0][2] == "lea"


def test_follow_ups_of_one_client_are_listed_by_number_or_by_address(
    manage: Manage, installation: Installation, company_id: int
) -> None:
    claire = installation.add_client(company_id, "claire@example.fr")
    luc = installation.add_client(company_id, "luc@example.fr")
    hers = installation.add_followup(company_id, claire)
    installation.add_followup(company_id, luc)
    for named in (claire, "Claire@Example.FR"):
        listed = manage.json("followup", "list", "--client", named)
        assert [row["id"] for row in listed] == [hers]
    assert manage.json("followup", "list", "--client", "nobody@example.fr") == []
    refused = manage("followup", "list", "--client", "x", status=2)
    assert "client's number or address" in refused.stderr


def test_a_reason_is_never_cut_since_it_is_typed_to_release(
    manage: Manage, installation: Installation, company_id: int
) -> None:
    client = installation.add_client(company_id, "a-very-long-address-of-a-client@example.fr")
    followup = installation.add_followup(company_id, client, source_label="Facture " * 20)
    reason = "company_settings_invalid"
    installation.set(Followup, followup, auto_state="held", auto_reason=reason)
    assert reason in manage("followup", "list", COLUMNS="80").stdout


def test_what_would_keep_the_first_reminder_back_is_told_when_a_follow_up_is_added(
    manage: Manage, installation: Installation, company_id: int
) -> None:
    add = ("followup", "add", "--company", company_id, "--client", "jean@example.fr")
    invoice = (*add, "--type", "invoice_unpaid", "--due-date", "2026-11-10")
    first, second = ((*invoice, "--label", label, "--amount", "10") for label in ("F-1", "F-2"))
    assert "note: company 1 has no active mailbox that can send" in manage(*first).stderr
    manage(
        *("mailbox", "add", "--company", company_id, "--email", "us@example.fr", "--no-check"),
        *("--imap-host", "127.0.0.1", "--smtp-host", "127.0.0.1", "--password-stdin"),
        stdin="a secret\n",
    )
    assert manage(*second).stderr == ""
    assert "the wording needs source_label" in manage(*invoice).stderr
    assert installation.count(Followup) == 3
