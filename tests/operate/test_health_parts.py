"""The parts of `doctor` that need no installation: DNS, clocks, certificates, the time limit."""

from __future__ import annotations

import errno
import os
import socketserver
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from dns.resolver import Resolver

from backend.app.config import load_settings
from backend.app.operate.health.dns import check_domain, sending_domains
from backend.app.operate.health.doctor import run_all
from backend.app.operate.health.finding import Finding, Level, worst
from backend.app.operate.health.host import check_directories
from backend.app.operate.health.mailboxes import judge_certificate
from backend.app.operate.health.records import judge_clock

NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
SPF = "v=spf1 include:_spf.example.net -all"
DMARC = "v=DMARC1; p=none"


@pytest.fixture
def dns_server() -> Iterator[Callable[[dict[str, list[str]]], Resolver]]:
    """A resolver that asks a DNS server on loopback, which knows these TXT records alone."""
    servers: list[socketserver.UDPServer] = []

    def start(zone: dict[str, list[str]]) -> Resolver:
        class Answer(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, socket = self.request
                query = dns.message.from_wire(data)
                answer = dns.message.make_response(query)
                answer.flags |= dns.flags.RA
                name = query.question[0].name
                texts = zone.get(name.to_text(omit_final_dot=True))
                if texts is None:
                    answer.set_rcode(dns.rcode.NXDOMAIN)
                elif texts:
                    quoted = [f'"{text}"' for text in texts]
                    answer.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", *quoted))
                socket.sendto(answer.to_wire(), self.client_address)

        server = socketserver.UDPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        resolver = Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], server.server_address[1]
        return resolver

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("zone", "levels"),
    [
        ({"a.fr": ["x=1", SPF], "_dmarc.a.fr": [DMARC]}, {"spf": "ok", "dmarc": "ok"}),
        ({"a.fr": []}, {"spf": "warning", "dmarc": "warning"}),
        ({}, {"spf": "warning", "dmarc": "warning"}),
        ({"a.fr": [SPF, "v=spf1 -all"], "_dmarc.a.fr": [DMARC]}, {"spf": "warning", "dmarc": "ok"}),
        ({"a.fr": ["v=spf1 +all"]}, {"spf": "warning"}),
        ({"a.fr": [SPF], "_dmarc.a.fr": [DMARC, "v=DMARC1; p=reject"]}, {"dmarc": "warning"}),
    ],
)
def test_what_the_dns_says_of_a_domain(
    dns_server: Callable[[dict[str, list[str]]], Resolver],
    zone: dict[str, list[str]],
    levels: dict[str, str],
) -> None:
    found = {each.check: each for each in check_domain("a.fr", dns_server(zone))}
    assert {check: found[check].level.value for check in levels} == levels
    assert all(each.fix for each in found.values() if each.level is not Level.OK)


def test_the_record_of_the_registered_domain_speaks_for_those_below_it(
    dns_server: Callable[[dict[str, list[str]]], Resolver],
) -> None:
    resolver = dns_server({"mail.a.fr": [SPF], "_dmarc.a.fr": [DMARC]})
    assert worst(check_domain("mail.a.fr", resolver)) is Level.OK


def test_a_dns_that_does_not_answer_is_said_and_is_no_fault() -> None:
    nobody = Resolver(configure=False)
    assert [each.level for each in check_domain("a.fr", nobody)] == [Level.NOTICE]


def test_nobody_is_asked_about_names_that_are_reserved() -> None:
    addresses = ["a@x.test", "b@example.com", "c@Café.fr", "d@xn--caf-dma.fr", "e@test"]
    assert sending_domains(addresses) == ["xn--caf-dma.fr"]


@pytest.mark.parametrize(
    ("seconds", "level"),
    [(0, "ok"), (4, "ok"), (-4, "ok"), (30, "warning"), (-30, "warning"), (600, "fault")],
)
def test_how_far_the_clocks_may_be_apart(seconds: int, level: str) -> None:
    found = judge_clock(NOW, NOW + seconds * SECOND, NOW + SECOND)
    assert found.level == level


def test_an_answer_that_took_long_is_no_wrong_clock() -> None:
    assert judge_clock(NOW, NOW + 90 * SECOND, NOW + 100 * SECOND).level is Level.OK


@pytest.mark.parametrize(("days", "level"), [(90, "ok"), (13, "warning"), (2, "fault")])
def test_how_long_a_certificate_must_last(days: int, level: str) -> None:
    [found] = judge_certificate("imap.test:993", NOW + timedelta(days=days, hours=1), NOW)
    assert (found.level, f" {days} days" in found.words) == (level, True)


def test_a_directory_that_cannot_even_be_looked_at_is_a_fault_and_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another user, below a directory that is closed to us (root, who runs tests, gets in)."""
    closed, real = tmp_path / "closed", os.stat

    def stat(path: Any, *given: Any, **more: Any) -> os.stat_result:
        if str(path).startswith(f"{closed}/"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, *given, **more)

    monkeypatch.setattr(os, "stat", stat)
    settings = load_settings({"ATTACHMENTS_DIR": str(closed / "attachments")}, key_needed=False)
    found = {each.subject: each for each in check_directories(settings)}
    told = found[str(closed / "attachments")]
    assert (told.level, "Permission denied" in told.words) == (Level.FAULT, True)


def test_what_is_not_done_in_time_is_named_and_left_behind() -> None:
    never = threading.Event()
    quick = Finding("imap_sign_in", Level.OK, "it answers")

    def hang() -> list[Finding]:
        never.wait()
        return []

    def stumble() -> list[Finding]:
        raise RuntimeError("a mistake of ours")

    found = run_all([("mailbox 1", hang), ("mailbox 2", lambda: [quick]), ("x", stumble)], 0.5)
    never.set()
    assert [(each.check, each.subject) for each in found] == [
        ("imap_sign_in", ""),
        ("internal", ""),
        ("network", "mailbox 1"),
    ]
    assert "a mistake of ours" in found[1].words
    assert found[2].words.startswith("timeout: ")
