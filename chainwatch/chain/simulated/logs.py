"""The filter of `eth_getLogs` and of `logs` subscriptions: any of some addresses, and topics by their position."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from chainwatch.chain.simulated.block import Block
from chainwatch.chain.simulated.primitives import Log

_DIGITS: Final = frozenset("0123456789abcdefABCDEF")


class Filter(NamedTuple):
    addresses: frozenset[str]
    """Empty: any."""
    topics: tuple[frozenset[str], ...]
    """By position; empty: any. A log with fewer topics than positions does not match."""


def is_hex(value: object, size: int | None = None) -> bool:
    """Whole bytes of hex with `0x`, so many of them where a size is given."""
    if not isinstance(value, str) or value[:2] != "0x" or len(value) % 2 or not _DIGITS.issuperset(value[2:]):
        return False
    return size is None or len(value) == 2 + 2 * size


def parse(query: Any) -> Filter:
    """The `address` and `topics` of a query object. ValueError: what is wrong with it."""
    if query is None:
        query = {}
    if not isinstance(query, dict):
        raise ValueError("want an object")  # noqa: TRY004 - the one error of this function
    topics = query.get("topics") or []
    if not isinstance(topics, list):
        raise ValueError("invalid topics")  # noqa: TRY004
    if len(topics) > 4:
        raise ValueError("exceed max topics")
    return Filter(_choice(query.get("address"), 20), tuple([_choice(topic, 32) for topic in topics]))


def _choice(found: Any, size: int) -> frozenset[str]:
    values = found if isinstance(found, list) else [] if found is None else [found]
    if None in values:  # null among the alternatives lets anything through
        return frozenset()
    if not all(is_hex(value, size) for value in values):
        raise ValueError(f"want {size} bytes of hex with 0x prefix")
    return frozenset(value.lower() for value in values)


def matches(log: Log, wanted: Filter) -> bool:
    if wanted.addresses and log.address not in wanted.addresses:
        return False
    if len(wanted.topics) > len(log.topics):
        return False
    return all(not any_of or topic in any_of for topic, any_of in zip(log.topics, wanted.topics, strict=False))


def matching(block: Block, wanted: Filter) -> list[bytes]:
    """The JSON of those logs of a block that match, in order."""
    if not wanted.addresses and not wanted.topics:
        return block.wire.logs
    chosen = [index for index, log in enumerate(block.logs) if matches(log, wanted)]
    return [block.wire.logs[index] for index in chosen]
