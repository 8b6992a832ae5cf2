from __future__ import annotations

from datetime import date

import pytest

from backend.app.mail.parse import parse_mail
from backend.app.mail.returns import find_return_date

SENT = "Date: Mon, 3 Mar 2025 10:12:00 +0100\n"

RETURNS = [
    ("Je serai de retour le 12 mars.", date(2025, 3, 12)),
    ("De retour au bureau le 1er avril 2025.", date(2025, 4, 1)),
    ("Je suis absente jusqu'au 14/03/2025 inclus.", date(2025, 3, 15)),
    ("Je suis absent du 3 au 14 mars.", date(2025, 3, 15)),
    ("Je serai de nouveau joignable à partir du 10/03.", date(2025, 3, 10)),
    ("De retour le 6 janvier.", date(2026, 1, 6)),
    ("De retour jeudi.", date(2025, 3, 6)),
    ("I will be back in the office on March 12th.", date(2025, 3, 12)),
    ("I am back on Wednesday, 12 March 2025.", date(2025, 3, 12)),
    ("Out until 2025-03-14, returning 2025-03-17.", date(2025, 3, 17)),
    ("I am away through March 14, 2025.", date(2025, 3, 15)),
    ("Back on 3/12/2025.", date(2025, 3, 12)),
    ("I'll return on Monday.", date(2025, 3, 10)),
    ("Je serai de retour le 12 mars 2024.", None),  # a notice that nobody switched off
    ("Je serai de retour le 31 février.", None),
    ("Merci de votre message.", None),
    ("Mon numéro est le 06 12 03 20 25.", None),
]


@pytest.mark.parametrize(("text", "expected"), RETURNS)
def test_return_date(text: str, expected: date | None) -> None:
    assert find_return_date(parse_mail(f"{SENT}\n{text}\n".encode())) == expected


def test_without_a_date_header_only_a_full_date_counts() -> None:
    assert find_return_date(parse_mail(b"X: y\n\nde retour le 12 mars\n")) is None
    found = find_return_date(parse_mail(b"X: y\n\nback on 12 March 2025\n"))
    assert found == date(2025, 3, 12)
