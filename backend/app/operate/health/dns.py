"""What the DNS says of a domain that reminders are sent from: SPF (RFC 7208), DMARC (RFC 7489).

Without either, large providers file reminders under spam or refuse them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from backend.app.mail.compose import ascii_domain
from backend.app.operate.health.finding import Finding, Level

if TYPE_CHECKING:
    from dns.resolver import Resolver

SECONDS = 4.0  # for one question, with all its tries
# RFC 2606 and RFC 6761: nobody can have an address there, so that no resolver is asked.
RESERVED = ("test", "example", "invalid", "localhost", "local", "example.com", "example.net")


def sending_domains(addresses: list[str]) -> list[str]:
    """Each domain once, as the DNS spells it."""
    domains = {ascii_domain(address.rpartition("@")[2]).lower() for address in addresses}
    return sorted(each for each in domains if not _is_reserved(each))


def _is_reserved(domain: str) -> bool:
    return any(domain == each or domain.endswith(f".{each}") for each in RESERVED)


def check_domain(domain: str, resolver: Resolver | None = None) -> list[Finding]:
    """resolver: the system's when None. Where no answer comes it is said, as no fault."""
    from dns.exception import DNSException
    from dns.resolver import Resolver as SystemResolver

    try:
        resolver = resolver or SystemResolver()
        resolver.lifetime = SECONDS
        spf = _texts(resolver, domain, "v=spf1")
        dmarc = _dmarc(resolver, domain)
    except (DNSException, OSError) as error:
        words = f"the DNS could not be asked about {domain}: {type(error).__name__}"
        return [Finding("dns", Level.NOTICE, words, subject=domain)]
    return [*judge_spf(domain, spf), *judge_dmarc(domain, dmarc)]


def _texts(resolver: Resolver, name: str, beginning: str) -> list[str]:
    """The TXT records of a name that begin so; [] where there is none or no such name."""
    from dns.resolver import NXDOMAIN, NoAnswer

    try:
        answer = resolver.resolve(name, "TXT")
    except (NXDOMAIN, NoAnswer):
        return []
    texts = [b"".join(record.strings).decode("utf-8", "replace") for record in answer]
    return [text for text in texts if text.lower().startswith(beginning.lower())]


def _dmarc(resolver: Resolver, domain: str) -> list[str]:
    for name in _dmarc_names(domain):
        if found := _texts(resolver, name, "v=DMARC1"):
            return found
    return []


def _dmarc_names(domain: str) -> Iterator[str]:
    """The domain's own, then those above it up to the registered one, which speak for it."""
    labels = domain.split(".")
    for first in range(max(1, len(labels) - 1)):
        yield "_dmarc." + ".".join(labels[first:])


def judge_spf(domain: str, records: list[str]) -> Iterator[Finding]:
    if not records:
        words = f"{domain} has no SPF record: many servers take its reminders for spam"
        fix = f'TXT record of {domain}: "v=spf1 include:YOUR_PROVIDER -all"'
        yield Finding("spf", Level.WARNING, words, fix, domain)
    elif len(records) > 1:
        words = f"{domain} has {len(records)} SPF records: with more than one none counts"
        fix = f"make one of them; see: dig +short TXT {domain}"
        yield Finding("spf", Level.WARNING, words, fix, domain)
    elif "+all" in records[0].lower().split():
        words = f"{domain} lets everybody send in its name (+all)"
        yield Finding("spf", Level.WARNING, words, "end the SPF record with -all", domain)
    else:
        yield Finding("spf", Level.OK, f"{domain} has an SPF record", subject=domain)


def judge_dmarc(domain: str, records: list[str]) -> Iterator[Finding]:
    if len(records) == 1:
        yield Finding("dmarc", Level.OK, f"{domain} has a DMARC record", subject=domain)
        return
    what = "no DMARC record" if not records else "more than one DMARC record, so none counts"
    fix = f'TXT record of _dmarc.{domain}: "v=DMARC1; p=none; rua=mailto:postmaster@{domain}"'
    words = f"{domain} has {what}: Google and Microsoft want one of who sends much"
    yield Finding("dmarc", Level.WARNING, words, fix, domain)
