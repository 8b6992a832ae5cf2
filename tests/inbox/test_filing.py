"""Into which drawer a mail goes: the company's rules, spam, and what stands without any rule."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import sqlalchemy as sa

from backend.app.errors import SettingsInvalid
from backend.app.inbox.filing import INBOX, choose_drawer, drawer_names
from backend.app.inbox.rules import NO_RULES, FilingRules, load_filing_rules
from backend.app.mail.message import MailKind, ParsedMail
from backend.app.mail.parse import parse_mail
from backend.app.models import Client, CompanySettings, InboxFolder
from tests.inbox.desk import Desk
from tests.installation import mail

KINDS = [
    (MailKind.HUMAN, "inbox"),
    (MailKind.OWN, "inbox"),
    (MailKind.AUTO_REPLY, "inbox"),
    (MailKind.LIST, "newsletters"),
    (MailKind.BOUNCE, "notices"),
    (MailKind.COMPLAINT, "notices"),
    (MailKind.RECEIPT, "notices"),
]


def parsed(**more: str) -> ParsedMail:
    values = {"sender": "Bois & Fils <compta@bois.example>", "to": "info@atelier.example"}
    return parse_mail(mail(**(values | more)))


def rules(*conditions: dict[str, Any]) -> FilingRules:
    named = [{"name": f"r{n}", "folder": f"f{n}", "when": c} for n, c in enumerate(conditions)]
    return load_filing_rules({"rules": named})


@pytest.mark.parametrize(("kind", "slug"), KINDS)
def test_drawer_without_rules(kind: MailKind, slug: str) -> None:
    assert choose_drawer(kind, parsed(), NO_RULES).slug == slug


@pytest.mark.parametrize(
    ("language", "name"),
    [("fr", "Boîte de réception"), ("en", "Inbox"), ("de", "Boîte de réception")],
)
def test_a_drawer_is_named_in_french_unless_the_company_reads_english(
    language: str, name: str
) -> None:
    assert INBOX.name(language) == name


@pytest.mark.parametrize(
    ("condition", "matches"),
    [
        ({"sender": "@BOIS.example"}, True),
        ({"sender": "bois & fils"}, True),
        ({"sender": "@autre.example"}, False),
        ({"recipient": "info@"}, True),
        ({"subject": "facture echue"}, True),  # the mail says `Facture  Échue`
        ({"subject": "devis"}, False),
        ({"body": "merci"}, True),
        ({"header": {"name": "x-project", "contains": "a12"}}, True),
        ({"header": {"name": "X-Other", "contains": "a12"}}, False),
        ({"all": [{"sender": "bois"}, {"subject": "facture"}]}, True),
        ({"all": [{"sender": "bois"}, {"subject": "devis"}]}, False),
        ({"any": [{"sender": "nobody"}, {"subject": "facture"}]}, True),
        ({"any": [{"sender": "nobody"}, {"subject": "devis"}]}, False),
        ({"not": {"sender": "nobody"}}, True),
        ({"not": {"any": [{"sender": "bois"}]}}, False),
    ],
)
def test_condition(condition: dict[str, Any], matches: bool) -> None:
    found = choose_drawer(
        MailKind.HUMAN, parsed(subject="Facture  Échue", X_Project="ref A12"), rules(condition)
    )
    assert found.slug == ("f0" if matches else "inbox")


def test_the_first_rule_that_matches_decides() -> None:
    both = rules({"subject": "devis"}, {"sender": "bois"}, {"subject": "bonjour"})
    assert choose_drawer(MailKind.HUMAN, parsed(subject="Bonjour"), both).reason == "rule r1"


def test_a_rule_goes_before_what_the_server_thinks_of_a_mail() -> None:
    mine = rules({"sender": "bois"})
    assert choose_drawer(MailKind.LIST, parsed(X_Spam_Flag="YES"), mine).slug == "f0"


@pytest.mark.parametrize(
    ("header", "value", "spam"),
    [
        ("X_Spam_Flag", "YES", True),
        ("X_Spam_Flag", "NO", False),
        ("X_Spam_Status", "Yes, score=9.1 required=5.0", True),
        ("X_Spam_Status", "No, score=-1.9", False),
        ("X_Spam", "Yes", True),
        ("X_Ovh_Spam_Status", "SPAM", True),
        ("X_VR_SPAMSTATE", "OK", False),
        ("X_Forefront_Antispam_Report", "CIP:192.0.2.1;CTRY:FR;SFV:SPM;H:x", True),
        ("X_Forefront_Antispam_Report", "CIP:192.0.2.1;CTRY:FR;SFV:NSPM;H:x", False),
        ("X_MS_Exchange_Organization_SCL", "9", True),
        ("X_MS_Exchange_Organization_SCL", "-1", False),
    ],
)
def test_verdict_of_a_filter(header: str, value: str, spam: bool) -> None:
    found = choose_drawer(MailKind.HUMAN, parsed(**{header: value}), NO_RULES)
    assert (found.slug == "spam") is spam


WRONG = [
    (
        {"rules": [{"name": "A", "when": {"sender": "x"}}]},
        r'^inbox.rules\[0\] "A".folder: is missing$',
    ),
    (
        {"rules": [{"name": "A", "folder": "a", "when": {"sendr": "x"}}]},
        r'^inbox.rules\[0\] "A".when.sendr: unknown key$',
    ),
    (
        {"rules": [{"name": "A", "folder": "a", "when": {"sender": "x", "subject": "y"}}]},
        r'"A".when: must hold exactly one of',
    ),
    (
        {"rules": [{"name": "A", "folder": "a", "when": {"any": [{"sender": "x"}, {}]}}]},
        r'"A".when.any\[1\]: must hold exactly one of',
    ),
    ({"rules": [{"name": "A", "folder": "Été", "when": {"sender": "x"}}]}, r'"A".folder: String'),
    ({"rules": {"A": 1}}, "^inbox.rules: must be a list$"),
    ({"rule": []}, "^inbox.rule: unknown key$"),
    ([], "^inbox: must be an object$"),
    ({"rules": [{"name": "A\nB", "folder": "a", "when": {"sender": 1}}]}, r'"A\?B".when.sender'),
]


@pytest.mark.parametrize(("document", "words"), WRONG)
def test_wrong_rules_are_named(document: Any, words: str) -> None:
    with pytest.raises(SettingsInvalid, match=words):
        load_filing_rules(document)


@pytest.mark.parametrize("levels", [6, 100, 5_000])
def test_nesting_is_bounded(levels: int) -> None:
    condition: dict[str, Any] = {"sender": "x"}
    for _ in range(levels):
        condition = {"not": condition}
    with pytest.raises(SettingsInvalid):
        load_filing_rules({"rules": [{"name": "A", "folder": "a", "when": condition}]})


def test_every_drawer_has_a_name() -> None:
    named = load_filing_rules(
        {
            "folders": {"wood": "Fournisseurs", "inbox": "Courrier"},
            "rules": [
                {"name": "A", "folder": "wood", "when": {"sender": "x"}},
                {"name": "B", "folder": "stone", "when": {"sender": "y"}},
            ],
        }
    )
    names = drawer_names(named, "fr")
    assert (names["wood"], names["stone"], names["inbox"]) == ("Fournisseurs", "stone", "Courrier")


# -- in the inbox ------------------------------------------------------------------------------


def filed(desk: Desk) -> dict[str, str]:
    """subject -> drawer."""
    drawers = {row.id: row.slug for row in desk.installation.rows(InboxFolder)}
    return {row.subject: drawers[row.folder_id] for row in desk.conversations()}


def set_inbox(desk: Desk, document: Any) -> None:
    set_settings(desk, {"inbox": document})


def set_settings(desk: Desk, document: Any) -> None:
    def change(session: Any) -> None:
        session.execute(sa.delete(CompanySettings))
        session.add(CompanySettings(company_id=desk.company, settings=document))

    desk.installation.change(change)


def test_mail_is_filed_by_the_companys_rules(embedded_desk: Desk) -> None:
    desk = embedded_desk
    rule = {"name": "Bois", "folder": "wood", "when": {"sender": "@bois.example"}}
    set_inbox(desk, {"folders": {"wood": "Fournisseurs"}, "rules": [rule]})
    desk.receive(desk.mail("A", sender="compta@bois.example"))
    desk.receive(desk.mail("B"))
    assert desk.sync()["stored"] == 2
    assert filed(desk) == {"A": "wood", "B": "inbox"}
    names = {row.slug: row.name for row in desk.installation.rows(InboxFolder)}
    assert names["wood"] == "Fournisseurs"


def test_wrong_rules_leave_mail_in_the_default_drawer_and_are_said(
    embedded_desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk = embedded_desk
    caplog.set_level(logging.INFO)
    set_inbox(desk, {"rules": [{"name": "Bois", "folder": "wood", "when": {}}]})
    desk.receive(desk.mail("A", sender="compta@bois.example"))
    report = desk.run()
    assert report.counts["stored"] == 1
    assert report.counts["settings_wrong"] == 1
    assert filed(desk) == {"A": "inbox"}
    assert 'inbox.rules[0] "Bois".when: must hold exactly one of' in caplog.text


@pytest.mark.parametrize("document", ["inbox", ["inbox"], 7])
def test_settings_that_are_no_object_keep_no_mail_back(embedded_desk: Desk, document: Any) -> None:
    desk = embedded_desk
    set_settings(desk, document)
    desk.receive(desk.mail("A"))
    report = desk.run()
    assert report.counts == {"mailboxes": 1, "settings_wrong": 1, "stored": 1}
    assert filed(desk) == {"A": "inbox"}


def test_spam_of_a_stranger_makes_no_client_and_a_clients_mail_is_never_spam(
    embedded_desk: Desk,
) -> None:
    desk = embedded_desk
    desk.installation.add_client(desk.company, "jean@client.test")
    desk.receive(desk.mail("Gagnez", sender="x@spam.test", X_Spam_Flag="YES"))
    desk.receive(desk.mail("Paiement", X_Spam_Flag="YES"))
    desk.sync()
    assert filed(desk) == {"Gagnez": "spam", "Paiement": "inbox"}
    assert [row.email for row in desk.installation.rows(Client)] == ["jean@client.test"]
