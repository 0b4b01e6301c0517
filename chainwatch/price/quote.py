"""What is asked of a source of prices, what it answered, and what is wrong with its answer."""

from __future__ import annotations

import email.utils
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from chainwatch.price.numbers import price_of
from chainwatch.text import printable

BATCH: Final = 100
"""Ids in one request: what CoinMarketCap bills as one call, and short enough for a URL."""
AHEAD: Final = 3600
"""Seconds that a source's clock may be ahead of ours; a price of next year would hide all that come before."""

T = TypeVar("T")


class Ask(NamedTuple):
    """One price to ask for."""

    id: str
    """As the source calls it."""
    quote: str
    """What it is priced in, upper or lower case."""


class Price(NamedTuple):
    """One price as the source told it."""

    price: str
    """A decimal number, exact."""
    updated_at: int
    """Unix milliseconds, by the source's clock."""


class Request(NamedTuple):
    """One HTTP request, and what it asks for."""

    url: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    asks: tuple[Ask, ...]


class Answer(NamedTuple):
    """What came of a request. Each of its asks is in one of the two."""

    prices: dict[Ask, Price]
    problems: dict[Ask, str]


class Unusable(Exception):
    """Nothing of an answer can be used; the text says why, harmless and without secrets."""


class NoPrice(Exception):
    """One of the prices cannot be used; the text says why."""


class Limited(Unusable):
    """The source wants to be left alone, for `rest` seconds at least where it says."""

    def __init__(self, reason: str, rest: float | None = None) -> None:
        super().__init__(reason)
        self.rest = rest


class Number(str):
    """A number of JSON, as its text: to tell 3 from "3"."""

    __slots__ = ()


def parse(body: bytes) -> dict[str, Any]:
    """The object in that JSON, with its numbers as text. `Unusable` where it is none."""
    if _too_much(body):
        raise Unusable("its answer has more parts than prices can have")
    try:
        told = json.loads(body, parse_float=Number, parse_int=Number, parse_constant=_no_number)
    except (ValueError, RecursionError):
        page = body.lstrip()[:1] == b"<"
        raise Unusable("it answered with a web page" if page else "its answer is no JSON, or not all of it") from None
    if not isinstance(told, dict):
        raise Unusable("its answer is no JSON object")
    return told


DEPTH: Final = 64
PIECES: Final = 100_000
"""Strings and brackets: a hundred coins have a fifth of that. More are not read, they would keep everybody waiting."""
# A string (to the end, where it has none), or a bracket. Nothing is looked at twice, however it is quoted.
_pieces: Final = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)


def _too_much(body: bytes) -> bool:
    """Many parts, or brackets within brackets: how many Python's own parser survives hangs on who raised its limit."""
    depth = 0
    for count, piece in enumerate(_pieces.finditer(body)):
        first = piece[0][:1]
        if first != b'"':
            depth += 1 if first in b"[{" else -1
        if depth > DEPTH or count > PIECES:
            return True
    return False


def _no_number(word: str) -> None:
    """NaN and the infinities are no JSON, and no prices."""
    raise ValueError(word)


def read_price(told: object) -> str:
    """The price. `NoPrice` says what it is instead."""
    if told is None:
        raise NoPrice("it has no price")
    if not isinstance(told, Number):
        raise NoPrice("its price is no number")
    price = price_of(told)
    if price is None:
        raise NoPrice(f"its price cannot be meant: {printable(told, 40)}")
    return price


def checked_time(milliseconds: int, now: float) -> int:
    """A source's time. `NoPrice` where it is before 2009 (there were no coins), or in the future."""
    if not 1_230_768_000_000 <= milliseconds <= (now + AHEAD) * 1000:
        raise NoPrice("its time cannot be meant")
    return milliseconds


def rest_of(value: str | None, now: float) -> float | None:
    """Seconds of a `Retry-After` header (RFC 9110, 10.2.3): a number, or a date. None where it says nothing."""
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value[:12])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def batches(items: Sequence[T]) -> Iterator[tuple[T, ...]]:
    for first in range(0, len(items), BATCH):
        yield tuple(items[first : first + BATCH])


def said(told: object) -> str:
    """What a source said for people, in brackets; empty where it said nothing."""
    return f" ({printable(told, 120)})" if isinstance(told, str) and told else ""
