"""Prices to the last digit: against fractions of the standard library."""

from fractions import Fraction

import pytest
from hypothesis import given, strategies as st

from chainwatch.derive.ratio import DIGITS, plain


@pytest.mark.parametrize(
    ("numerator", "denominator", "shown"),
    [
        (1, 1, "1"),
        (1, 3, "0.333333333333333333"),
        (2, 3, "0.666666666666666667"),
        (5, 10, "0.5"),
        (123_456, 1000, "123.456"),
        (10**30, 1, "1" + "0" * 30),
        (10**30, 3, "333333333333333333" + "0" * 12),
        (1, 7 * 10**30, "0." + "0" * 30 + "142857142857142857"),
        (10**21 - 1, 10**21, "1"),
        (999_999_999_999_999_999, 10**18, "0.999999999999999999"),
        (9_999_999_999_999_999_995, 10**18, "10"),
        (10**18 + 5, 10, "100000000000000001"),
        (2**256 - 1, 10**18, "115792089237316195" + "0" * 42),
    ],
)
def test_a_fraction_is_a_plain_decimal_number(numerator, denominator, shown):
    assert plain(numerator, denominator) == shown


@given(st.integers(1, 2**600), st.integers(1, 2**600))
def test_it_is_never_further_off_than_half_of_its_last_digit(numerator, denominator):
    shown = plain(numerator, denominator)
    whole, _, fraction = shown.partition(".")
    assert whole.isdigit()
    assert whole == "0" or whole[0] != "0"
    assert fraction == "" or (fraction.isdigit() and fraction[-1] != "0")
    digits = (whole + fraction).strip("0")
    assert 1 <= len(digits) <= DIGITS
    exact = Fraction(numerator, denominator)
    assert abs(Fraction(shown) - exact) * 2 * 10 ** (DIGITS - 1) <= exact
