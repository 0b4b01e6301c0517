"""
What no single table can check: names that must be unique, and names that must exist.

It reads the tables as they were written, before the models have seen them, so that a wrong value elsewhere hides
nothing; what is not of the right type is passed over here and reported by the models.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, Final

from chainwatch.config.explain import did_you_mean
from chainwatch.errors import Problem
from chainwatch.text import printable

Data = dict[str, Any]


def check_references(data: Data) -> Iterator[Problem]:
    """The problems between tables."""
    chains = [table["name"] for _, table in _tables(data, "chains") if isinstance(table.get("name"), str)]
    yield from _unique(data, "chains", "name", ("name",))
    yield from _unique(data, "wallets", "name", ("name",))
    yield from _unique(data, "webhooks", "name", ("name",))
    yield from _unique(data, "tokens", "address", ("chain", "address"))
    for index, wallet in _tables(data, "wallets"):
        given = wallet.get("chains")
        for position, name in enumerate(given if isinstance(given, list) else ()):
            yield from _exists(name, chains, f"wallets[{index}].chains[{position}]")
    for array in ("tokens", "prices"):
        for index, table in _tables(data, array):
            if "chain" in table:
                yield from _exists(table["chain"], chains, f"{array}[{index}].chain")
    for index, price in _tables(data, "prices"):
        source = price.get("source")
        needed = {"chainlink": ("chain", "feed"), "coingecko": ("id",), "coinmarketcap": ("id",)}
        for key in needed.get(source, ()) if isinstance(source, str) else ():
            if key not in price:
                yield Problem(f"prices[{index}].{key}", f"is required where source is {source!r}")
        yield from _misplaced(price, index)
    yield from _same_prices(data)


CHAINLINK_ONLY: Final = ("chain", "feed", "heartbeat")
WEB_ONLY: Final = ("id", "url", "api_key_file", "interval", "monthly_calls")


def _misplaced(price: Data, index: int) -> Iterator[Problem]:
    """Keys that mean nothing for the source: who writes them expects something of them."""
    source = price.get("source")
    foreign = WEB_ONLY if source == "chainlink" else CHAINLINK_ONLY if source in _WEB_SOURCES else ()
    for key in foreign:
        if key in price:
            yield Problem(f"prices[{index}].{key}", f"means nothing where source is {source!r}")


_WEB_SOURCES = ("coingecko", "coinmarketcap")


def _same_prices(data: Data) -> Iterator[Problem]:
    """One source tells one price of a thing: its name is how the price is remembered."""
    seen: dict[Hashable, int] = {}
    for index, price in _tables(data, "prices"):
        parts = [price.get("source"), price.get("chain", ""), price.get("symbol"), price.get("quote", "USD")]
        if not all(isinstance(part, str) for part in parts):
            continue
        first = seen.setdefault(tuple(parts), index)
        if first != index:
            yield Problem(f"prices[{index}].symbol", f"is told by that source for prices[{first}] already")
    yield from _unique(data, "prices", "feed", ("chain", "feed"))


def _tables(data: Data, name: str) -> Iterator[tuple[int, Data]]:
    given = data.get(name)
    for index, table in enumerate(given if isinstance(given, list) else ()):
        if isinstance(table, dict):
            yield index, table


def _unique(data: Data, array: str, key: str, by: tuple[str, ...]) -> Iterator[Problem]:
    seen: dict[Hashable, int] = {}
    for index, table in _tables(data, array):
        parts = [table.get(part) for part in by]
        if not all(isinstance(part, str) for part in parts):
            continue
        identity = tuple(str(part).lower() for part in parts)
        first = seen.setdefault(identity, index)
        if first != index:
            yield Problem(f"{array}[{index}].{key}", f"is the same as that of {array}[{first}]")


def _exists(name: object, chains: list[str], place: str) -> Iterator[Problem]:
    if not isinstance(name, str) or name in chains:
        return
    known = ", ".join(dict.fromkeys(chains))
    hint = did_you_mean(name, chains) or (f"there is: {known}" if known else "there are no chains")
    yield Problem(place, f"no chain is called {printable(name, 64)!r}", printable(hint))
