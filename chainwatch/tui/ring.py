"""
The newest events, as many as fit: each is the JSON that came, and nobody has looked at it yet. A note, such as a gap,
stands between them as text. Entries are numbered from 0 on, and keep their numbers when older ones go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

Entry = bytes | str
"""The JSON of an event; or a note."""

_OVERHEAD: Final = 100  # bytes that an object and its place cost beside its text


@dataclass(frozen=True, slots=True)
class Held:
    """Entries as they were at one moment: what somebody looks at does not run away. The texts are shared."""

    first: int
    entries: Sequence[Entry]

    @property
    def end(self) -> int:
        """The number behind the newest one."""
        return self.first + len(self.entries)

    def __getitem__(self, number: int) -> Entry:
        return self.entries[number - self.first]


class Ring:
    """Bounded in bytes, whatever comes; the newest entry always fits."""

    def __init__(self, most: int) -> None:
        self.first = 0
        """The number of the oldest entry; `end` where there is none."""
        self._entries: deque[Entry] = deque()
        self._size = 0
        self._most = most

    @property
    def end(self) -> int:
        """The number that the next entry gets."""
        return self.first + len(self._entries)

    @property
    def size(self) -> int:
        """Bytes, about."""
        return self._size

    def extend(self, entries: Iterable[Entry]) -> None:
        """Newer ones; older ones go."""
        ours = self._entries
        for entry in entries:
            ours.append(entry)
            self._size += len(entry) + _OVERHEAD
        while self._size > self._most and len(ours) > 1:
            self._size -= len(ours.popleft()) + _OVERHEAD
            self.first += 1

    def clear(self) -> None:
        """Forget all of them; numbers go on."""
        self.first = self.end
        self._entries.clear()
        self._size = 0

    def hold(self) -> Held:
        """All of them, as they are now."""
        return Held(self.first, tuple(self._entries))

    def __getitem__(self, number: int) -> Entry:
        return self._entries[number - self.first]
