"""
The chain's state at every block that is kept, cheaply: each block holds only what it changed.

Of the canonical chain, each key has a short history of (block number, value), so reading at any block is one binary
search. A block that is not canonical is read by walking its own changes down to the canonical chain (`view`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

from chainwatch.chain.simulated.contracts import Key, Read


class Draft:
    """The state while one block is made: reads fall through to what was before, writes stay here."""

    __slots__ = ("_read", "changes", "time")

    def __init__(self, read: Read, time: int = 0) -> None:
        self._read = read
        self.time = time
        """Of the block, in Unix seconds."""
        self.changes: dict[Key, int] = {}

    def get(self, key: Key) -> int:
        value = self.changes.get(key)
        return self._read(key) if value is None else value

    def put(self, key: Key, value: int) -> None:
        self.changes[key] = value

    def add(self, key: Key, amount: int) -> None:
        self.changes[key] = self.get(key) + amount

    def move(self, what: str, sender: str, to: str, amount: int) -> None:
        """Sending to oneself changes nothing, and still counts as a change."""
        self.add((what, sender), -amount)
        self.add((what, to), amount)


class History:
    """Values of the canonical chain by key and block number."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[Key, list[tuple[int, int]]] = {}

    def latest(self, key: Key) -> int:
        values = self._values.get(key)
        return values[-1][1] if values else 0

    def at(self, key: Key, number: int) -> int:
        """The value after block `number`."""
        values = self._values.get(key)
        if not values:
            return 0
        place = bisect_left(values, (number + 1,))
        return values[place - 1][1] if place else 0

    def extend(self, number: int, changes: Mapping[Key, int]) -> None:
        for key, value in changes.items():
            self._values.setdefault(key, []).append((number, value))

    def retract(self, changes: Mapping[Key, int]) -> None:
        """Undo the newest block."""
        for key in changes:
            values = self._values[key]
            values.pop()
            if not values:
                del self._values[key]

    def forget(self, changes: Mapping[Key, int], oldest: int) -> None:
        """A block with these changes is gone; let go what nobody can read any more from block `oldest` on."""
        for key in changes:
            values = self._values[key]
            while len(values) > 1 and values[1][0] <= oldest:
                del values[0]
