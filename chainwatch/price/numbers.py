"""Prices are decimal numbers as text, exact to the last digit: what can be said of them without rounding."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Final

_NUMBER: Final = re.compile(r"([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]{1,3}))?")

DIGITS: Final = 60
"""Digits that a price has at most on either side of the point. The cheapest coins have a dozen zeros behind it."""


def price_of(text: str) -> str | None:
    """
    A number of JSON as a price: its digits as they are, an exponent written out. None where it is not above zero, or
    longer than a price can be.
    """
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    whole, fraction, exponent = found[1], found[2] or "", int(found[3] or 0)
    if len(whole) > DIGITS or len(fraction) > DIGITS or abs(exponent) > DIGITS:
        return None
    if exponent > 0:
        fraction = fraction.ljust(exponent, "0")
        whole, fraction = (whole + fraction[:exponent]).lstrip("0") or "0", fraction[exponent:]
    elif exponent < 0:
        whole = whole.rjust(1 - exponent, "0")
        whole, fraction = whole[:exponent].lstrip("0") or "0", whole[exponent:] + fraction
    if len(whole) > DIGITS or len(fraction) > DIGITS or not (whole + fraction).strip("0"):
        return None
    return f"{whole}.{fraction}" if fraction else whole


def differs(before: str, after: str, percent: Decimal) -> bool:
    """Whether a price is another, by at least so many per cent of the one before; by exact arithmetic."""
    old, new = Fraction(before), Fraction(after)
    return new != old and abs(new - old) * 100 >= Fraction(percent) * old


def change_percent(before: str, after: str) -> str:
    """By how much a price changed, in per cent with four digits behind the point: `-1.2500`. Half goes to even."""
    old, new = Fraction(before), Fraction(after)
    units = round((new - old) * 1_000_000 / old)
    whole, rest = divmod(abs(units), 10_000)
    return f"{'-' if units < 0 else ''}{whole}.{rest:04d}"
