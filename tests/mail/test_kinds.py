"""Mail of many systems and people: what stands in `kinds/<kind>/` is of that kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.app.mail.classify import classify
from backend.app.mail.message import MailKind
from backend.app.mail.parse import parse_mail

KINDS = Path(__file__).parent / "kinds"
MAILS = sorted(KINDS.glob("*/*.eml"))
OWN = frozenset({"contact@societe.example", "contact@webagence.example"})


@pytest.mark.parametrize("path", MAILS, ids=[f"{p.parent.name}/{p.stem}" for p in MAILS])
def test_mail_is_of_its_kind(path: Path) -> None:
    found = classify(parse_mail(path.read_bytes()), OWN)
    assert found.kind == path.parent.name, found.reason


def test_every_kind_but_our_own_has_examples() -> None:
    assert {path.parent.name for path in MAILS} == {*MailKind} - {"own"}


def classified(kind: str, name: str, own: frozenset[str] = OWN) -> tuple[str, str]:
    found = classify(parse_mail((KINDS / kind / f"{name}.eml").read_bytes()), own)
    return found.kind, found.reason


def test_mail_through_a_group_counts_as_peoples_only_if_the_group_is_ours() -> None:
    assert classified("human", "through_our_own_google_group")[0] == "human"
    elsewhere = frozenset({"autre@ailleurs.example"})
    assert classified("human", "through_our_own_google_group", elsewhere)[0] == "list"


def test_notice_in_an_unknown_language_is_a_bounce_by_its_form() -> None:
    assert classified("bounce", "turkish_prose") == ("bounce", "mailer-daemon")


def test_bounce_that_names_a_message_id_keeps_it_apart_from_addresses() -> None:
    path = KINDS / "bounce" / "icloud_over_quota.eml"
    bounce = classify(parse_mail(path.read_bytes()), OWN).bounce
    assert bounce is not None
    assert (bounce.recipient, bounce.hard) == ("jean@icloud.example", False)
    assert bounce.original_message_id == "relance-1@societe.example"


def test_refusal_by_the_recipients_filter_names_whom_and_which_mail() -> None:
    path = KINDS / "bounce" / "dovecot_sieve_reject.eml"
    bounce = classify(parse_mail(path.read_bytes()), OWN).bounce
    assert bounce is not None
    assert (bounce.recipient, bounce.hard) == ("jean@client.example", True)
    assert bounce.original_message_id == "relance-1@societe.example"
