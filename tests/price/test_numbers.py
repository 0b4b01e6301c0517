"""Prices as exact text."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from hypothesis import given, strategies as st

from chainwatch.price.numbers import change_percent, differs, price_of


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("3120.5512", "3120.5512"),
        ("3120", "3120"),
        ("0.10", "0.10"),
        ("1.2345e-05", "0.000012345"),
        ("1e-7", "0.0000001"),
        ("1.5E+3", "1500"),
        ("1.23456e2", "123.456"),
        ("12e1", "120"),
        ("0.000012e3", "0.012"),
        ("123456789012345678901234567890.123456789", "123456789012345678901234567890.123456789"),
    ],
)
def test_a_price_keeps_its_digits(text, price):
    assert price_of(text) == price


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "0.000",
        "0e5",
        "-1",
        "-0.5",
        "1e999",
        "1e-999",
        "1" * 61,
        "0." + "1" * 61,
        "1e61",
        "NaN",
        "",
        "1.",
        ".5",
        "1_0",
    ],
)
def test_what_is_no_price_is_none(text):
    assert price_of(text) is None


@given(st.decimals(min_value="1e-25", max_value="1e25", places=25), st.sampled_from(["f", "e", "E"]))
def test_a_price_is_the_number_that_was_told(number, form):
    with localcontext() as context:
        context.prec = 100
        told = format(number, form)
        price = price_of(told)
        assert price is not None
        assert Decimal(price) == Decimal(told)
        assert "e" not in price.lower()


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ("100", "101", "1.0000"),
        ("100", "98.75", "-1.2500"),
        ("3", "2", "-33.3333"),
        ("3", "4", "33.3333"),
        ("1", "1", "0.0000"),
        ("1000000", "999999.9999", "0.0000"),
        ("0.00000001", "1", "9999999900.0000"),
    ],
)
def test_a_change_is_in_per_cent(before, after, change):
    assert change_percent(before, after) == change


def test_a_change_of_exactly_the_least_is_one():
    least = Decimal("0.1")
    assert differs("1000", "1001", least)
    assert differs("1000", "999", least)
    assert not differs("1000", "1000.9999999999999999999999", least)
    assert not differs("0.3", "0.30", Decimal(0)), "the same price is no change"
    assert differs("0.3", "0.30000000000000000000000000000000000001", Decimal(0))
