"""
The memory tail: the newest events, bounded in bytes, for streams that are hardly behind.

It holds what a stream sends and what decides whether it does, and no object per event: the frames of a chunk are one
blob, beside them arrays of C integers. So a chunk costs about a tenth more than its frames, where the events
themselves would cost four times as much, and readers at the same place share one bytes object.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from sys import getsizeof
from typing import Final

from chainwatch.event import decode, interest
from chainwatch.log import Entry, Slice
from chainwatch.log.plan import Plan
from chainwatch.where import View

CHUNK: Final = 65_536
"""Bytes of frames at which a chunk is full."""
_LOOKED: Final = 4096  # events and chunks that one read looks at: it runs on the event loop, and takes about 1 ms
_STEPS: Final = 32_768  # of expressions, in one read: the same goes for them
_CHUNKS: Final = 512
_BISECTED: Final = 64  # with more keys than this, one pass over the chunk's keys is cheaper than a bisection for each
_EMPTY: Final = 160 + getsizeof(b"") + sum(getsizeof(array(kind)) for kind in "QIqI") + 2 * getsizeof(1 << 40)
"""Bytes of a chunk that holds nothing; 160: the object, its size, its place in two lists."""


class Chunk:
    """Consecutive events; never changed."""

    __slots__ = ("blob", "ends", "first", "keys", "last", "pairs", "places", "size")

    def __init__(self, entries: Sequence[Entry], pairs: Sequence[int]) -> None:
        self.first = entries[0].sequence
        self.last = entries[-1].sequence
        if self.first == self.last:  # most commits of a quiet chain
            frames, keys = [entries[0].frame], sorted(entries[0].keys)
            places = [0] * len(keys)
        else:
            frames = [entry.frame for entry in entries]
            unordered = [key for entry in entries for key in entry.keys]
            whose = [place for place, entry in enumerate(entries) for _ in entry.keys]
            order = sorted(range(len(unordered)), key=unordered.__getitem__)
            keys = [unordered[number] for number in order]
            places = [whose[number] for number in order]
        self.blob = b"".join(frames)
        self.ends = array("Q", accumulate(map(len, frames)))
        """Where in the blob each event ends."""
        self.pairs = array("I", pairs)
        """The id of each event's chain and type."""
        self.keys = array("q", keys)
        """Every key of every event, in order, and in `places` whose it is."""
        self.places = array("I", places)
        self.size = _EMPTY + len(self.blob) + 12 * (len(frames) + len(keys))
        """Bytes of memory, all told."""

    def candidates(self, keys: Sequence[int] | None, start: int) -> Sequence[int]:
        """The places from `start` on of the events that have one of the keys; None stands for any key."""
        if keys is None:
            return range(start, len(self.ends))
        found: set[int] = set()
        if len(keys) > _BISECTED:
            wanted = frozenset(keys)
            found.update(place for key, place in zip(self.keys, self.places, strict=True) if key in wanted)
        else:
            for key in keys:
                left = bisect_left(self.keys, key)
                if left < len(self.keys) and self.keys[left] == key:
                    found.update(self.places[left : bisect_right(self.keys, key, lo=left)])
        return sorted(place for place in found if place >= start)

    def frame(self, place: int) -> bytes:
        return self.blob[self.ends[place - 1] if place else 0 : self.ends[place]]


def chunks(entries: Sequence[Entry], pairs: Sequence[int]) -> Iterator[Chunk]:
    """The entries of a commit, and the id of each one's chain and type, in chunks of about `CHUNK` bytes."""
    start = size = 0
    for place, entry in enumerate(entries, 1):
        size += len(entry.frame)
        if size >= CHUNK or place == len(entries):
            yield Chunk(entries[start:place], pairs[start:place])
            start, size = place, 0


class Tail:
    """The newest chunks: never more than `limit` bytes of them."""

    def __init__(self, limit: int, head: int) -> None:
        self._limit = limit
        self._chunks: list[Chunk] = []
        self._firsts: list[int] = []
        self._dropped = 0  # chunks at the front of both lists that are gone; they are cut off now and then
        self.head = head
        self.size = 0

    @property
    def oldest(self) -> int:
        """The sequence of the oldest event in memory; `head + 1` where there is none."""
        return self._firsts[self._dropped] if self._dropped < len(self._firsts) else self.head + 1

    def append(self, chunk: Chunk) -> None:
        """Add the chunk that comes next, and let the oldest go that no longer fit."""
        self.head = chunk.last
        while self.size and self.size + chunk.size > self._limit:
            self._drop()
        if chunk.size <= self._limit:
            self._chunks.append(chunk)
            self._firsts.append(chunk.first)
            self.size += chunk.size

    def trim(self, oldest: int) -> None:
        """Let go of the chunks all of whose events are older than `oldest`."""
        while self._dropped < len(self._chunks) and self._chunks[self._dropped].last < oldest:
            self._drop()

    def _drop(self) -> None:
        self.size -= self._chunks[self._dropped].size
        self._dropped += 1
        if self._dropped == len(self._chunks) or self._dropped > 1024:
            del self._chunks[: self._dropped], self._firsts[: self._dropped]
            self._dropped = 0

    def read(self, after: int, plan: Plan, names: Sequence[bytes] | None, max_bytes: int) -> Slice | None:
        """
        On from `after`; None where memory does not reach back that far. `names` holds the `event:` line for each
        id of chain and type; None leaves them out.
        """
        if after < self.oldest - 1:
            return None
        if after >= self.head:
            return Slice(b"", after, 0)
        parts: list[bytes] = []
        room, events, steps = max_bytes, 0, 0
        begin = bisect_right(self._firsts, after + 1, lo=self._dropped) - 1
        end = min(len(self._chunks), begin + _CHUNKS)
        limit = after + _LOOKED
        for chunk in self._chunks[begin:end]:
            start = max(0, after + 1 - chunk.first)
            if plan.is_open and names is None:
                stop = self._fitting(chunk, start, room, first=not events)
                if stop > start:
                    low, high = chunk.ends[start - 1] if start else 0, chunk.ends[stop - 1]
                    parts.append(chunk.blob[low:high])
                    room -= high - low
                    events += stop - start
                    after = chunk.first + stop - 1
                if stop < len(chunk.ends):
                    break
                continue
            for place in chunk.candidates(plan.keys, start):
                if plan.pairs is not None and chunk.pairs[place] not in plan.pairs:
                    continue
                frame = chunk.frame(place)
                if plan.wanted is not None:
                    if steps > _STEPS:
                        return Slice(b"".join(parts), chunk.first + place - 1, events)
                    view = View(decode(payload(frame)))
                    matches = plan.wanted.matches(interest(view.event), view)
                    steps += view.steps
                    if not matches:
                        continue
                if len(frame) > room and events:
                    return Slice(b"".join(parts), chunk.first + place - 1, events)
                if names is not None:
                    parts.append(names[chunk.pairs[place]])
                parts.append(frame)
                room -= len(frame)
                events += 1
            after = chunk.last
            if after >= limit or room <= 0:
                break
        return Slice(parts[0] if len(parts) == 1 else b"".join(parts), after, events)

    @staticmethod
    def _fitting(chunk: Chunk, start: int, room: int, *, first: bool) -> int:
        """The place behind the last event from `start` on that fits into `room`; the `first` one always does."""
        base = chunk.ends[start - 1] if start else 0
        stop = bisect_right(chunk.ends, base + room)
        return max(stop, start + 1) if first else max(stop, start)


def payload(frame: bytes) -> bytes:
    """The JSON in a frame: what follows `data: ` up to the line's end."""
    return frame[frame.index(b"\n") + 7 : -2]
