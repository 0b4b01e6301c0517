"""What a simulated chain is made of: seeded dice, hashes, words of the ABI, bloom bits."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeVar

from eth_hash.auto import keccak

T = TypeVar("T")

_MASK: Final = (1 << 64) - 1


class Dice:
    """
    A stream of numbers that hangs on nothing but its seed: splitmix64, so the same on every machine and every version
    of Python, which `random` does not promise for all of its methods.
    """

    __slots__ = ("_state",)

    def __init__(self, *seed: object) -> None:
        self._state = int.from_bytes(_blake(8, *seed), "big")

    def bits(self) -> int:
        """64 of them."""
        self._state = state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & _MASK
        return state ^ (state >> 31)

    def below(self, limit: int) -> int:
        """A number from 0 up to, not including, `limit`."""
        return self.bits() * limit >> 64

    def between(self, low: int, high: int) -> int:
        """A number from `low` to `high`, both possible."""
        return low + self.below(high - low + 1)

    def one_in(self, sides: int) -> bool:
        return self.below(sides) == 0

    def pick(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def favour(self, items: Sequence[T]) -> T:
        """One of `items`, the first ones far more often: the busy wallets of a chain are few."""
        return items[self.below(self.below(len(items)) + 1)]


class Weights:
    """Names to draw from, each as often as its weight says."""

    __slots__ = ("_names", "_sums")

    def __init__(self, weights: Mapping[str, int]) -> None:
        self._names = tuple(weights)
        self._sums: list[int] = []
        total = 0
        for weight in weights.values():
            total += weight
            self._sums.append(total)

    def draw(self, dice: Dice) -> str:
        return self._names[bisect_right(self._sums, dice.below(self._sums[-1]))]


def _blake(size: int, *parts: object) -> bytes:
    return hashlib.blake2b("\x1f".join([str(part) for part in parts]).encode(), digest_size=size).digest()


def digest(*parts: object) -> str:
    """32 bytes that stand where a real chain has a hash: BLAKE2b, ten times cheaper here than Keccak."""
    return "0x" + _blake(32, *parts).hex()


def address(label: str) -> str:
    """The address of somebody in the simulation, the same in every world."""
    return "0x" + _blake(20, "chainwatch simulated", label).hex()


def word(value: int) -> str:
    """One 32-byte word of the ABI, without `0x`."""
    return f"{value:064x}"


def padded(owner: str) -> str:
    """An address as a word of the ABI, without `0x`."""
    return "0" * 24 + owner[2:]


@lru_cache(maxsize=4096)
def indexed(owner: str) -> str:
    """An address as a topic, with `0x`: one string for all logs that name it."""
    return "0x" + padded(owner)


def topic(signature: str) -> str:
    """The first topic of an event's logs."""
    return "0x" + keccak(signature.encode()).hex()


def selector(signature: str) -> str:
    """The first four bytes of a call's data, with `0x`."""
    return topic(signature)[:10]


def array(values: Sequence[int]) -> str:
    """A dynamic array of words: its length, then its items."""
    return word(len(values)) + "".join([word(value) for value in values])


def text(value: str) -> str:
    """A string as the only return value of a call, with `0x`."""
    raw = value.encode()
    return "0x" + word(32) + word(len(raw)) + raw.hex().ljust(-(-len(raw) // 32) * 64, "0")


def created_address(sender: str, nonce: int) -> str:
    """Where CREATE puts a contract: the last 20 bytes of keccak(rlp([sender, nonce])), Yellow Paper section 7."""
    if nonce < 0x80:
        encoded = bytes([nonce or 0x80])
    else:
        raw = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
        encoded = bytes([0x80 + len(raw)]) + raw
    body = b"\x94" + bytes.fromhex(sender[2:]) + encoded
    return "0x" + keccak(bytes([0xC0 + len(body)]) + body).hex()[24:]


class Log(NamedTuple):
    """What a contract wrote, before it has a place in a block."""

    address: str
    topics: tuple[str, ...]
    data: str


@lru_cache(maxsize=65_536)
def _bloom_bits(item: str) -> int:
    hashed = keccak(bytes.fromhex(item[2:]))
    return sum({1 << (int.from_bytes(hashed[at : at + 2], "big") & 2047) for at in (0, 2, 4)})


def bloom(logs: Sequence[Log]) -> int:
    """The 2,048-bit filter over addresses and topics, Yellow Paper section 4.3.1, as a number."""
    bits = 0
    for log in logs:
        bits |= _bloom_bits(log.address)
        for item in log.topics:
            bits |= _bloom_bits(item)
    return bits
