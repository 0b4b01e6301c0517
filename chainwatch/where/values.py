"""
What values are, and what the operators do with them. Exact: a number is a Python int, or a `Ratio` of two; there is no
float and no rounding. What the language calls an error is `Undecided` here.

    whole numbers    of any sign; dividing two of them goes toward zero, as in CEL
    Ratio            what is written with a point or an exponent, decimal strings of prices, floats of JSON (by the
                     digits that JSON has for them); dividing by one is exact
    text             a string; one that is a decimal number compares and computes with numbers as that number
    Time, Span       nanoseconds
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import repeat
from math import gcd
from typing import Any, Final, NamedTuple

DIGITS: Final = 128
"""Characters of the longest text that is a number. 2^256 has 78 digits."""
BITS: Final = 2048
"""Of the largest number that can be computed: 2^256 multiplied by itself eight times over."""


SLOW: Final = 6
"""Steps that it takes to read a moment, or the digits of a float."""


class Undecided(Exception):
    """
    An error in the sense of the language: a field that is not there, a division by zero, kinds that do not go together.
    Neither true nor false; `&&` and `||` may still know what the whole is.
    """


class Ratio(NamedTuple):
    """An exact fraction, not reduced. It is compared by `order`, never as the tuple that it is."""

    numerator: int
    denominator: int
    """More than 0."""

    def decimal(self) -> str:
        """As a decimal number with a point. `ValueError` where it has no end, such as a third."""
        common = gcd(self.numerator, self.denominator)
        divisor = self.denominator // common
        places = divisor.bit_length()  # enough: 10^n has n factors of 2 and n of 5
        if 10**places % divisor:
            raise ValueError("a number without an end")
        digits = str(abs(self.numerator // common) * (10**places // divisor)).rjust(places + 1, "0")
        sign = "-" if self.numerator < 0 else ""
        return f"{sign}{digits[:-places]}.{digits[-places:].rstrip('0') or '0'}"


class Time(NamedTuple):
    """A moment: nanoseconds since 1970, UTC."""

    ns: int


class Span(NamedTuple):
    """A duration: nanoseconds, signed."""

    ns: int


class Meter:
    """What one evaluation may still do, in steps."""

    __slots__ = ("left",)

    def __init__(self, steps: int) -> None:
        self.left = steps

    def spend(self, steps: int) -> None:
        """`Undecided` where too much would be done."""
        self.left -= steps
        if self.left < 0:
            raise Undecided("more than one evaluation may do")


# --- numbers ------------------------------------------------------------------------------------------------------

_TENS: Final = [10**places for places in range(DIGITS)]


def number_of_text(text: str) -> int | Ratio | None:
    """The number of a decimal string without an exponent; None for any other text."""
    if len(text) > DIGITS:
        return None
    if text.isdigit() and text.isascii():  # most amounts
        return int(text)
    if not text.isascii():
        return None
    whole, point, behind = text.removeprefix("-").partition(".")
    if not whole.isdigit() or (point and not behind.isdigit()):
        return None
    value = int(whole + behind)
    value = -value if text[0] == "-" else value
    return Ratio(value, _TENS[len(behind)]) if point else value


def number(value: Any) -> int | Ratio | None:
    """The number that a value is, or that its text is; None where it is none."""
    kind = type(value)
    if kind is str:
        return number_of_text(value)
    found: int | Ratio | None = None
    if kind is int or kind is Ratio:
        found = value
    elif kind is float:
        found = _of_float(value)
    return found


def fraction(value: Any) -> Ratio | None:
    """The same, as something that divides exactly."""
    found = number(value)
    return Ratio(found, 1) if isinstance(found, int) else found


def _of_float(value: float) -> Ratio | None:
    """By its digits in JSON: what was sent as 0.1 is a tenth."""
    mantissa, _, exponent = repr(value).partition("e")
    found = fraction(mantissa)
    if found is None:  # no number
        return None
    shift = int(exponent or 0)
    if shift < 0:
        return Ratio(found.numerator, found.denominator * 10**-shift)
    return Ratio(found.numerator * 10**shift, found.denominator)


def _bounded(value: int | Ratio) -> int | Ratio:
    """A few multiplications of large numbers would make numbers that take a while."""
    if max(map(int.bit_length, _parts(value))) > BITS:
        raise Undecided("overflow")
    return value


def _parts(value: int | Ratio) -> tuple[int, int]:
    return value if isinstance(value, Ratio) else (value, 1)


def compute(operator: str, a: int | Ratio, b: int | Ratio) -> int | Ratio:
    """`+ - * / %` of two numbers."""
    if type(a) is int and type(b) is int:
        match operator:
            case "+":
                return _bounded(a + b)
            case "-":
                return _bounded(a - b)
            case "*":
                return _bounded(a * b)
        if b == 0:
            raise Undecided("division by zero")
        quotient = abs(a) // abs(b)
        quotient = quotient if (a < 0) == (b < 0) else -quotient
        return quotient if operator == "/" else a - quotient * b
    (p, q), (r, s) = _parts(a), _parts(b)
    match operator:
        case "+":
            return _bounded(Ratio(p * s + r * q, q * s))
        case "-":
            return _bounded(Ratio(p * s - r * q, q * s))
        case "*":
            return _bounded(Ratio(p * r, q * s))
    if r == 0:
        raise Undecided("division by zero")
    if operator == "/":
        return _bounded(Ratio(p * s, q * r) if r > 0 else Ratio(-p * s, q * -r))
    if p % q or r % s:
        raise Undecided("a remainder of what is no whole number")
    return compute("%", p // q, r // s)


# --- times --------------------------------------------------------------------------------------------------------

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOMENT: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_SPAN: Final = re.compile(r"([+-]?)((?:[0-9]{1,18}(?:\.[0-9]{1,9})?(?:h|m|s|ms|us|ns))+|0)")
_PART: Final = re.compile(r"([0-9]+)(?:\.([0-9]+))?([a-z]+)")
_UNITS: Final = {"h": 3_600_000_000_000, "m": 60_000_000_000, "s": 1_000_000_000, "ms": 1_000_000, "us": 1000, "ns": 1}
_FIRST: Final = -62_135_596_800 * 10**9  # the year 1
_LAST: Final = 253_402_300_800 * 10**9 - 1  # the year 9999
_LONGEST: Final = 315_576_000_000 * 10**9  # 10,000 years


def time_of_text(text: str) -> Time | None:
    """The moment of RFC 3339; None for any other text."""
    found = _MOMENT.fullmatch(text) if len(text) <= 40 else None
    if found is None:
        return None
    day, clock, digits, zone = found.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{zone.upper()}")
        ns = (moment - _EPOCH) // timedelta(seconds=1) * 10**9 + int((digits or "0").ljust(9, "0"))
    except (ValueError, OverflowError):
        return None
    return Time(ns) if _FIRST <= ns <= _LAST else None


def span_of_text(text: str) -> Span | None:
    """The duration that a text such as `1h30m` or `-1.5s` is; None for any other."""
    found = _SPAN.fullmatch(text) if len(text) <= 64 else None
    if found is None:
        return None
    total = 0
    for whole, digits, unit in _PART.findall(found[2]):
        total += int(whole + digits) * _UNITS[unit] // 10 ** len(digits)
    return Span(-total if found[1] == "-" else total) if total <= _LONGEST else None


def time(value: Any) -> Any:
    """The moment of a text; anything else as it is."""
    return (time_of_text(value) or value) if type(value) is str else value


def shift(operator: str, a: Any, b: Any, meter: Meter) -> Time | Span:
    """`+` and `-` of moments and durations; text that is a moment counts as that."""
    meter.spend(SLOW)
    a, b = time(a), time(b)
    kinds = (type(a), operator, type(b))
    ns = 0
    match kinds:
        case (one, "+", other) if {one, other} == {Time, Span} or one is other is Span:
            ns = a.ns + b.ns
        case (one, "-", other) if (one in (Time, Span) and other is Span) or one is other is Time:
            ns = a.ns - b.ns
        case _:
            raise Undecided("no such operation")
    if kinds[0] is kinds[2]:  # the difference of two moments, or two durations
        if abs(ns) > _LONGEST:
            raise Undecided("overflow")
        return Span(ns)
    if not _FIRST <= ns <= _LAST:
        raise Undecided("overflow")
    return Time(ns)


# --- comparisons --------------------------------------------------------------------------------------------------

_ADDRESS: Final = re.compile(r"0[xX][0-9a-fA-F]{40}")
_DEEPEST: Final = 16  # lists inside one another that are compared: a stranger sends hundreds
NUMBERS: Final = frozenset({int, Ratio, float})
_EXACT: Final = frozenset({int, Ratio})


def is_address(text: str) -> bool:
    """0x and 40 hexadecimal digits, in any case."""
    return len(text) == 42 and _ADDRESS.fullmatch(text) is not None


def equal(a: Any, b: Any, meter: Meter, depth: int = 0) -> bool:
    """
    Whether two values are the same. Addresses are in any case; text that is a number equals the number; other values of
    different kinds are not equal.
    """
    kind, other = type(a), type(b)
    if kind is str and other is str:
        return a == b or (len(a) == 42 == len(b) and is_address(a) and a.lower() == b.lower())
    if kind in NUMBERS or other in NUMBERS:
        if kind is float or other is float:
            meter.spend(SLOW)
        x, y = number(a), number(b)
        return x is not None and y is not None and _sign(x, y) == 0
    if kind is Time or other is Time:
        meter.spend(SLOW)
        return time(a) == time(b) and type(time(a)) is type(time(b))
    if kind is not other:
        return False
    if kind is not list and kind is not dict:
        return bool(a == b)
    if depth > _DEEPEST:
        raise Undecided("lists inside one another")
    meter.spend(len(a))
    if kind is list:
        return len(a) == len(b) and all(map(equal, a, b, repeat(meter), repeat(depth + 1)))
    return a.keys() == b.keys() and all(equal(value, b[name], meter, depth + 1) for name, value in a.items())


def order(a: Any, b: Any, meter: Meter) -> int:
    """Less than 0, 0, or more than 0, as `a` is less than, equal to, or more than `b`."""
    kind, other = type(a), type(b)
    if kind in _EXACT and other in _EXACT:
        return _sign(a, b)
    if kind is str and other is str:
        return int(a > b) - int(a < b)
    if kind in NUMBERS or other in NUMBERS:
        if kind is float or other is float:
            meter.spend(SLOW)
        x, y = number(a), number(b)
        if x is None or y is None:
            raise Undecided("not a number")
        return _sign(x, y)
    if kind is Time or other is Time:
        meter.spend(SLOW)
        a, b = time(a), time(b)
        if type(a) is type(b) is Time:
            return int(a.ns - b.ns)
    elif kind is other and kind in (bool, Span):
        return int(a > b) - int(a < b)
    raise Undecided("no such comparison")


def _sign(a: int | Ratio, b: int | Ratio) -> int:
    if isinstance(a, int):
        return a - b if isinstance(b, int) else a * b.denominator - b.numerator
    if isinstance(b, int):
        return a.numerator - b * a.denominator
    return a.numerator * b.denominator - b.numerator * a.denominator
