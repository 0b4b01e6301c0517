"""
How to find what a filter wants, decided before anything is read.

Keys find candidates. Two things may share a key (anyone can send a token to an address that ends like any 63-bit
number), so what decides is `pairs`, the exact chain and type of a row, and `wanted`, the filter itself, for which an
event has to be decoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from chainwatch.filter import Filter


class Plan(NamedTuple):
    """What to look for, and how."""

    keys: tuple[int, ...] | None
    """An event that matches has at least one of these; None: the index does not help, look at each event."""
    pairs: frozenset[int] | None
    """The ids of the chains and types that can match; None: any."""
    wanted: Filter | None
    """Decides on each candidate; None: what the two above find does match."""

    @property
    def is_open(self) -> bool:
        """Everything matches."""
        return self.keys is None and self.pairs is None and self.wanted is None

    @property
    def is_empty(self) -> bool:
        """Nothing in the log can match."""
        return self.keys == () or self.pairs == frozenset()


OPEN: Final = Plan(None, None, None)


def plan(wanted: Filter, known: Mapping[tuple[str | None, str], int]) -> Plan:
    """The plan for a filter on a log that knows these chains and types, each with its id."""
    if wanted.is_open:
        return OPEN
    pairs: frozenset[int] | None = None
    keys: frozenset[int] | None = None
    if wanted.types or wanted.chains:
        possible = {pair: number for pair, number in known.items() if wanted.takes(*pair)}
        if len(possible) < len(known) or not known:
            pairs = frozenset(possible.values())
            keys = wanted.pair_keys(possible)
    addresses = wanted.address_keys()
    if addresses is not None:
        keys = addresses
    return Plan(None if keys is None else tuple(sorted(keys)), pairs, None if wanted.by_pairs else wanted)
