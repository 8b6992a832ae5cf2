"""The most that a run of the minute job ever holds, a mail of 25 MB included."""

from __future__ import annotations

import itertools
from pathlib import Path

from tests.bench import ours
from tests.bench.corpus import Corpus
from tests.bench.post_office import post_office
from tests.bench.table import Finding, Section, megabytes

COLUMNS = ("", "peak memory", "above the interpreter with its imports")
LARGE = 24_000_000  # with line ends just below what is fetched part by part


def compare(directory: Path, mails: int) -> Section:
    section = Section("Memory of a first sync", COLUMNS)
    base = ours.interpreter_with_imports(directory).peak
    section.rows.append(("interpreter with the job's imports", megabytes(base), "-"))
    with post_office(directory / "dovecot") as office, ours.databases(directory) as databases:
        usual = office.fill(Corpus().mails(mails))
        large = office.fill(itertools.chain(Corpus().mails(50), [Corpus().large_mail(LARGE)]))
        for name, server in databases.items():
            for what, account, number in (
                (f"{mails} mails", usual, mails),
                ("50 mails and one of 25 MB", large, 51),
            ):
                with ours.fresh(directory / f"memory_{name}_{number}", server) as relance:
                    relance.add_mailbox(office.copy(account), office.server)
                    peak = relance.sync_all(number).peak
                label = f"{name}, {what}"
                above = peak - base
                section.rows.append((label, megabytes(peak), megabytes(above)))
                finding = Finding(f"{label}: MB above the imports", above / 1e6, 120, False)
                section.findings.append(finding)
    return section
