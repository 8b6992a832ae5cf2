"""What a professional client in France owes beside a late invoice, computed on its balance. Pure.

Code de commerce L441-10, II: a late-payment rate, due from the day after the due date without any
reminder, and a fixed charge for recovery costs, 40 euros an invoice (D441-5). The rate is the one
of the company's terms; without one it would be the European Central Bank's refinancing rate of
1 January or 1 July plus 10 points, and it may not be less than three times the legal interest
rate. Both change with the half-year, so no rate is built in here: what a company does not state
is not charged.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

DAYS_A_YEAR = 365
_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class LateDue:
    """Amounts in euros. rate_percent and interest are None when no rate is stated."""

    balance: Decimal
    charge: Decimal
    rate_percent: Decimal | None
    days_late: int
    interest: Decimal | None

    @property
    def total(self) -> Decimal:
        return self.balance + self.charge + (self.interest or Decimal(0))


def late_due(
    balance: Decimal, days_late: int, charge: Decimal, rate_percent: Decimal | None
) -> LateDue:
    """days_late: from the due date; the first day that counts is the day after it.

    Simple interest, balance x rate x days / 365, rounded to the cent at the end.
    """
    if days_late < 1:
        raise ValueError("nothing is late yet")
    interest = None
    if rate_percent is not None:
        exact = balance * rate_percent / 100 * days_late / DAYS_A_YEAR
        interest = exact.quantize(_CENT, ROUND_HALF_UP)
    return LateDue(balance, charge.quantize(_CENT), rate_percent, days_late, interest)
