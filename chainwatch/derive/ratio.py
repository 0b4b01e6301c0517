"""Fractions as decimal numbers, for prices: exact first, then rounded once, and never with an exponent."""

from __future__ import annotations

from typing import Final

DIGITS: Final = 18
"""Significant digits that are kept."""


def plain(numerator: int, denominator: int) -> str:
    """A positive fraction as a decimal number, rounded (half up) to `DIGITS` significant digits."""
    # The power of ten that leaves so many digits before the point: or one too many, seen below.
    shift = DIGITS - (len(str(numerator)) - len(str(denominator)))
    digits = _rounded(numerator, denominator, shift)
    if digits >= 10**DIGITS:
        shift -= 1
        digits = _rounded(numerator, denominator, shift)
    if shift <= 0:
        return str(digits * 10**-shift)
    whole, rest = divmod(digits, 10**shift)
    fraction = f"{rest:0{shift}d}".rstrip("0")
    return f"{whole}.{fraction}" if fraction else str(whole)


def _rounded(numerator: int, denominator: int, shift: int) -> int:
    """The fraction times ten to the `shift`, to the nearest whole number."""
    if shift >= 0:
        numerator *= 10**shift
    else:
        denominator *= 10**-shift
    return (2 * numerator + denominator) // (2 * denominator)
