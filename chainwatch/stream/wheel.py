"""
One timer for all streams: heartbeats, durations, time-outs.

A stream's next look is put into a slot of time; slots that are due are emptied at once. Putting, taking out and asking
for the next slot cost the same for one stream and for ten thousand. Pure: the clock is an argument.
"""

from __future__ import annotations

import heapq
import math
from typing import Generic, TypeVar

T = TypeVar("T")


class Wheel(Generic[T]):
    """Things and when to look at them, in seconds of one clock, never early and at most `width` late."""

    def __init__(self, width: float) -> None:
        self._width = width
        self._slots: dict[int, dict[T, None]] = {}
        self._order: list[int] = []  # a heap of slots; one that was emptied stays until its time

    def __len__(self) -> int:
        return sum(len(slot) for slot in self._slots.values())

    def put(self, thing: T, at: float) -> int:
        """Look at `thing` at this time. The slot that it stands in: `discard` wants it."""
        number = math.ceil(at / self._width)
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = {}
            heapq.heappush(self._order, number)
        slot[thing] = None
        return number

    def discard(self, thing: T, slot: int) -> None:
        """Take `thing` out of that slot, where it still stands there."""
        if (things := self._slots.get(slot)) is not None:
            things.pop(thing, None)

    def due(self, now: float) -> list[T]:
        """Everything whose time has come, the earliest first. It is out of the wheel."""
        things: list[T] = []
        while self._order and self._order[0] * self._width <= now:
            things += self._slots.pop(heapq.heappop(self._order))
        return things

    def next(self) -> float | None:
        """When `due` has something next; None where nothing waits."""
        while self._order and not self._slots[self._order[0]]:
            del self._slots[heapq.heappop(self._order)]
        return self._order[0] * self._width if self._order else None
