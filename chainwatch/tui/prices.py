"""The newest price of each pair and source, folded from `price_update` events. Pure; every value may be of any kind."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from math import isfinite
from typing import Any, Final, NamedTuple

import msgspec

from chainwatch.event import Event
from chainwatch.text import SYMBOL_LENGTH

_MOST: Final = 500
"""Pairs, after which the one that was told longest ago is forgotten."""
_KEPT: Final = 60
_DECODER: Final = msgspec.json.Decoder(Event)


class Price(NamedTuple):
    pair: str
    """`ETH/USD`."""
    source: str
    price: str
    change: str
    """Percent, with its sign; empty where it is not known."""
    at: float
    """Unix time, by the source's clock."""
    past: tuple[float, ...]


class Prices:
    """Prices by pair and source, in the order in which they were told."""

    def __init__(self) -> None:
        self._newest: dict[tuple[str, str], list[tuple[str, Price]]] = {}

    def __iter__(self) -> Any:
        return iter(told[-1][1] for told in self._newest.values() if told)

    def take(self, line: bytes) -> bool:
        """An event's JSON, of any type. Whether it says that wallets hold something else now."""
        try:
            event = _DECODER.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        if event.type == "price_update" and isinstance(event.data, dict):
            self._price(event, event.data)
        return event.type in ("balance_changed", "wallet_status")

    def _price(self, event: Event, data: dict[str, Any]) -> None:
        symbol, quote, source = (_text(data, name) for name in ("symbol", "quote", "source"))
        told = self._newest.pop((key := (f"{symbol}/{quote}", source)), [])
        if event.removed:  # a price of a block that is no more: the one before it holds again
            told = [one for one in told if one[0] != event.retracts]
        else:
            past = told[-1][1].past if told else ()
            with suppress(ValueError):
                number = float(_text(data, "price"))
                past = (*past, number)[-_KEPT:] if isfinite(number) else past
            price = Price(*key, _text(data, "price"), _change(data), _moment(event.timestamp), past)
            told = [*told[1 - _KEPT :], (event.id, price)]
        self._newest[key] = told
        if len(self._newest) > _MOST:
            del self._newest[next(iter(self._newest))]


def _text(data: dict[str, Any], name: str) -> str:
    value = data.get(name)
    return "" if value is None else str(value)[:SYMBOL_LENGTH]


def _change(data: dict[str, Any]) -> str:
    change = _text(data, "change_percent")
    return change if not change or change[0] in "-+" else f"+{change}"


def _moment(timestamp: str) -> float:
    try:
        return datetime.fromisoformat(timestamp).timestamp()
    except ValueError:
        return 0.0
